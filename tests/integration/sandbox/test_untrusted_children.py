"""Children that lie, crash or claim too much: the worker believes none of it."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from pathlib import Path

import pytest
from tests.integration.sandbox.sandboxes import (
    PLENTY,
    SMALL,
    Work,
    compromised,
    idle_children,
    jpeg,
    run_transform,
    running_program,
    template_of,
)

from pixelflow.dataplane.worker import exchange
from pixelflow.dataplane.worker.admission import MIN_TRANSFORM_BYTES
from pixelflow.dataplane.worker.sandbox import Sandbox
from pixelflow.dataplane.worker.template import ChildDiedError
from pixelflow.errors import (
    Fault,
    TransformCrashedError,
    TransformPostponedError,
)


@pytest.mark.parametrize(
    ("content", "reply", "request_id"),
    [
        pytest.param("b''", "", "id_", id="no output"),
        pytest.param("b''", SMALL.replace("len(content)", "9"), "id_", id="a missing output"),
        pytest.param(jpeg(), SMALL.replace("small", "evil"), "id_", id="an unknown step"),
        pytest.param(jpeg(), f"{SMALL}, {SMALL}", "id_", id="an output twice"),
        pytest.param(jpeg(), SMALL.replace('"offset": 0', '"offset": 1'), "id_", id="a gap before the output"),
        pytest.param(f"{jpeg()} + b'more'", SMALL.replace("len(content)", "len(content) - 4"), "id_", id="more bytes"),
        pytest.param("b'GIF89a'", SMALL, "id_", id="another format"),
        pytest.param(f"{jpeg()}[:-9]", SMALL, "id_", id="a truncated file"),
        pytest.param(jpeg(61), SMALL, "id_", id="another size"),
        pytest.param(jpeg(), SMALL.replace("60", "99999999"), "id_", id="an impossible size"),
        pytest.param(jpeg(), SMALL, "'0' * 16", id="a reply to another request"),
    ],
)
def test_a_false_reply_fails_the_transform_and_ends_the_child(
    content: str, reply: str, request_id: str, tmp_path: Path
) -> None:
    sandbox = compromised(tmp_path, reply, content, request_id)
    with pytest.raises(TransformCrashedError):
        run_transform(sandbox, Work(tmp_path).quick())
    assert idle_children(sandbox) == []
    sandbox.close()


def test_a_true_reply_of_the_same_program_succeeds(tmp_path: Path) -> None:
    sandbox = compromised(tmp_path, content=jpeg())
    assert run_transform(sandbox, Work(tmp_path).quick()).outputs
    sandbox.close()


def test_a_user_whose_pictures_crash_children_again_and_again_waits(tmp_path: Path) -> None:
    sandbox = compromised(tmp_path, content="os.abort()")
    work = Work(tmp_path)
    for _ in range(5):
        with pytest.raises(TransformCrashedError, match="SIGABRT"):
            run_transform(sandbox, work.quick("one"))
    with pytest.raises(TransformPostponedError, match="Too many") as raised:
        run_transform(sandbox, work.quick("one"))
    assert 50 < raised.value.retry_after_seconds <= 60
    assert raised.value.fault is Fault.SERVICE, "nothing ran, so the attempt does not count"
    with pytest.raises(TransformCrashedError, match="SIGABRT"):
        run_transform(sandbox, work.quick("two"))
    sandbox.close()


def test_stderr_without_end_neither_blocks_a_child_nor_fills_a_disk(tmp_path: Path) -> None:
    endless = "[os.write(2, b'x' * 100) for _ in range(10 ** 5)]"
    sandbox = compromised(tmp_path, content=endless)
    with pytest.raises(TransformCrashedError):  # the write beyond the bound fails
        run_transform(sandbox, Work(tmp_path).quick())
    sandbox.close()


FULL_DISK = """
from pixelflow.errors import WorkerUnavailableError
from pixelflow.dataplane.child import main, serving

def transform(*_):
    raise WorkerUnavailableError("no space")

serving.Transform = transform
main.main()
"""


def test_a_full_disk_is_a_shortage_only_if_the_worker_finds_it_full(
    tmp_path: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(running_program(FULL_DISK, tmp_path)) as sandbox:
        with pytest.raises(TransformCrashedError):
            run_transform(sandbox, work.quick())
        assert idle_children(sandbox) == [], "a child that sends an invalid reply is not used again"
        monkeypatch.setattr(exchange, "_FULL_BYTES", 1 << 62)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            run_transform(sandbox, work.quick())


@pytest.mark.parametrize(
    ("claimed", "admitted"), [(0, MIN_TRANSFORM_BYTES), (50_000_000, 50_000_000), (10**15, PLENTY.memory_bytes)]
)
def test_a_child_can_take_neither_too_little_nor_all_of_the_memory(
    claimed: int, admitted: int, tmp_path: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(compromised(tmp_path, content=jpeg(), memory=claimed)) as sandbox:
        taken: list[int] = []

        def admit(size: int) -> bool:
            taken.append(size)
            return True

        monkeypatch.setattr(sandbox._memory, "try_acquire", admit)
        monkeypatch.setattr(sandbox._memory, "release", taken.append)
        run_transform(sandbox, work.quick())
        assert taken == [admitted, admitted]


def test_the_processor_time_of_a_closed_child_is_never_that_of_another_process(sandbox: Sandbox) -> None:
    (child,) = filter(None, [sandbox.children._fresh])
    os.kill(template_of(sandbox), signal.SIGKILL)
    child.close()
    sandbox.children._fresh = None
    child.pid = os.getpid()  # as if the number had been assigned anew
    with pytest.raises(ChildDiedError):
        child.cpu_seconds()
