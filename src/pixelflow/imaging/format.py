"""What the engine, the API and the worker know of an image format without its codec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from pixelflow.imaging.fields import StrictModel

SIGNATURE_BYTES = 512
"""Bytes at the start of a file by which its format is detected."""
OUTPUT_HEAD_BYTES = 4096
"""Bytes at the start of an output in which ``Format.read_size`` finds its header."""
OUTPUT_TAIL_BYTES = 16


class EncoderOptions(StrictModel):
    """The options of an encoder beside ``quality``. Each output format has a subclass of its own."""


class OutputEnds(NamedTuple):
    """The first and last bytes of an output, and its size in bytes."""

    head: bytes
    tail: bytes
    size: int


@dataclass(frozen=True, kw_only=True)
class Format:
    """An image format. Its folder has ``load.py`` if PixelFlow reads it and ``save.py`` if it writes it."""

    name: str
    """The value of ``format``, such as ``jpeg``."""
    label: str
    """The name for people, such as ``JPEG``."""
    extension: str
    """Of file names, without a dot."""
    aliases: tuple[str, ...] = ()
    """Other values of ``format`` that requests may have, such as ``jpg``."""
    media_type: str
    since: int = 1
    """The worker contract that introduced it as an output format (``contracts.capabilities``)."""
    extra: str | None = None
    """The optional capability that a worker needs for it, such as ``heic``."""

    matches: Callable[[bytes], bool] | None = None
    """Whether the first `SIGNATURE_BYTES` of a file are of this format. None: PixelFlow does not read the format."""
    max_shrink: int = 1
    """Largest reduction by the decoder itself, a power of two."""
    shrink_rounds_up: bool = False
    """Whether the last pixels of a reduced picture may be covered only in part: 201 pixels of 1603, reduced by 8."""
    decoder_bytes: int = 8
    """Memory per pixel of a decoder that keeps the whole picture."""
    decodes_whole: bool = False
    """Whether the decoder always keeps the whole picture."""
    limits_scans: bool = False
    """Whether a file with scans is refused if it has too many."""
    default_output: str | None = None
    """The output format of steps that name none. None: the format itself, or else PNG."""

    options: type[EncoderOptions] | None = None
    """The encoder's options. None: PixelFlow does not write the format."""
    max_side: int = 65_535
    """The longest side that the encoder accepts, in pixels."""
    default_quality: int | None = None
    """None: the format has no quality."""
    encoder_bytes: int = 0
    """Memory per pixel of an encoder that takes the whole picture."""
    alpha: bool = True
    """Whether outputs can be transparent."""
    animation: bool = False
    """Whether outputs can have several frames."""
    read_size: Callable[[OutputEnds], tuple[int, int]] | None = None
    """Returns width and height of an output in pixels; raises ``ValueError`` if it is no complete file of the format.

    Reads headers only; the worker uses it to check what a child made.
    """

    @property
    def reads(self) -> bool:
        """Whether PixelFlow reads the format."""
        return self.matches is not None

    @property
    def writes(self) -> bool:
        """Whether PixelFlow writes the format."""
        return self.options is not None


def require(condition: object) -> None:
    """Raise ``ValueError`` unless the condition holds: for `Format.read_size`."""
    if not condition:
        raise ValueError("not a complete file of its format")
