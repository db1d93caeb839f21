"""What a child inherits, whom it serves, and when it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.sandbox.sandboxes import (
    Work,
    children_of_this_process,
    find_process,
    idle_children,
    opened_sandbox,
    run_transform,
    running_program,
)
from tests.support.waiting import eventually

from pixelflow.dataplane.worker import children
from pixelflow.dataplane.worker.children import Isolation
from pixelflow.dataplane.worker.sandbox import Sandbox
from pixelflow.dataplane.worker.template import ChildDiedError, ChildLimits


def test_a_child_inherits_no_setting_and_no_descriptor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIXELFLOW_S3_SECRET_ACCESS_KEY", "hush")
    secret = tmp_path / "secret"
    secret.write_text("hush")
    with secret.open() as opened:
        os.set_inheritable(opened.fileno(), True)
        with opened_sandbox(tmp_path):
            (child,) = children_of_this_process()
            environment = Path(f"/proc/{child}/environ").read_bytes()
            known = {b"LANG", b"MALLOC_ARENA_MAX", b"FONTCONFIG_FILE", b"XDG_CACHE_HOME", b""}
            assert {row.partition(b"=")[0] for row in environment.split(b"\0")} <= known
            descriptors = {path.name: str(path.readlink()) for path in Path(f"/proc/{child}/fd").iterdir()}
            kinds = {name: target.partition(":")[0] for name, target in descriptors.items()}
            assert kinds == {"0": "/dev/null", "1": "pipe", "2": "pipe", "3": "socket"}


def test_every_thread_of_a_child_is_confined_including_library_threads(sandbox: Sandbox, work: Work) -> None:
    run_transform(sandbox, work.quick())
    (child,) = idle_children(sandbox)
    tasks = [dict(_status(path)) for path in Path(f"/proc/{child}/task").glob("*/status")]
    assert len(tasks) > 1, "libvips starts threads"
    assert {(task["Seccomp"], task["NoNewPrivs"]) for task in tasks} == {("2", "1")}
    assert all(int(task["CapEff"], 16) & ~0b100 == 0 for task in tasks)
    assert all("0" not in task["Uid"].split() for task in tasks)


def _status(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        yield name, value.strip()


DUMPABLE = """
import ctypes
from pixelflow.dataplane.child import main, seccomp

def check(_):
    raise SystemExit(f"dumpable: {ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)}")  # PR_GET_DUMPABLE

seccomp.restrict_system_calls = check
main.main()
"""


def test_children_of_the_same_user_can_not_read_each_other(tmp_path: Path) -> None:
    limits = ChildLimits(memory_bytes=2_000_000_000, seconds=30, user=os.getuid())  # a change of the user would do
    with pytest.raises(ChildDiedError, match="dumpable: 0"):
        running_program(DUMPABLE, tmp_path, limits)


def test_a_child_serves_one_user_only(sandbox: Sandbox, work: Work) -> None:
    run_transform(sandbox, work.quick("one"))
    (first,) = idle_children(sandbox)
    run_transform(sandbox, work.quick("two"))
    assert len(idle_children(sandbox)) == 2
    run_transform(sandbox, work.quick("one"))
    assert first in idle_children(sandbox), "kept for its user"
    assert {child.user_id for child in sandbox.children._idle} == {"one", "two"}


def test_isolation_by_job_never_uses_a_child_twice(tmp_path: Path, work: Work) -> None:
    with opened_sandbox(tmp_path, isolation=Isolation.JOB) as sandbox:
        before = set(children_of_this_process())
        run_transform(sandbox, work.quick())
        assert idle_children(sandbox) == []
        eventually(lambda: children_of_this_process() and not before & set(children_of_this_process()))


def test_an_idle_child_that_moves_is_replaced(sandbox: Sandbox, work: Work) -> None:
    run_transform(sandbox, work.quick())
    (child,) = sandbox.children._idle
    child._settled_cpu -= 0.01  # as if it had computed since
    run_transform(sandbox, work.quick())
    assert child.pid not in idle_children(sandbox)


def test_a_child_without_a_user_may_still_move(sandbox: Sandbox, work: Work) -> None:
    fresh = sandbox.children._fresh
    assert fresh
    fresh._settled_cpu -= 0.01  # as if it had not waited for a request yet
    run_transform(sandbox, work.quick())
    assert idle_children(sandbox) == [fresh.pid]


def test_an_idle_child_ends_after_some_seconds(sandbox: Sandbox, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "IDLE_SECONDS", 0.1)
    run_transform(sandbox, work.quick())
    eventually(lambda: idle_children(sandbox) == [])


PARENT = """
import sys, time
from pathlib import Path
from pixelflow.dataplane.worker.template import ChildDiedError, ChildLimits
from pixelflow.dataplane.worker.sandbox import Sandbox
sandbox = Sandbox(slots=1, limits=ChildLimits(memory_bytes=2_000_000_000, seconds=30), scratch=Path(sys.argv[1]))
sandbox.start()
print(sandbox.children._fresh.pid, sandbox.children._template.pid, flush=True)
time.sleep(60)
"""


def test_children_die_with_a_killed_worker(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid, template = map(int, parent.stdout.readline().split())
        child = Path(f"/proc/{pid}/stat")
        parent_and_state = find_process(child)
        parent.kill()
        assert parent_and_state is not None
        assert parent_and_state[0] == template
        eventually(lambda: (find_process(child) or (0, "Z"))[1] in "ZX", 2)
