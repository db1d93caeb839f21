"""Serves transforms in a confined child. It must never open a file: source, outputs and assets come as descriptors."""

from __future__ import annotations

import os
import resource
import socket

from pixelflow.errors import JobError, OutOfMemoryError, WorkerUnavailableError
from pixelflow.imaging.engine import Transform
from pixelflow.imaging.pipeline_assets import MAX_ASSETS
from pixelflow.imaging.protocol import PROCEED, Planned, Refused, Rendered, TransformRequest

READY = b"ready\n"
_READ_BYTES = 256 * 1024
_DESCRIPTORS = 2 + MAX_ASSETS


def serve(worker: socket.socket) -> None:
    """Send READY, then serve one request at a time until the worker closes the socket."""
    worker.sendall(READY)
    while True:
        line, descriptors = _receive(worker)
        if not line:
            return
        reply = _reply(worker, TransformRequest.model_validate_json(line), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        if reply is None:
            return
        worker.sendall(reply.model_dump_json().encode() + b"\n")


def _receive(worker: socket.socket) -> tuple[bytes, list[int]]:
    """Return one line and the descriptors that came with it; an empty line means that the worker closed the socket."""
    received, descriptors, _, _ = socket.recv_fds(worker, _READ_BYTES, _DESCRIPTORS)
    while received and not received.endswith(b"\n"):
        more = worker.recv(_READ_BYTES)
        if not more:
            return b"", descriptors
        received += more
    return received, descriptors


def _reply(
    worker: socket.socket, request: TransformRequest, source: int, output: int, *assets: int
) -> Rendered | Refused | None:
    try:
        names = [asset.name for asset in request.assets]
        transform = Transform(request, source, dict(zip(names, assets, strict=True)))
        _check_memory(transform.memory.kept)
        planned = Planned(request_id=request.request_id, memory_bytes=transform.memory.peak)
        worker.sendall(planned.model_dump_json().encode() + b"\n")
        if worker.recv(len(PROCEED)) != PROCEED:
            return None
        return transform.run(output)
    except JobError as error:
        return Refused(request_id=request.request_id, code=error.code, detail=error.detail, step_id=error.step_id)
    except WorkerUnavailableError as error:
        return Refused(request_id=request.request_id, code=error.code, detail=error.detail)
    except MemoryError:
        detail = "The transform needed more memory than allowed"
        return Refused(request_id=request.request_id, code=OutOfMemoryError.code, detail=detail)


def _check_memory(kept: int) -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if kept > limit != resource.RLIM_INFINITY:
        raise OutOfMemoryError(
            f"The steps keep {kept / 1e6:.0f} MB of pictures in memory at once; the limit is {limit / 1e6:.0f} MB"
        )
