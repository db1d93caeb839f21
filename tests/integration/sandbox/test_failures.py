"""Children and templates that die or can't start: what is replaced, whose fault it is, and that nothing leaks."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.integration.sandbox.sandboxes import (
    PLENTY,
    Work,
    children_of_this_process,
    count_descriptors,
    find_process,
    idle_children,
    opened_sandbox,
    run_transform,
    running_program,
    template_of,
)
from tests.support.waiting import eventually
from tests.unit.imaging.every_format import FILES

from pixelflow.dataplane.worker.child_process import ChildProcess
from pixelflow.dataplane.worker.sandbox import Sandbox
from pixelflow.dataplane.worker.template import ChildDiedError, ErrorPipe, Exit, Template
from pixelflow.errors import (
    OutOfMemoryError,
    TransformCrashedError,
    UnsupportedFormatError,
    WorkerUnavailableError,
)
from pixelflow.imaging.extras import EXTRAS


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGKILL, None), (signal.SIGSEGV, "SIGSEGV")])
def test_a_dying_child_fails_its_transform_and_is_replaced(
    sandbox: Sandbox, work: Work, number: signal.Signals, expected: str | None
) -> None:
    failures: list[TransformCrashedError] = []

    def transform() -> None:
        try:
            run_transform(sandbox, work.slow())
        except TransformCrashedError as error:
            failures.append(error)

    request = threading.Thread(target=transform)
    (child,) = children_of_this_process()
    request.start()
    eventually(lambda: len(list(Path(f"/proc/{child}/fd").iterdir())) > 5)
    os.kill(child, number)
    request.join(10)
    assert [failure.signal for failure in failures] == [expected]
    assert run_transform(sandbox, work.quick()).outputs
    assert child not in children_of_this_process()


OUT_OF_MEMORY = """
import ctypes, os
from pixelflow.dataplane.child import main, serving
{library}
def serve(worker):
    worker.sendall(b"ready\\n")
    serving._receive(worker)
    {end}

serving.serve = serve
main.main()
"""
CPP, TOO_MUCH = "library = ctypes.CDLL('libstdc++.so.6')", "(ctypes.c_size_t(1 << 62))"
VIPS = """
import pyvips
path = next(line.split()[-1] for line in open("/proc/self/maps") if "libvips" in line and ".so.42" in line)
library = ctypes.CDLL(path)
"""
RUST = "os.write(2, b'memory allocation of 9000000000 bytes failed\\n'); os.abort()"


@pytest.mark.parametrize(
    ("library", "end"),
    [(CPP, f"library._Znwm{TOO_MUCH}"), (VIPS, f"library.g_malloc{TOO_MUCH}"), ("", RUST)],
    ids=["C++", "GLib", "Rust"],
)
def test_native_code_that_aborts_for_want_of_memory_has_not_crashed(
    tmp_path: Path, work: Work, library: str, end: str
) -> None:
    program = OUT_OF_MEMORY.format(library=library, end=end)
    with contextlib.closing(running_program(program, tmp_path)) as sandbox, pytest.raises(OutOfMemoryError):
        run_transform(sandbox, work.quick())


def test_a_child_that_died_while_idle_fails_no_transform(sandbox: Sandbox, work: Work) -> None:
    (child,) = children_of_this_process()
    os.kill(child, signal.SIGKILL)
    eventually(lambda: find_process(Path(f"/proc/{child}/stat")) in {None, (template_of(sandbox), "Z")})
    assert run_transform(sandbox, work.quick()).outputs


def test_a_dead_template_is_replaced(sandbox: Sandbox, work: Work) -> None:
    (child,) = filter(None, [sandbox.children._fresh])
    os.kill(template_of(sandbox), signal.SIGKILL)
    eventually(lambda: not child.usable)  # an exiting process loses its command line before it can be waited for
    assert run_transform(sandbox, work.quick()).outputs


@pytest.fixture
def process_1() -> Iterator[None]:
    """Orphans below this process become its children, as those of a container's first process do."""
    libc, set_child_subreaper = ctypes.CDLL(None, use_errno=True), 36
    assert libc.prctl(set_child_subreaper, 1, 0, 0, 0) == 0
    yield
    assert libc.prctl(set_child_subreaper, 0, 0, 0, 0) == 0


@pytest.mark.usefixtures("process_1")
def test_the_children_of_a_dead_template_leave_no_zombies_in_a_container(sandbox: Sandbox, work: Work) -> None:
    run_transform(sandbox, work.quick())
    sandbox.children._starter.submit(lambda: None).result()  # a child was forked ahead
    (fresh,) = filter(None, [sandbox.children._fresh])
    below = [fresh.pid, *idle_children(sandbox)]
    assert len(below) == 2
    os.kill(template_of(sandbox), signal.SIGKILL)
    eventually(lambda: not fresh.usable)
    assert run_transform(sandbox, work.quick()).outputs
    assert [pid for pid in below if Path(f"/proc/{pid}").exists()] == []


NO_PROCESSES = """
import os
from pixelflow.dataplane.child import main

fork, calls = os.fork, 0

def limited():
    global calls
    calls += 1
    if calls in (3, 4):  # after the font cache and the first child
        raise BlockingIOError(11, "no processes")
    return fork()

os.fork = limited
main.main()
"""


def test_a_fork_that_fails_ends_no_other_child(tmp_path: Path, work: Work) -> None:
    with contextlib.closing(running_program(NO_PROCESSES, tmp_path)) as sandbox:
        template = template_of(sandbox)
        descriptors = count_descriptors(template)
        run_transform(sandbox, work.quick("one"))
        kept = idle_children(sandbox)
        sandbox.children._starter.submit(lambda: None).result()  # a child could not be forked ahead
        with pytest.raises(WorkerUnavailableError):
            run_transform(sandbox, work.quick("two"))
        assert (template_of(sandbox), idle_children(sandbox)) == (template, kept)
        assert count_descriptors(template) == descriptors
        assert run_transform(sandbox, work.quick("two")).outputs


def test_a_child_that_ends_with_its_template_is_not_the_fault_of_its_image(sandbox: Sandbox, work: Work) -> None:
    def kill_template(hook: Callable[[], None] | None) -> None:
        if hook:
            os.kill(template_of(sandbox), signal.SIGKILL)

    for _ in range(5):
        with pytest.raises(WorkerUnavailableError):
            run_transform(sandbox, work.slow(), kill_template)
    assert run_transform(sandbox, work.quick()).outputs, "no crash was counted"


def test_the_template_waits_for_no_child_that_still_runs(
    sandbox: Sandbox, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[str] = []
    reap = Template.reap

    def recorded(template: Template, pid: int) -> Exit:
        states.append((find_process(Path(f"/proc/{pid}/stat")) or (0, "gone"))[1])
        return reap(template, pid)

    monkeypatch.setattr(Template, "reap", recorded)
    for number in range(5):
        run_transform(sandbox, work.quick(f"user-{number}"))
    for child in [sandbox.children._idle.pop() for _ in list(sandbox.children._idle)]:
        child.close()
    sandbox.children._starter.submit(lambda: None).result()
    assert states
    assert set(states) == {"Z"}


def test_a_restarted_template_needs_the_required_confinement_too(
    tmp_path: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    available, wait_ready = True, Template.wait_ready
    monkeypatch.setattr(Template, "wait_ready", lambda template: wait_ready(template) and {"landlock": available})
    reported: list[Mapping[str, bool]] = []
    sandbox = Sandbox(slots=1, limits=PLENTY, scratch=tmp_path, on_confinement=reported.append)
    sandbox.start(require_confinement=True)
    with contextlib.closing(sandbox):
        available = False
        (child,) = filter(None, [sandbox.children._fresh])
        os.kill(template_of(sandbox), signal.SIGKILL)
        eventually(lambda: not child.usable)
        with pytest.raises(WorkerUnavailableError):
            run_transform(sandbox, work.quick())
        available = True
        assert run_transform(sandbox, work.quick()).outputs
    assert reported[0] == reported[-1] == {"landlock": True}
    assert {"landlock": False} in reported


def test_a_child_without_a_pidfd_leaks_nothing(tmp_path: Path, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened_sandbox(tmp_path) as sandbox:
        before = count_descriptors(os.getpid())

        def too_many(pid: int) -> int:
            raise OSError(errno.EMFILE, f"too many open files for {pid}")

        assert sandbox.children._template
        with monkeypatch.context() as patch:
            patch.setattr(os, "pidfd_open", too_many)
            with pytest.raises(OSError, match="too many"):
                ChildProcess(sandbox.children._template, PLENTY)
        assert count_descriptors(os.getpid()) == before
        assert len(children_of_this_process()) == 1
        assert run_transform(sandbox, work.quick()).outputs


def test_a_child_that_dies_before_its_transform_is_closed(
    sandbox: Sandbox, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[ChildProcess] = []
    take = sandbox.children.take

    def died() -> float:
        raise ChildDiedError("meanwhile")

    def take_dead(user_id: str) -> ChildProcess:
        child = take(user_id)
        monkeypatch.setattr(child, "cpu_seconds", died)
        taken.append(child)
        return child

    monkeypatch.setattr(sandbox.children, "take", take_dead)
    with pytest.raises(TransformCrashedError):
        run_transform(sandbox, work.quick())
    assert taken[0]._socket.fileno() == -1


BROKEN_DECODER = """
import sys
from pixelflow.dataplane.child import main

sys.modules["_pi_heif"] = None
main.main()
"""


def test_a_decoder_that_does_not_load_is_not_offered_and_ends_no_job_of_others(tmp_path: Path, work: Work) -> None:
    with capture_logs() as logs, contextlib.closing(running_program(BROKEN_DECODER, tmp_path)) as sandbox:
        assert set(sandbox.children.extras) == set(EXTRAS) - {"heic"}
        with pytest.raises(UnsupportedFormatError, match="needs the extra `heic`"):
            run_transform(sandbox, work.request((FILES / "quadrants.heic").read_bytes()))
        assert run_transform(sandbox, work.quick()).outputs
    [line] = [each for each in logs if each["event"] == "extra does not load"]
    assert (line["extra"], line["reason"].partition(":")[0]) == ("heic", "ModuleNotFoundError")


def test_a_closed_error_pipe_is_empty() -> None:
    pipe = ErrorPipe()
    pipe.close_writer()
    pipe.close()
    assert pipe.read() == ""


def test_a_template_that_can_not_start_leaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_processes(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "no processes")

    monkeypatch.setattr(subprocess, "Popen", no_processes)
    before = count_descriptors(os.getpid())
    with pytest.raises(BlockingIOError, match="no processes"):
        Template(PLENTY, tmp_path)
    assert count_descriptors(os.getpid()) == before
    assert list(tmp_path.iterdir()) == []
