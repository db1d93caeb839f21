"""The process in which pixels live: reads one request a line, transforms, answers in one line.

It is started with an empty environment, confines itself before it looks at any picture, and may be killed at any time.
It must never reach a database, a queue, object storage or a setting.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pixelflow.contracts.errors import JobError, OutOfMemoryError
from pixelflow.dataplane.child import confine, system_calls
from pixelflow.dataplane.protocol import REPLY, Refused, Rendered, TransformRequest

READY = b"ready\n"


def main() -> None:
    """Run until the worker closes the pipe."""
    options = _options()
    confine.die_with(options.parent)
    confine.limit_resources(memory_bytes=options.memory_bytes)
    requests, replies = _take_pipes()
    confine.restrict_files(writable=options.folder)
    from pixelflow.dataplane import imaging  # noqa: PLC0415  # libvips starts threads: they inherit what holds by now

    imaging.prepare()
    system_calls.restrict()
    replies.write(READY)
    replies.flush()
    for line in requests:
        replies.write(REPLY.dump_json(_answer(imaging.transform, line, options.cpu_seconds)) + b"\n")
        replies.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parent", type=int, required=True, help="process id of the worker")
    parser.add_argument("--memory-bytes", type=int, required=True, help="address space")
    parser.add_argument("--cpu-seconds", type=int, required=True, help="CPU time of one transform")
    parser.add_argument("--folder", type=Path, required=True, help="the only one that can be written to")
    return parser.parse_args()


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep the pipes to the worker for ourselves: what a library prints must not be taken for an answer."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    os.close(null)
    return requests, replies


def _answer(transform: Callable[[TransformRequest], Rendered], line: bytes, cpu_seconds: int) -> Rendered | Refused:
    confine.limit_cpu(seconds=time.process_time() + cpu_seconds)
    try:
        return transform(TransformRequest.model_validate_json(line))
    except JobError as error:
        return Refused(code=error.code, detail=error.detail, step_id=error.step_id)
    except MemoryError:
        return Refused(code=OutOfMemoryError.code, detail="The transform needed more memory than is allowed")


if __name__ == "__main__":
    main()
