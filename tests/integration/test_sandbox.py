"""The children: bare, bounded, killed when they should be, replaced when they die."""

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
    """Requests, their sources in a sandbox's folder."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._count = 0

    def request(self, source: bytes, *steps: Resize) -> TransformJob:
        """Everything in place for a transform."""
        self._count += 1
        path = self._scratch / f"source-{self._count}"
        path.write_bytes(source)
        return TransformJob(path, steps or (_step(),), PIXELS)

    def quick(self) -> TransformJob:
        """Some milliseconds of work."""
        return self.request(pictures.photo())

    def slow(self) -> TransformJob:
        """Many seconds of work."""
        return self.request(pictures.photo(), *(_step(f"s{i}", width=4000, format="avif") for i in range(20)))


def _step(step_id: str = "small", width: int = 60, **fields: object) -> Resize:
    return Resize.model_validate({"id": step_id, "action": "resize", "width": width, "enlarge": True, **fields})


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


def _run(sandbox: Sandbox, request: TransformJob, on_child: Callable[..., None] = lambda _: None) -> Transformed:
    with _kept(sandbox, request, on_child) as done:
        return done


@contextlib.contextmanager
def _kept(
    sandbox: Sandbox, request: TransformJob, on_child: Callable[..., None] = lambda _: None
) -> Iterator[Transformed]:
    """What came of it, its outputs to be read meanwhile."""
    with sandbox.slot() as transform, contextlib.closing(transform(request, on_child)) as done:
        yield done


def _children() -> list[int]:
    """Our living transform children."""
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
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_a_transform_is_done_in_a_child(sandbox: Sandbox, work: Work) -> None:
    with _kept(sandbox, work.quick()) as done:
        assert (done.source.width, done.outputs[0].width) == (120, 60)
        assert done.compute_time_ms >= 1
        assert pictures.opened(done.outputs[0].content.read()).size == (60, 40)


def test_what_the_child_refuses_is_told_by_its_code(sandbox: Sandbox, work: Work) -> None:
    with pytest.raises(UnsupportedFormatError):
        _run(sandbox, work.request(b"Dear Sir or Madam"))
    assert len(_children()) == 1, "a refusal costs no process"
    assert _run(sandbox, work.quick()).outputs


def test_a_child_holds_no_setting_and_no_descriptor_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIXELFLOW_S3_SECRET_ACCESS_KEY", "hush")
    secret = tmp_path / "secret"
    secret.write_text("hush")
    with secret.open() as ours:
        os.set_inheritable(ours.fileno(), True)
        with _opened(tmp_path):
            (child,) = _children()
            environment = Path(f"/proc/{child}/environ").read_bytes()
            assert {row.partition(b"=")[0] for row in environment.split(b"\0")} <= {
                b"LANG",
                b"MALLOC_ARENA_MAX",
                b"TMPDIR",
                b"",
            }
            held = {str(path.readlink()) for path in Path(f"/proc/{child}/fd").iterdir()}
            assert not any("secret" in name or "socket" in name for name in held)
            assert len(held) <= 5, held


def test_a_transform_is_killed_at_its_deadline(tmp_path: Path, work: Work) -> None:
    with _opened(tmp_path, limits=ChildLimits(memory_bytes=2_000_000_000, seconds=0.5)) as sandbox:
        with pytest.raises(TransformTimeoutError):
            _run(sandbox, work.slow())
        assert _children() == []
        assert _run(sandbox, work.quick()).outputs


def test_a_child_that_dies_costs_one_transform_and_the_next_one_works(sandbox: Sandbox, work: Work) -> None:
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


def test_a_child_that_died_between_transforms_costs_nothing(sandbox: Sandbox, work: Work) -> None:
    (child,) = _children()
    os.kill(child, signal.SIGKILL)
    _wait_for(lambda: not sandbox._idle[0].usable)
    assert _run(sandbox, work.quick()).outputs


def test_a_picture_that_needs_too_much_memory_is_told_so(tmp_path: Path, work: Work) -> None:
    limits = ChildLimits(memory_bytes=400_000_000, seconds=30)
    with _opened(tmp_path, limits=limits) as sandbox:
        steps = [_step("a", width=16_000, height=16_000, fit="fill", format="png", linear=True)]
        steps += [_step(f"b{i}", width=15_000, **{"from": "a"}) for i in range(2)]
        with pytest.raises(OutOfMemoryError):
            _run(sandbox, work.request(pictures.photo(), *steps))
        assert _run(sandbox, work.quick()).outputs


def test_never_more_transforms_than_slots(tmp_path: Path, work: Work) -> None:
    at_work: set[object] = set()
    most = 0
    lock = threading.Lock()
    in_pairs = threading.Barrier(2)  # each waits for another one: so two slots are really used at once

    def transform(sandbox: Sandbox, request: TransformJob) -> None:
        def on_child(kill: Callable[[], None] | None) -> None:
            nonlocal most
            with lock:
                (at_work.add if kill else at_work.discard)(threading.get_ident())
                most = max(most, len(at_work))
            if kill:
                in_pairs.wait(20)

        _run(sandbox, request, on_child)

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
    held = ActiveLease(Lease(job_id=None, token=1), until=0)  # type: ignore[arg-type]  # no job is looked at
    request = work.slow()
    timer = threading.Timer(0.3, lambda: held.interrupt(LeaseLostError()))
    timer.start()
    began = time.monotonic()
    with pytest.raises(TransformCrashedError):
        _run(sandbox, request, held.on_child)
    assert time.monotonic() - began < 5
    with pytest.raises(LeaseLostError):
        held.check()
    assert _run(sandbox, work.quick()).outputs


def test_a_lease_that_was_lost_before_the_transform_kills_it_at_once(sandbox: Sandbox, work: Work) -> None:
    held = ActiveLease(Lease(job_id=None, token=1), until=0)  # type: ignore[arg-type]  # no job is looked at
    held.interrupt(LeaseLostError())
    with pytest.raises(TransformCrashedError):
        _run(sandbox, work.slow(), held.on_child)


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


def test_children_die_with_a_worker_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = Path(f"/proc/{parent.stdout.readline().strip()}/stat")
        living = _parent_and_state(child)
        parent.kill()
        assert living is not None
        assert living[0] == parent.pid
        _wait_for(lambda: (_parent_and_state(child) or (0, "Z"))[1] in "ZX", 2)


def test_every_thread_of_a_child_is_confined_also_those_of_libraries(sandbox: Sandbox, work: Work) -> None:
    _run(sandbox, work.quick())
    (child,) = _children()
    tasks = [dict(_status(path)) for path in Path(f"/proc/{child}/task").glob("*/status")]
    assert len(tasks) > 1, "libvips has threads of its own"
    assert {(task["Seccomp"], task["NoNewPrivs"]) for task in tasks} == {("2", "1")}
    assert all(int(task["CapEff"], 16) & ~0b110 == 0 for task in tasks)


def _status(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        yield name, value.strip()


LIAR = """
import json, os, sys
print("ready", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    folder = request["directory"]
    {deceit}
    source = {{"format": "jpeg", "width": 120, "height": 80}}
    print(json.dumps({{"kind": "rendered", "source": source, "outputs": [{answer}]}}), flush=True)
"""
SMALL = '{"step_id": "small", "format": "jpeg", "width": 60, "height": 40}'


@pytest.mark.parametrize(
    ("deceit", "answer"),
    [
        pytest.param("pass", "", id="no output"),
        pytest.param("pass", SMALL, id="an output that is not there"),
        pytest.param("open(folder + '/evil.jpg', 'w').write('x')", SMALL.replace("small", "evil"), id="a foreign step"),
        pytest.param("open(folder + '/small.jpg', 'w').write('x')", f"{SMALL}, {SMALL}", id="an output twice"),
        pytest.param("os.symlink('/etc/passwd', folder + '/small.jpg')", SMALL, id="a link in place of an output"),
        pytest.param("os.mkfifo(folder + '/small.jpg')", SMALL, id="a pipe in place of an output"),
        pytest.param("os.mkdir(folder + '/small.jpg')", SMALL, id="a folder in place of an output"),
        pytest.param(
            "os.rename(folder, folder + 'x'); os.symlink('/etc', folder)", SMALL, id="a link in place of the folder"
        ),
        pytest.param(
            "open(folder + '/small.jpg', 'w').write('x')", SMALL.replace("60", "99999999"), id="an impossible size"
        ),
    ],
)
def test_a_child_that_lies_fails_the_transform_and_is_not_asked_again(deceit: str, answer: str, tmp_path: Path) -> None:
    liar = tmp_path / "liar.py"
    liar.write_text(LIAR.format(deceit=deceit, answer=answer))
    sandbox = Sandbox(slots=1, limits=PLENTY, scratch=tmp_path, program=(str(liar),))
    sandbox.start()
    with pytest.raises(TransformCrashedError):
        _run(sandbox, Work(tmp_path).quick())
    assert sandbox._idle == []
    sandbox.close()


def test_outputs_that_are_too_many_bytes_together_are_refused(tmp_path: Path, work: Work) -> None:
    request = work.quick()
    little = TransformLimits(max_source_pixels=10**9, max_output_pixels=10**9, max_output_bytes=100)
    with _opened(tmp_path) as sandbox, pytest.raises(OutputTooLargeError):
        _run(sandbox, TransformJob(request.source, request.steps, little))


def test_sources_lie_beside_the_children_s_folders_and_nothing_is_left_in_these(sandbox: Sandbox, work: Work) -> None:
    request = work.quick()
    (child,) = Path(sandbox._scratch).glob("child-*")
    assert request.source.parent == child.parent
    _run(sandbox, request)
    assert not request.source.exists()
    assert list(child.rglob("*")) == [child / "outputs"]


@pytest.mark.parametrize(
    "mess",
    [
        pytest.param("open(folder + '/more', 'w')", id="no mess: a file among the outputs is removed"),
        pytest.param("os.mkdir(folder + '/more')", id="a folder among the outputs"),
        pytest.param("open(folder + 'x', 'w')", id="a file beside them"),
        pytest.param(
            "os.mkdir(folder + 'x'); os.rename(folder, folder + 'x/in'); os.rename(folder + 'x', folder)",
            id="another folder of that name",
        ),
    ],
)
def test_a_child_that_leaves_something_behind_is_not_asked_again(
    mess: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    liar = tmp_path / "liar.py"
    make = "open(folder + '/small.jpg', 'w').write('x')"
    liar.write_text(LIAR.format(deceit=f"{make}; {mess}", answer=SMALL))
    sandbox = Sandbox(slots=1, limits=PLENTY, scratch=tmp_path, program=(str(liar),))
    sandbox.start()
    with _kept(sandbox, Work(tmp_path).quick()) as done:
        assert done.outputs[0].content.read() == b"x"
    assert len(sandbox._idle) == ("no mess" in request.node.name)
    sandbox.close()
    assert [path for path in tmp_path.iterdir() if path != liar] == []


def test_a_large_output_is_copied_to_a_file_without_a_name(sandbox: Sandbox, work: Work) -> None:
    with _kept(sandbox, work.request(pictures.noise(800, 800), _step(width=800, format="png"))) as done:
        (output,) = done.outputs
        assert output.bytes > 1024 * 1024
        assert output.content.fileno() >= 0
        content = output.content.read()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (output.bytes, output.sha256)
    assert {path.name.partition("-")[0] for path in work._scratch.iterdir()} == {"child"}
