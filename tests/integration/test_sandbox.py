"""Transform children: isolation, limits, deadlines, replacement after death."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from PIL import Image
from tests.acceptance import pictures

from pixelflow.contracts.errors import (
    Fault,
    OutOfMemoryError,
    OutputTooLargeError,
    TransformCrashedError,
    TransformPostponedError,
    TransformTimeoutError,
    UnsupportedFormatError,
    WorkerUnavailableError,
)
from pixelflow.contracts.pipeline import Resize
from pixelflow.dataplane.protocol import TransformLimits
from pixelflow.dataplane.worker import children, exchange
from pixelflow.dataplane.worker.admission import MIN_TRANSFORM_BYTES
from pixelflow.dataplane.worker.child_process import ChildProcess
from pixelflow.dataplane.worker.children import Isolation
from pixelflow.dataplane.worker.leases import ActiveLease, LeaseLostError
from pixelflow.dataplane.worker.sandbox import Sandbox, Transformed, TransformJob
from pixelflow.dataplane.worker.store import Lease
from pixelflow.dataplane.worker.template import ChildDiedError, ChildLimits, ErrorPipe, Exit, Template

PLENTY = ChildLimits(memory_bytes=2_000_000_000, seconds=30)
PIXELS = TransformLimits(
    max_source_pixels=10**9, max_output_pixels=10**9, max_output_bytes=10**9, max_job_output_pixels=10**9
)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with _opened(tmp_path) as opened:
        yield opened


@contextlib.contextmanager
def _opened(
    folder: Path,
    *,
    slots: int = 2,
    limits: ChildLimits = PLENTY,
    isolation: Isolation = Isolation.USER,
    memory_bytes: int | None = None,
) -> Iterator[Sandbox]:
    sandbox = Sandbox(slots=slots, limits=limits, scratch=folder, isolation=isolation, memory_bytes=memory_bytes)
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

    def request(self, source: bytes, *steps: Resize, user_id: str = "user") -> TransformJob:
        """Write the source and return the job."""
        self._count += 1
        path = self._scratch / f"source-{self._count}"
        path.write_bytes(source)
        return TransformJob(path, steps or (_step(),), PIXELS, user_id)

    def quick(self, user_id: str = "user") -> TransformJob:
        """A job of some milliseconds."""
        return self.request(pictures.photo(), user_id=user_id)

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
    """Process ids of this process's live transform children, below their template."""
    return [pid for template in _below(os.getpid()) for pid in _below(template)]


def _below(parent: int) -> list[int]:
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/stat")
        if (found := _parent_and_state(path))
        and found[0] == parent
        and found[1] not in "ZX"
        and b"pixelflow.dataplane.child" in (path.parent / "cmdline").read_bytes()
    ]


def _template_of(sandbox: Sandbox) -> int:
    assert sandbox.children._template
    return sandbox.children._template.pid


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _used(sandbox: Sandbox) -> list[int]:
    """Process ids of the idle children that have a user."""
    return [child.pid for child in sandbox.children._idle]


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
    assert len(_used(sandbox)) == 1, "a rejection must not cost a process"
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
            known = {b"LANG", b"MALLOC_ARENA_MAX", b"FONTCONFIG_FILE", b"XDG_CACHE_HOME", b""}
            assert {row.partition(b"=")[0] for row in environment.split(b"\0")} <= known
            descriptors = {path.name: str(path.readlink()) for path in Path(f"/proc/{child}/fd").iterdir()}
            kinds = {name: target.partition(":")[0] for name, target in descriptors.items()}
            assert kinds == {"0": "/dev/null", "1": "pipe", "2": "pipe", "3": "socket"}


def test_a_transform_is_killed_at_its_deadline(tmp_path: Path, work: Work) -> None:
    with _opened(tmp_path, limits=ChildLimits(memory_bytes=2_000_000_000, seconds=0.5)) as sandbox:
        with pytest.raises(TransformTimeoutError):
            _run(sandbox, work.slow())
        assert _used(sandbox) == []
        assert _run(sandbox, work.quick()).outputs


def test_a_dying_child_fails_its_transform_and_is_replaced(sandbox: Sandbox, work: Work) -> None:
    failures: list[Exception] = []

    def transform() -> None:
        try:
            _run(sandbox, work.slow())
        except TransformCrashedError as error:
            failures.append(error)

    request = threading.Thread(target=transform)
    (child,) = _children()
    request.start()
    _wait_for(lambda: len(list(Path(f"/proc/{child}/fd").iterdir())) > 5)
    os.kill(child, signal.SIGKILL)
    request.join(10)
    assert len(failures) == 1
    assert _run(sandbox, work.quick()).outputs
    assert child not in _children()


def test_a_child_that_died_while_idle_fails_no_transform(sandbox: Sandbox, work: Work) -> None:
    (child,) = _children()
    os.kill(child, signal.SIGKILL)
    _wait_for(lambda: _parent_and_state(Path(f"/proc/{child}/stat")) in {None, (_template_of(sandbox), "Z")})
    assert _run(sandbox, work.quick()).outputs


def test_exceeding_the_memory_limit_raises_out_of_memory(tmp_path: Path, work: Work) -> None:
    limits = ChildLimits(memory_bytes=400_000_000, seconds=30)
    with _opened(tmp_path, limits=limits) as sandbox:
        steps = [_step("a", width=16_000, height=16_000, fit="fill", format="png", linear=True)]
        steps += [_step(f"b{i}", width=15_000, **{"from": "a"}) for i in range(2)]
        with pytest.raises(OutOfMemoryError):
            _run(sandbox, work.request(pictures.photo(), *steps))
        assert _run(sandbox, work.quick()).outputs


def test_running_out_of_memory_while_encoding_raises_out_of_memory(tmp_path: Path, work: Work) -> None:
    """Not foreseen by the plan: the allocation of an encoder fails, in a confined child."""
    with _opened(tmp_path, limits=ChildLimits(memory_bytes=300_000_000, seconds=30)) as sandbox:
        with pytest.raises(OutOfMemoryError):
            _run(sandbox, work.request(pictures.photo(), _step(width=12_000, format="webp")))
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
        assert len(_children()) <= 3, "two that worked and a fresh one"


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
from pixelflow.dataplane.worker.template import ChildLimits
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
        parent_and_state = _parent_and_state(child)
        parent.kill()
        assert parent_and_state is not None
        assert parent_and_state[0] == template
        _wait_for(lambda: (_parent_and_state(child) or (0, "Z"))[1] in "ZX", 2)


def test_every_thread_of_a_child_is_confined_including_library_threads(sandbox: Sandbox, work: Work) -> None:
    _run(sandbox, work.quick())
    (child,) = _used(sandbox)
    tasks = [dict(_status(path)) for path in Path(f"/proc/{child}/task").glob("*/status")]
    assert len(tasks) > 1, "libvips starts threads"
    assert {(task["Seccomp"], task["NoNewPrivs"]) for task in tasks} == {("2", "1")}
    assert all(int(task["CapEff"], 16) & ~0b100 == 0 for task in tasks)
    assert all("0" not in task["Uid"].split() for task in tasks)


def _status(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        yield name, value.strip()


COMPROMISED_CHILD = """
import json, os, socket
from pixelflow.dataplane.child import main, serving

def serve(worker):
    worker.sendall(b"ready\\n")
    while True:
        line, (source, output) = serving._receive(worker)
        request = json.loads(line)
        id_ = request["request_id"]
        worker.sendall(json.dumps({{"kind": "planned", "request_id": id_, "memory_bytes": {memory}}}).encode() + b"\\n")
        worker.recv(100)
        content = {content}
        os.write(output, content)
        source = {{"format": "jpeg", "width": 120, "height": 80}}
        reply = {{"kind": "rendered", "request_id": {request_id}, "source": source, "outputs": [{reply}]}}
        worker.sendall(json.dumps(reply).encode() + b"\\n")

serving.serve = serve
main.main()
"""
SMALL = '{"step_id": "small", "format": "jpeg", "width": 60, "height": 40, "offset": 0, "bytes": len(content)}'


def _compromised(
    folder: Path, reply: str = SMALL, content: str = "b''", request_id: str = "id_", memory: int = 1
) -> Sandbox:
    """A started sandbox whose children run code of ours in place of the transform."""
    code = COMPROMISED_CHILD.format(reply=reply, content=content, request_id=request_id, memory=memory)
    return _running(code, folder)


def _running(code: str, folder: Path, limits: ChildLimits = PLENTY) -> Sandbox:
    """A started sandbox whose template runs ``code``."""
    program = folder / "child.py"
    program.write_text(code)
    sandbox = Sandbox(slots=1, limits=limits, scratch=folder, program=(str(program),))
    sandbox.start()
    return sandbox


def _jpeg(width: int = 60, height: int = 40) -> str:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "jpeg")
    return repr(file.getvalue())


@pytest.mark.parametrize(
    ("content", "reply", "request_id"),
    [
        pytest.param("b''", "", "id_", id="no output"),
        pytest.param("b''", SMALL.replace("len(content)", "9"), "id_", id="a missing output"),
        pytest.param(_jpeg(), SMALL.replace("small", "evil"), "id_", id="an unknown step"),
        pytest.param(_jpeg(), f"{SMALL}, {SMALL}", "id_", id="an output twice"),
        pytest.param(_jpeg(), SMALL.replace('"offset": 0', '"offset": 1'), "id_", id="a gap before the output"),
        pytest.param(f"{_jpeg()} + b'more'", SMALL.replace("len(content)", "len(content) - 4"), "id_", id="more bytes"),
        pytest.param("b'GIF89a'", SMALL, "id_", id="another format"),
        pytest.param(f"{_jpeg()}[:-9]", SMALL, "id_", id="a truncated file"),
        pytest.param(_jpeg(61), SMALL, "id_", id="another size"),
        pytest.param(_jpeg(), SMALL.replace("60", "99999999"), "id_", id="an impossible size"),
        pytest.param(_jpeg(), SMALL, "'0' * 16", id="a reply to another request"),
    ],
)
def test_a_false_reply_fails_the_transform_and_ends_the_child(
    content: str, reply: str, request_id: str, tmp_path: Path
) -> None:
    sandbox = _compromised(tmp_path, reply, content, request_id)
    with pytest.raises(TransformCrashedError):
        _run(sandbox, Work(tmp_path).quick())
    assert _used(sandbox) == []
    sandbox.close()


def test_a_true_reply_of_the_same_program_succeeds(tmp_path: Path) -> None:
    sandbox = _compromised(tmp_path, content=_jpeg())
    assert _run(sandbox, Work(tmp_path).quick()).outputs
    sandbox.close()


def test_a_child_serves_one_user_only(sandbox: Sandbox, work: Work) -> None:
    _run(sandbox, work.quick("one"))
    (first,) = _used(sandbox)
    _run(sandbox, work.quick("two"))
    assert len(_used(sandbox)) == 2
    _run(sandbox, work.quick("one"))
    assert first in _used(sandbox), "kept for its user"
    assert {child.user_id for child in sandbox.children._idle} == {"one", "two"}


def test_isolation_by_job_never_uses_a_child_twice(tmp_path: Path, work: Work) -> None:
    with _opened(tmp_path, isolation=Isolation.JOB) as sandbox:
        before = set(_children())
        _run(sandbox, work.quick())
        assert _used(sandbox) == []
        _wait_for(lambda: _children() and not before & set(_children()))


def test_an_idle_child_that_moves_is_replaced(sandbox: Sandbox, work: Work) -> None:
    _run(sandbox, work.quick())
    (child,) = sandbox.children._idle
    child._settled_cpu -= 0.01  # as if it had computed since
    _run(sandbox, work.quick())
    assert child.pid not in _used(sandbox)


def test_an_idle_child_ends_after_some_seconds(sandbox: Sandbox, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "IDLE_SECONDS", 0.1)
    _run(sandbox, work.quick())
    _wait_for(lambda: _used(sandbox) == [])


def test_a_dead_template_is_replaced(sandbox: Sandbox, work: Work) -> None:
    os.kill(_template_of(sandbox), signal.SIGKILL)
    _wait_for(lambda: not _children())
    assert _run(sandbox, work.quick()).outputs


def test_a_user_whose_pictures_crash_children_again_and_again_waits(tmp_path: Path) -> None:
    sandbox = _compromised(tmp_path, content="os.abort()")
    work = Work(tmp_path)
    for _ in range(5):
        with pytest.raises(TransformCrashedError, match="died"):
            _run(sandbox, work.quick("one"))
    with pytest.raises(TransformPostponedError, match="Too many") as raised:
        _run(sandbox, work.quick("one"))
    assert 50 < raised.value.retry_after_seconds <= 60
    assert raised.value.fault is Fault.SERVICE, "nothing ran, so the attempt does not count"
    with pytest.raises(TransformCrashedError, match="died"):
        _run(sandbox, work.quick("two"))
    sandbox.close()


def test_stderr_without_end_neither_blocks_a_child_nor_fills_a_disk(tmp_path: Path) -> None:
    endless = "[os.write(2, b'x' * 100) for _ in range(10 ** 5)]"
    sandbox = _compromised(tmp_path, content=endless)
    with pytest.raises(TransformCrashedError):  # the write beyond the bound fails
        _run(sandbox, Work(tmp_path).quick())
    sandbox.close()


def test_large_pictures_take_turns_and_small_ones_pass(tmp_path: Path, work: Work) -> None:
    with _opened(tmp_path, slots=1, memory_bytes=200_000_000) as sandbox:
        sandbox._memory.try_acquire(150_000_000)  # as by another large picture
        large = work.request(pictures.noise(2000, 2000), _step(width=3000, format="avif"))
        done: list[Transformed] = []
        waiting = threading.Thread(target=lambda: done.append(_run(sandbox, large)))
        waiting.start()
        _wait_for(lambda: sandbox._memory._waiting)
        sandbox._memory.total += 100_000_000
        assert _run(sandbox, work.quick("other")).outputs, "passes, although there is one slot"
        assert done == []
        sandbox._memory.release(150_000_000)
        waiting.join(20)
        assert len(done) == 1


def test_a_failed_transform_reports_its_processor_time(sandbox: Sandbox, work: Work) -> None:
    with pytest.raises(UnsupportedFormatError) as raised:
        _run(sandbox, work.request(b"Dear Sir or Madam"))
    assert raised.value.compute_time_ms
    assert raised.value.compute_time_ms >= 1


def test_outputs_over_the_byte_limit_are_rejected(tmp_path: Path, work: Work) -> None:
    request = work.quick()
    limits = TransformLimits(max_source_pixels=10**9, max_output_pixels=10**9, max_output_bytes=100)
    with _opened(tmp_path) as sandbox, pytest.raises(OutputTooLargeError):
        _run(sandbox, TransformJob(request.source, request.steps, limits, "user"))


def test_no_path_is_left_after_a_transform(sandbox: Sandbox, work: Work) -> None:
    request = work.quick()
    before = set(work._scratch.rglob("*"))
    _run(sandbox, request)
    assert set(work._scratch.rglob("*")) == before


def test_a_large_output_is_copied_to_an_unnamed_file(sandbox: Sandbox, work: Work) -> None:
    with _transformed(sandbox, work.request(pictures.noise(800, 800), _step(width=800, format="png"))) as done:
        (output,) = done.outputs
        assert output.bytes > 1024 * 1024
        assert output.content.fileno() >= 0
        content = output.content.read()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (output.bytes, output.sha256)
    assert {path.name.partition("-")[0] for path in work._scratch.iterdir()} == {"source", "fonts"}


# ── Failures of the surroundings ─────────────────────────────────────────────────────────────────

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
    with contextlib.closing(_running(NO_PROCESSES, tmp_path)) as sandbox:
        template = _template_of(sandbox)
        descriptors = _descriptors(template)
        _run(sandbox, work.quick("one"))
        kept = _used(sandbox)
        sandbox.children._starter.submit(lambda: None).result()  # a child could not be forked ahead
        with pytest.raises(WorkerUnavailableError):
            _run(sandbox, work.quick("two"))
        assert (_template_of(sandbox), _used(sandbox)) == (template, kept)
        assert _descriptors(template) == descriptors
        assert _run(sandbox, work.quick("two")).outputs


def test_a_child_that_ends_with_its_template_is_not_the_fault_of_its_image(sandbox: Sandbox, work: Work) -> None:
    def kill_template(hook: Callable[[], None] | None) -> None:
        if hook:
            os.kill(_template_of(sandbox), signal.SIGKILL)

    for _ in range(5):
        with pytest.raises(WorkerUnavailableError):
            _run(sandbox, work.slow(), kill_template)
    assert _run(sandbox, work.quick()).outputs, "no crash was counted"


FULL_DISK = """
from pixelflow.contracts.errors import WorkerUnavailableError
from pixelflow.dataplane.child import main, serving

def transform(*_):
    raise WorkerUnavailableError("no space")

serving.Transform = transform
main.main()
"""


def test_a_full_disk_is_a_shortage_only_if_the_worker_finds_it_full(
    tmp_path: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(_running(FULL_DISK, tmp_path)) as sandbox:
        with pytest.raises(TransformCrashedError):
            _run(sandbox, work.quick())
        assert _used(sandbox) == [], "a child that sends an invalid reply is not used again"
        monkeypatch.setattr(exchange, "_FULL_BYTES", 1 << 62)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            _run(sandbox, work.quick())


DUMPABLE = """
import ctypes
from pixelflow.dataplane.child import main, seccomp

def check(**_):
    assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0  # PR_GET_DUMPABLE

seccomp.restrict_system_calls = check
main.main()
"""


def test_children_of_the_same_user_can_not_read_each_other(tmp_path: Path) -> None:
    limits = ChildLimits(memory_bytes=2_000_000_000, seconds=30, user=os.getuid())  # a change of the user would do
    _running(DUMPABLE, tmp_path, limits).close()


def test_the_template_waits_for_no_child_that_still_runs(
    sandbox: Sandbox, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[str] = []
    reap = Template.reap

    def recorded(template: Template, pid: int) -> Exit:
        states.append((_parent_and_state(Path(f"/proc/{pid}/stat")) or (0, "gone"))[1])
        return reap(template, pid)

    monkeypatch.setattr(Template, "reap", recorded)
    for number in range(5):
        _run(sandbox, work.quick(f"user-{number}"))
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
        os.kill(_template_of(sandbox), signal.SIGKILL)
        _wait_for(lambda: not _children())
        with pytest.raises(WorkerUnavailableError):
            _run(sandbox, work.quick())
        available = True
        assert _run(sandbox, work.quick()).outputs
    assert reported[0] == reported[-1] == {"landlock": True}
    assert {"landlock": False} in reported


@pytest.mark.parametrize(
    ("claimed", "admitted"), [(0, MIN_TRANSFORM_BYTES), (50_000_000, 50_000_000), (10**15, PLENTY.memory_bytes)]
)
def test_a_child_can_take_neither_too_little_nor_all_of_the_memory(
    claimed: int, admitted: int, tmp_path: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(_compromised(tmp_path, content=_jpeg(), memory=claimed)) as sandbox:
        taken: list[int] = []

        def admit(size: int) -> bool:
            taken.append(size)
            return True

        monkeypatch.setattr(sandbox._memory, "try_acquire", admit)
        monkeypatch.setattr(sandbox._memory, "release", taken.append)
        _run(sandbox, work.quick())
        assert taken == [admitted, admitted]


def test_a_child_without_a_pidfd_leaks_nothing(tmp_path: Path, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    with _opened(tmp_path) as sandbox:
        before = _descriptors(os.getpid())

        def too_many(pid: int) -> int:
            raise OSError(errno.EMFILE, f"too many open files for {pid}")

        assert sandbox.children._template
        with monkeypatch.context() as patch:
            patch.setattr(os, "pidfd_open", too_many)
            with pytest.raises(OSError, match="too many"):
                ChildProcess(sandbox.children._template, PLENTY)
        assert _descriptors(os.getpid()) == before
        assert len(_children()) == 1
        assert _run(sandbox, work.quick()).outputs


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
        _run(sandbox, work.quick())
    assert taken[0]._socket.fileno() == -1


def test_the_processor_time_of_a_closed_child_is_never_that_of_another_process(sandbox: Sandbox) -> None:
    (child,) = filter(None, [sandbox.children._fresh])
    os.kill(_template_of(sandbox), signal.SIGKILL)
    child.close()
    sandbox.children._fresh = None
    child.pid = os.getpid()  # as if the number had been assigned anew
    with pytest.raises(ChildDiedError):
        child.cpu_seconds()


def test_a_closed_error_pipe_is_empty() -> None:
    pipe = ErrorPipe()
    pipe.close_writer()
    pipe.close()
    assert pipe.read() == ""


def test_a_template_that_can_not_start_leaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_processes(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "no processes")

    monkeypatch.setattr(subprocess, "Popen", no_processes)
    before = _descriptors(os.getpid())
    with pytest.raises(BlockingIOError, match="no processes"):
        Template(PLENTY, tmp_path)
    assert _descriptors(os.getpid()) == before
    assert list(tmp_path.iterdir()) == []
