"""What the engine, the API and the worker know of an image format without its codec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from pixelflow.imaging.fields import StrictModel

SIGNATURE_BYTES = 4096
"""Bytes at the start of a file by which its format is detected: the first directory of camera RAW takes most."""
OUTPUT_HEAD_BYTES = 1 << 19
"""Bytes at the start of an output in which ``Format.read_size`` finds its header: behind 64 KiB each of EXIF, XMP and
IPTC, and a color profile."""
OUTPUT_TAIL_BYTES = 1 << 18
"""Bytes at the end of an output, in which TIFF has its directory, and 64 KiB each of XMP and IPTC and a color profile
behind it."""


_BITS = 8
"""Of a channel, unless options say otherwise."""


class EncoderOptions(StrictModel):
    """The options of an encoder beside ``quality``. Each output format has a subclass of its own."""

    @property
    def wide(self) -> bool:
        """Whether the output has more than 8 bits per channel: by the field ``bit_depth``, which not all have."""
        return bool(getattr(self, "bit_depth", _BITS) > _BITS)


BitDepth = Annotated[
    Literal[8, 16],
    Field(
        description="Bits per channel: 8 or 16. With 16, all steps that lead to the output work with 16 bits if the "
        "source has more than 8."
    ),
]


class Chroma(StrEnum):
    """Resolution of the color channels."""

    AUTO = "auto"
    HALF = "420"
    FULL = "444"


CHROMA_DESCRIPTION = (
    "Resolution of the color channels: `420` halves it in both directions, `444` keeps it, and with it thin colored "
    "lines and text. `auto`: `444` from quality 90 on."
)
"""Measured with red lines of one pixel on white: JPEG and AVIF keep 37 % of their saturation with `420` at any quality,
and 97 to 99 % with `444`. For a photo of 1280 × 720 that takes 23 % more bytes in JPEG and 3 % in AVIF. libvips has the
same limit."""


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
    other_media_types: tuple[str, ...] = ()
    """Further media types by which clients declare sources of the format."""
    since: int = 1
    """The worker contract that introduced it as an output format (``contracts.capabilities``)."""
    reads_since: int = 1
    """The worker contract that introduced it as an input format."""
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
    wide: bool = False
    """Whether channels of a source can have more than 8 bits."""
    vector: bool = False
    """Whether the decoder draws the picture, at any size. Nothing is lost by enlarging it."""
    moves: bool = False
    """Whether all frames of an animation can be read."""
    pages: bool = False
    """Whether its frames are pages or separate pictures, of which one is read, and no animation."""
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
    profiles: bool = True
    """Whether outputs can have a color profile. Those that can't are sRGB."""
    gain_maps: bool = False
    """Whether pictures can have a gain map that PixelFlow reads and writes (`imaging.gain_map`)."""
    animation: bool = False
    """Whether outputs can have several frames."""
    read_size: Callable[[OutputEnds], tuple[int, int]] | None = None
    """Returns width and height of an output in pixels; raises ``ValueError`` if it is no complete file of the format.

    Reads headers only; the worker uses it to check what a child made.
    """

    @property
    def media_types(self) -> tuple[str, ...]:
        """All media types by which clients declare sources of the format."""
        return self.media_type, *self.other_media_types

    def is_declared_by(self, media_type: str | None) -> bool:
        """Whether a source of this media type is declared to be of the format. Case does not matter."""
        return media_type is not None and media_type.lower() in self.media_types

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
