"""What passes between a worker and a child as files: the source goes in, outputs are copied out.

A child that a picture has taken over can do in its folder what it likes. So the folder is held by descriptor, links
are never followed, and an output is read once, into a place that no child can reach: what is hashed there is stored.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from secrets import token_hex

from pixelflow.contracts.pipeline import Format, Step, output_name
from pixelflow.contracts.problems import OutputTooLargeError, TransformCrashedError
from pixelflow.dataplane.protocol import Limits, Rendered, RenderedOutput

_CHUNK = 1024 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class CollectedOutput:
    """A file that a child has made, out of its reach."""

    step_id: str
    format: Format
    width: int
    height: int
    path: Path
    bytes: int
    sha256: str


class Handover:
    """One transform's folder inside a child's own: ``source``, and the folder ``outputs``."""

    def __init__(self, folder: Path, source: Path) -> None:
        self.path = folder / f"transform-{token_hex(8)}"
        self.path.mkdir()
        self._descriptor = os.open(self.path, _FOLDER)
        os.mkdir("outputs", dir_fd=self._descriptor)
        self._outputs = os.open("outputs", _FOLDER, dir_fd=self._descriptor)
        os.rename(source, "source", dst_dir_fd=self._descriptor)

    def collect(
        self, rendered: Rendered, steps: Sequence[Step], limits: Limits, destination: Path
    ) -> list[CollectedOutput]:
        """Copy the outputs to ``destination``.

        Raises:
            TransformCrashedError: what the child says it made is not what was asked for, or not there.
            OutputTooLargeError: together they have more bytes than allowed.
        """
        _check_answer(rendered, steps, limits)
        left, collected = limits.max_output_bytes, []
        for output in rendered.outputs:
            collected.append(self._copied(output, destination, left))
            left -= collected[-1].bytes
        return collected

    def _copied(self, output: RenderedOutput, destination: Path, most: int) -> CollectedOutput:
        name = output_name(output.step_id, output.format)
        path, digest, size = destination / name, hashlib.sha256(), 0
        with self._opened(name) as file, path.open("xb") as copy:
            while chunk := file.read(_CHUNK):
                size += copy.write(chunk)
                digest.update(chunk)
                if size > most:
                    raise OutputTooLargeError("The outputs have more bytes than allowed", step_id=output.step_id)
        return CollectedOutput(
            output.step_id, output.format, output.width, output.height, path, size, digest.hexdigest()
        )

    @contextmanager
    def _opened(self, name: str) -> Iterator[BufferedReader]:
        try:
            descriptor = os.open(name, _FILE, dir_fd=self._outputs)
        except OSError as error:
            raise _no_usable_answer() from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise _no_usable_answer()
        with open(descriptor, "rb") as file:  # noqa: PTH123  # from a descriptor
            yield file

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        os.close(self._outputs)
        os.close(self._descriptor)
        with suppress(OSError):  # a child may have moved it; then its own folder is not empty, and it is not used again
            shutil.rmtree(self.path)


def _check_answer(rendered: Rendered, steps: Sequence[Step], limits: Limits) -> None:
    wanted = [step for step in steps if step.output]
    if [output.step_id for output in rendered.outputs] != [step.id for step in wanted]:
        raise _no_usable_answer()
    for output, step in zip(rendered.outputs, wanted, strict=True):
        if step.format not in {None, output.format} or output.width * output.height > limits.max_output_pixels:
            raise _no_usable_answer()


def _no_usable_answer() -> TransformCrashedError:
    return TransformCrashedError("The process that transformed the picture gave no usable answer")
