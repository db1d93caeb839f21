"""Transform children: isolation, limits, deadlines, replacement after death."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.acceptance import pictures

from pixelflow.contracts.errors import (
    OutOfMemoryError,
    OutputTooLargeError,
    TransformCrashedError,
    TransformTimeoutError,
    UnsupportedFormatError,
)
from pixelflow.contracts.pipeline import Resize
from pixelflow.dataplane.protocol import TransformLimits
from pixelflow.dataplane.worker.child_process import ChildLimits
from pixelflow.dataplane.worker.leases import ActiveLease, LeaseLostError
from pixelflow.dataplane.worker.sandbox import Sandbox, Transformed, TransformJob
from pixelflow.dataplane.worker.store import Lease

PLENTY = ChildLimits(memory_bytes=2_000_000_000, seconds=30)
PIXELS = TransformLimits(max_source_pixels=10**9, max_output_pixels=10**9, max_output_bytes=10**9)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with _opened(tmp_path) as opened:
        yield opened


@contextlib.contextmanager
def _opened(folder: Path, *, slots: int = 2, limits: ChildLimits = PLENTY) -> Iterator[Sandbox]:
    sandbox = Sandbox(slots=slots, limits=limits, scratch=folder)
    sandbox.start()
    try:
        yield sandbox
    finally:
        sandbox.close()


class Work:
    """Makes transform jobs whose sources are in a sandbox's folder."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._count = 0

    def request(self, source: bytes, *steps: Resize) -> TransformJob:
        """Write the source and return the job."""
        self._count += 1
        path = self._scratch / f"source-{self._count}"
        path.write_bytes(source)
        return TransformJob(path, steps or (_step(),), PIXELS)

    def quick(self) -> TransformJob:
        """A job of some milliseconds."""
        return self.request(pictures.photo())

    def slow(self) -> TransformJob:
        """A job of many seconds."""
        return self.request(pictures.photo(), *(_step(f"s{i}", width=4000, format="avif") for i in range(20)))


def _step(step_id: str = "small", width: int = 60, **fields: object) -> Resize:
    return Resize.model_validate({"id": step_id, "action": "resize", "width": width, "enlarge": True, **fields})


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


def _run(sandbox: Sandbox, request: TransformJob, set_cancel_hook: Callable[..., None] = lambda _: None) -> Transformed:
    with _transformed(sandbox, request, set_cancel_hook) as done:
        return done


@contextlib.contextmanager
def _transformed(
    sandbox: Sandbox, request: TransformJob, set_cancel_hook: Callable[..., None] = lambda _: None
) -> Iterator[Transformed]:
    """Transform; outputs can be read until the context exits."""
    with sandbox.slot() as transform, contextlib.closing(transform(request, set_cancel_hook)) as done:
        yield done


def _children() -> list[int]:
    """Process ids of this process's live transform children."""
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/stat")
        if (found := _parent_and_state(path))
        and found[0] == os.getpid()
        and found[1] not in "ZX"
        and b"pixelflow.dataplane.child" in (path.parent / "cmdline").read_bytes()
    ]


def _parent_and_state(path: Path) -> tuple[int, str] | None:
    try:
        fields = path.read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]), fields[0]


def _wait_for(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


def test_a_child_transforms(sandbox: Sandbox, work: Work) -> None:
    with _transformed(sandbox, work.quick()) as done:
        assert (done.source.width, done.outputs[0].width) == (120, 60)
        assert done.compute_time_ms >= 1
        assert pictures.opened(done.outputs[0].content.read()).size == (60, 40)


def test_a_rejection_by_the_child_raises_the_error_of_its_code(sandbox: Sandbox, work: Work) -> None:
    with pytest.raises(UnsupportedFormatError):
        _run(sandbox, work.request(b"Dear Sir or Madam"))
    assert len(_children()) == 1, "a rejection must not cost a process"
    assert _run(sandbox, work.quick()).outputs


def test_a_child_inherits_no_setting_and_no_descriptor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIXELFLOW_S3_SECRET_ACCESS_KEY", "hush")
    secret = tmp_path / "secret"
    secret.write_text("hush")
    with secret.open() as opened:
        os.set_inheritable(opened.fileno(), True)
        with _opened(tmp_path):
            (child,) = _children()
            environment = Path(f"/proc/{child}/environ").read_bytes()
            assert {row.partition(b"=")[0] for row in environment.split(b"\0")} <= {
                b"LANG",
                b"MALLOC_ARENA_MAX",
                b"TMPDIR",
                b"",
            }
            descriptors = {str(path.readlink()) for path in Path(f"/proc/{child}/fd").iterdir()}
            assert not any("secret" in name or "socket" in name for name in descriptors)
            assert len(descriptors) <= 5, descriptors


def test_a_transform_is_killed_at_its_deadline(tmp_path: Path, work: Work) -> None:
    with _opened(tmp_path, limits=ChildLimits(memory_bytes=2_000_000_000, seconds=0.5)) as sandbox:
        with pytest.raises(TransformTimeoutError):
            _run(sandbox, work.slow())
        assert _children() == []
        assert _run(sandbox, work.quick()).outputs


def test_a_dying_child_fails_its_transform_and_is_replaced(sandbox: Sandbox, work: Work) -> None:
    failures: list[Exception] = []

    def transform() -> None:
        try:
            _run(sandbox, work.slow())
        except TransformCrashedError as error:
            failures.append(error)

    request = threading.Thread(target=transform)
    request.start()
    (child,) = _children()
    _wait_for(lambda: list(Path(work._scratch).glob("child-*/outputs/*")))
    os.kill(child, signal.SIGKILL)
    request.join(10)
    assert len(failures) == 1
    assert _run(sandbox, work.quick()).outputs
    assert child not in _children()


def test_a_child_that_died_while_idle_fails_no_transform(sandbox: Sandbox, work: Work) -> None:
    (child,) = _children()
    os.kill(child, signal.SIGKILL)
    _wait_for(lambda: not sandbox._idle[0].usable)
    assert _run(sandbox, work.quick()).outputs


def test_exceeding_the_memory_limit_raises_out_of_memory(tmp_path: Path, work: Work) -> None:
    limits = ChildLimits(memory_bytes=400_000_000, seconds=30)
    with _opened(tmp_path, limits=limits) as sandbox:
        steps = [_step("a", width=16_000, height=16_000, fit="fill", format="png", linear=True)]
        steps += [_step(f"b{i}", width=15_000, **{"from": "a"}) for i in range(2)]
        with pytest.raises(OutOfMemoryError):
            _run(sandbox, work.request(pictures.photo(), *steps))
        assert _run(sandbox, work.quick()).outputs


def test_concurrent_transforms_never_exceed_the_slots(tmp_path: Path, work: Work) -> None:
    active: set[object] = set()
    most = 0
    lock = threading.Lock()
    in_pairs = threading.Barrier(2)  # each transform waits for another one, so that two slots are in use at once

    def transform(sandbox: Sandbox, request: TransformJob) -> None:
        def set_cancel_hook(hook: Callable[[], None] | None) -> None:
            nonlocal most
            with lock:
                (active.add if hook else active.discard)(threading.get_ident())
                most = max(most, len(active))
            if hook:
                in_pairs.wait(20)

        _run(sandbox, request, set_cancel_hook)

    with _opened(tmp_path, slots=2) as sandbox:
        requests = [work.request(pictures.photo(), _step(width=400, format="avif")) for _ in range(8)]
        threads = [threading.Thread(target=transform, args=(sandbox, request)) for request in requests]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert most == 2
        assert len(_children()) == 2


def test_an_interrupted_lease_kills_the_child(sandbox: Sandbox, work: Work) -> None:
    lease = ActiveLease(Lease(job_id=None, token=1), until=0)  # type: ignore[arg-type]  # the job is not used
    request = work.slow()
    timer = threading.Timer(0.3, lambda: lease.interrupt(LeaseLostError()))
    timer.start()
    began = time.monotonic()
    with pytest.raises(TransformCrashedError):
        _run(sandbox, request, lease.set_cancel_hook)
    assert time.monotonic() - began < 5
    with pytest.raises(LeaseLostError):
        lease.check()
    assert _run(sandbox, work.quick()).outputs


def test_a_lease_lost_before_the_transform_kills_the_child_at_once(sandbox: Sandbox, work: Work) -> None:
    lease = ActiveLease(Lease(job_id=None, token=1), until=0)  # type: ignore[arg-type]  # the job is not used
    lease.interrupt(LeaseLostError())
    with pytest.raises(TransformCrashedError):
        _run(sandbox, work.slow(), lease.set_cancel_hook)


PARENT = """
import sys, time
from pathlib import Path
from pixelflow.dataplane.worker.child_process import ChildLimits
from pixelflow.dataplane.worker.sandbox import Sandbox
sandbox = Sandbox(slots=1, limits=ChildLimits(memory_bytes=2_000_000_000, seconds=30), scratch=Path(sys.argv[1]))
sandbox.start()
print(sandbox._idle[0].pid, flush=True)
time.sleep(60)
"""


def test_children_die_with_a_killed_worker(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = Path(f"/proc/{parent.stdout.readline().strip()}/stat")
        parent_and_state = _parent_and_state(child)
        parent.kill()
        assert parent_and_state is not None
        assert parent_and_state[0] == parent.pid
        _wait_for(lambda: (_parent_and_state(child) or (0, "Z"))[1] in "ZX", 2)


def test_every_thread_of_a_child_is_confined_including_library_threads(sandbox: Sandbox, work: Work) -> None:
    _run(sandbox, work.quick())
    (child,) = _children()
    tasks = [dict(_status(path)) for path in Path(f"/proc/{child}/task").glob("*/status")]
    assert len(tasks) > 1, "libvips starts threads"
    assert {(task["Seccomp"], task["NoNewPrivs"]) for task in tasks} == {("2", "1")}
    assert all(int(task["CapEff"], 16) & ~0b110 == 0 for task in tasks)


def _status(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        yield name, value.strip()


COMPROMISED_CHILD = """
import json, os, sys
print("ready", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    folder = request["directory"]
    {action}
    source = {{"format": "jpeg", "width": 120, "height": 80}}
    print(json.dumps({{"kind": "rendered", "source": source, "outputs": [{reply}]}}), flush=True)
"""
SMALL = '{"step_id": "small", "format": "jpeg", "width": 60, "height": 40}'


@pytest.mark.parametrize(
    ("action", "reply"),
    [
        pytest.param("pass", "", id="no output"),
        pytest.param("pass", SMALL, id="a missing output"),
        pytest.param(
            "open(folder + '/evil.jpg', 'w').write('x')", SMALL.replace("small", "evil"), id="an unknown step"
        ),
        pytest.param("open(folder + '/small.jpg', 'w').write('x')", f"{SMALL}, {SMALL}", id="an output twice"),
        pytest.param("os.symlink('/etc/passwd', folder + '/small.jpg')", SMALL, id="a symbolic link as output"),
        pytest.param("os.mkfifo(folder + '/small.jpg')", SMALL, id="a pipe as output"),
        pytest.param("os.mkdir(folder + '/small.jpg')", SMALL, id="a folder as output"),
        pytest.param(
            "os.rename(folder, folder + 'x'); os.symlink('/etc', folder)", SMALL, id="a symbolic link as folder"
        ),
        pytest.param(
            "open(folder + '/small.jpg', 'w').write('x')", SMALL.replace("60", "99999999"), id="an impossible size"
        ),
    ],
)
def test_a_false_reply_fails_the_transform_and_ends_the_child(action: str, reply: str, tmp_path: Path) -> None:
    program = tmp_path / "child.py"
    program.write_text(COMPROMISED_CHILD.format(action=action, reply=reply))
    sandbox = Sandbox(slots=1, limits=PLENTY, scratch=tmp_path, program=(str(program),))
    sandbox.start()
    with pytest.raises(TransformCrashedError):
        _run(sandbox, Work(tmp_path).quick())
    assert sandbox._idle == []
    sandbox.close()


def test_outputs_over_the_byte_limit_are_rejected(tmp_path: Path, work: Work) -> None:
    request = work.quick()
    limits = TransformLimits(max_source_pixels=10**9, max_output_pixels=10**9, max_output_bytes=100)
    with _opened(tmp_path) as sandbox, pytest.raises(OutputTooLargeError):
        _run(sandbox, TransformJob(request.source, request.steps, limits))


def test_the_source_is_moved_and_the_child_s_folder_is_empty_after_the_transform(sandbox: Sandbox, work: Work) -> None:
    request = work.quick()
    (child,) = Path(sandbox._scratch).glob("child-*")
    assert request.source.parent == child.parent
    _run(sandbox, request)
    assert not request.source.exists()
    assert list(child.rglob("*")) == [child / "outputs"]


@pytest.mark.parametrize(
    ("leftover", "reused"),
    [
        pytest.param("open(folder + '/more', 'w')", True, id="a file in the outputs folder, which is removed"),
        pytest.param("os.mkdir(folder + '/more')", False, id="a folder in the outputs folder"),
        pytest.param("open(folder + 'x', 'w')", False, id="a file beside the outputs folder"),
        pytest.param(
            "os.mkdir(folder + 'x'); os.rename(folder, folder + 'x/in'); os.rename(folder + 'x', folder)",
            False,
            id="a replaced outputs folder",
        ),
    ],
)
def test_a_child_is_reused_only_if_its_folder_can_be_emptied(leftover: str, reused: bool, tmp_path: Path) -> None:
    program = tmp_path / "child.py"
    make = "open(folder + '/small.jpg', 'w').write('x')"
    program.write_text(COMPROMISED_CHILD.format(action=f"{make}; {leftover}", reply=SMALL))
    sandbox = Sandbox(slots=1, limits=PLENTY, scratch=tmp_path, program=(str(program),))
    sandbox.start()
    with _transformed(sandbox, Work(tmp_path).quick()) as done:
        assert done.outputs[0].content.read() == b"x"
    assert len(sandbox._idle) == int(reused)
    sandbox.close()
    assert [path for path in tmp_path.iterdir() if path != program] == []


def test_a_large_output_is_copied_to_an_unnamed_file(sandbox: Sandbox, work: Work) -> None:
    with _transformed(sandbox, work.request(pictures.noise(800, 800), _step(width=800, format="png"))) as done:
        (output,) = done.outputs
        assert output.bytes > 1024 * 1024
        assert output.content.fileno() >= 0
        content = output.content.read()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (output.bytes, output.sha256)
    assert {path.name.partition("-")[0] for path in work._scratch.iterdir()} == {"child"}
