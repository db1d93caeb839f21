"""The transform child process: reads one request per line, transforms, and writes one reply per line.

The worker starts it with an almost empty environment and may kill it at any time. It confines itself before it reads
any image. It must never access a database, a queue, object storage or settings.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pixelflow.contracts.errors import JobError, OutOfMemoryError
from pixelflow.dataplane.child import confinement
from pixelflow.dataplane.protocol import REPLY, Refused, Rendered, TransformRequest

READY = b"ready\n"


def main() -> None:
    """Serve requests until the worker closes the pipe."""
    options = _parse_options()
    confinement.set_parent_death_signal(options.parent)
    confinement.limit_resources(memory_bytes=options.memory_bytes)
    requests, replies = _take_pipes()
    confinement.restrict_files(writable=options.folder)
    from pixelflow.dataplane import imaging  # noqa: PLC0415  # libvips starts threads, which inherit these restrictions

    imaging.prepare()
    confinement.restrict_system_calls()
    replies.write(READY)
    replies.flush()
    for line in requests:
        replies.write(REPLY.dump_json(_reply(imaging.transform, line, options.cpu_seconds)) + b"\n")
        replies.flush()


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parent", type=int, required=True, help="process id of the worker")
    parser.add_argument("--memory-bytes", type=int, required=True, help="limit of the address space")
    parser.add_argument("--cpu-seconds", type=int, required=True, help="CPU time limit of one transform")
    parser.add_argument("--folder", type=Path, required=True, help="the only writable folder")
    return parser.parse_args()


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Move the pipes off stdin and stdout, so that the worker never reads a library's output as a reply."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    return requests, replies


def _reply(transform: Callable[[TransformRequest], Rendered], line: bytes, cpu_seconds: int) -> Rendered | Refused:
    confinement.limit_cpu(seconds=time.process_time() + cpu_seconds)
    try:
        return transform(TransformRequest.model_validate_json(line))
    except JobError as error:
        return Refused(code=error.code, detail=error.detail, step_id=error.step_id)
    except MemoryError:
        return Refused(code=OutOfMemoryError.code, detail="The transform needed more memory than allowed")


if __name__ == "__main__":
    main()
