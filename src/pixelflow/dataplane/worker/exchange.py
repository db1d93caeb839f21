"""The files of one transform: the source and assets to read, and one unnamed file that takes all outputs.

A child that a malicious image has taken over has all descriptors until it ends. So the worker reads each output once,
into a copy that no child can access: it checks, hashes and stores that copy. All jobs of a child use the same file of
outputs: with a file per job, a child could keep and fill those of its earlier jobs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO

from pixelflow.dataplane.worker.output_check import size_in_pixels
from pixelflow.errors import OutputTooLargeError, TransformCrashedError
from pixelflow.imaging.format import OUTPUT_HEAD_BYTES, OUTPUT_TAIL_BYTES, OutputEnds
from pixelflow.imaging.protocol import Rendered, RenderedOutput, TransformLimits
from pixelflow.imaging.step import Step

_CHUNK = 1024 * 1024
_MAX_IN_MEMORY = 1024 * 1024
"""Bytes; copies of larger outputs are kept in a file."""
_FULL_BYTES = 16 * 1024 * 1024
"""Free space below which a disk counts as full: other jobs may have freed some since a write failed."""


@dataclass(frozen=True)
class CopiedOutput:
    """A copy of an output that the child can't access."""

    step_id: str
    format: str
    width: int
    height: int
    content: IO[bytes]
    """Positioned at its start; the owner closes it."""
    bytes: int
    sha256: str


class Exchange:
    """The files of one transform."""

    def __init__(self, inputs: Sequence[Path], output: int, scratch: Path) -> None:
        """Open the inputs and empty the file of outputs.

        Args:
            inputs: the source, then the assets; the child gets descriptors that are read-only.
            output: descriptor of the file of outputs.
            scratch: folder for large copies.
        """
        self._scratch = scratch
        self.output = output
        os.ftruncate(output, 0)
        os.lseek(output, 0, os.SEEK_SET)  # the child shares the position
        with ExitStack() as undo:
            self._source, *self._assets = (_open(path, undo) for path in inputs)
            self._inputs = undo.pop_all()

    @property
    def descriptors(self) -> list[int]:
        """The descriptors for the child: the source, the file of outputs, the assets."""
        return [self._source, self.output, *self._assets]

    @property
    def disk_is_full(self) -> bool:
        """Whether the file of outputs can't grow. Ask before ``close``, which frees the space of the outputs."""
        disk = os.fstatvfs(self.output)
        return disk.f_bavail * disk.f_frsize < _FULL_BYTES

    def read_outputs(self, rendered: Rendered, steps: Sequence[Step], limits: TransformLimits) -> list[CopiedOutput]:
        """Copy the outputs: small ones into memory, large ones into unnamed files.

        Raises:
            TransformCrashedError: the reply does not match the request, or an output is not what the reply says.
            OutputTooLargeError: the outputs exceed the byte limit together.
        """
        _check_reply(rendered, steps, limits)
        self._check_layout(rendered, limits)
        with ExitStack() as opened:
            copies = [
                self._copy(output, opened.enter_context(SpooledTemporaryFile(_MAX_IN_MEMORY, dir=str(self._scratch))))
                for output in rendered.outputs
            ]
            opened.pop_all()
        return copies

    def _check_layout(self, rendered: Rendered, limits: TransformLimits) -> None:
        end = 0
        for output in sorted(rendered.outputs, key=lambda output: output.offset):
            if output.offset != end:
                raise _invalid_reply()
            end += output.bytes
            if end > limits.max_output_bytes:
                raise OutputTooLargeError("The outputs exceed the byte limit", step_id=output.step_id)
        if end != os.fstat(self.output).st_size:
            raise _invalid_reply()

    def _copy(self, output: RenderedOutput, copy: IO[bytes]) -> CopiedOutput:
        digest, position, end = hashlib.sha256(), output.offset, output.offset + output.bytes
        head = tail = b""
        while position < end:
            chunk = os.pread(self.output, min(_CHUNK, end - position), position)
            if not chunk:  # the child truncated the file meanwhile
                raise _invalid_reply()
            head, tail = head or chunk[:OUTPUT_HEAD_BYTES], (tail + chunk[-OUTPUT_TAIL_BYTES:])[-OUTPUT_TAIL_BYTES:]
            position += copy.write(chunk)
            digest.update(chunk)
        try:
            size = size_in_pixels(output.format, OutputEnds(head, tail, output.bytes))
        except ValueError as error:
            raise _invalid_reply() from error
        if size != (output.width, output.height):
            raise _invalid_reply()
        copy.seek(0)
        return CopiedOutput(output.step_id, output.format, *size, copy, output.bytes, digest.hexdigest())

    def close(self) -> None:
        """Close the inputs, and free the space of the outputs."""
        self._inputs.close()
        with suppress(OSError):  # the next job empties it before it begins
            os.ftruncate(self.output, 0)


def _open(path: Path, undo: ExitStack) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    undo.callback(os.close, descriptor)
    return descriptor


def _check_reply(rendered: Rendered, steps: Sequence[Step], limits: TransformLimits) -> None:
    expected = [step for step in steps if step.output]
    if [output.step_id for output in rendered.outputs] != [step.id for step in expected]:
        raise _invalid_reply()
    for output, step in zip(rendered.outputs, expected, strict=True):
        if step.format not in {None, output.format} or output.width * output.height > limits.max_output_pixels:
            raise _invalid_reply()


def _invalid_reply() -> TransformCrashedError:
    return TransformCrashedError("The transform process sent an invalid reply")
