"""Sandboxes for tests, jobs for them, and what they leave in the process table."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image
from tests.acceptance import pictures

from pixelflow.dataplane.worker.children import Isolation
from pixelflow.dataplane.worker.sandbox import Sandbox, Transformed, TransformJob
from pixelflow.dataplane.worker.template import ChildLimits
from pixelflow.imaging.operations.resize.model import Resize
from pixelflow.imaging.protocol import TransformLimits

PLENTY = ChildLimits(memory_bytes=2_000_000_000, seconds=30)


PIXELS = TransformLimits(
    max_source_pixels=10**9, max_output_pixels=10**9, max_output_bytes=10**9, max_job_output_pixels=10**9
)


@contextlib.contextmanager
def opened_sandbox(
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
        return TransformJob(path, steps or (step(),), PIXELS, user_id)

    def quick(self, user_id: str = "user") -> TransformJob:
        """A job of some milliseconds."""
        return self.request(pictures.photo(), user_id=user_id)

    def slow(self) -> TransformJob:
        """A job of many seconds."""
        return self.request(pictures.photo(), *(step(f"s{i}", width=4000, format="avif") for i in range(20)))


def step(step_id: str = "small", width: int = 60, **fields: object) -> Resize:
    return Resize.model_validate({"id": step_id, "action": "resize", "width": width, "enlarge": True, **fields})


def run_transform(
    sandbox: Sandbox, request: TransformJob, set_cancel_hook: Callable[..., None] = lambda _: None
) -> Transformed:
    with transformed(sandbox, request, set_cancel_hook) as done:
        return done


@contextlib.contextmanager
def transformed(
    sandbox: Sandbox, request: TransformJob, set_cancel_hook: Callable[..., None] = lambda _: None
) -> Iterator[Transformed]:
    """Transform; outputs can be read until the context exits."""
    with sandbox.slot() as transform, contextlib.closing(transform(request, set_cancel_hook)) as done:
        yield done


def children_of_this_process() -> list[int]:
    """Process ids of this process's live transform children, below their template."""
    return [pid for template in _below(os.getpid()) for pid in _below(template)]


def _below(parent: int) -> list[int]:
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/stat")
        if (found := find_process(path))
        and found[0] == parent
        and found[1] not in "ZX"
        and b"pixelflow.dataplane.child" in (path.parent / "cmdline").read_bytes()
    ]


def template_of(sandbox: Sandbox) -> int:
    assert sandbox.children._template
    return sandbox.children._template.pid


def count_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def idle_children(sandbox: Sandbox) -> list[int]:
    """Process ids of the idle children that have a user."""
    return [child.pid for child in sandbox.children._idle]


def find_process(path: Path) -> tuple[int, str] | None:
    try:
        fields = path.read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[1]), fields[0]


def running_program(code: str, folder: Path, limits: ChildLimits = PLENTY) -> Sandbox:
    """A started sandbox whose template runs ``code``."""
    program = folder / "child.py"
    program.write_text(code)
    sandbox = Sandbox(slots=1, limits=limits, scratch=folder, program=(str(program),))
    try:
        sandbox.start()
    except BaseException:
        sandbox.close()
        raise
    return sandbox


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


def compromised(
    folder: Path, reply: str = SMALL, content: str = "b''", request_id: str = "id_", memory: int = 1
) -> Sandbox:
    """A started sandbox whose children run code of ours in place of the transform."""
    code = COMPROMISED_CHILD.format(reply=reply, content=content, request_id=request_id, memory=memory)
    return running_program(code, folder)


def jpeg(width: int = 60, height: int = 40) -> str:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "jpeg")
    return repr(file.getvalue())
