"""The source image: format detection, limits and decoding.

Formats are detected by their first bytes, never by a file name, and only registered decoders may be used. The source is
a descriptor: the process that decodes can open no file of a user.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib import import_module
from types import ModuleType

import pyvips

from pixelflow.errors import TooManyPixelsError, UndecodableError, UnsupportedFormatError
from pixelflow.imaging import decoder_warnings
from pixelflow.imaging.colour.source import with_color_of_profile
from pixelflow.imaging.errors import damaged, map_decode_errors
from pixelflow.imaging.file_types import describe
from pixelflow.imaging.format import SIGNATURE_BYTES, Format
from pixelflow.imaging.formats.registry import INPUT_FORMATS
from pixelflow.imaging.frames import Frames
from pixelflow.imaging.gain_map import read_gain_map
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.header import Header
from pixelflow.imaging.loading import LoadOptions, header_of
from pixelflow.imaging.picture import Picture, stored_size
from pixelflow.imaging.protocol import TransformLimits
from pixelflow.imaging.scans import check_scans
from pixelflow.imaging.source_options import OnDamage, SourceOptions
from pixelflow.imaging.thumbnails import Extent

_CHUNK_BYTES = 1 << 18
"""Read at once: stays in the processor's cache."""


@dataclass(frozen=True)
class SourceImage:
    """An image file within the limits. Pixels are decoded on demand."""

    descriptor: int
    format: Format
    header: Header
    options: SourceOptions
    frames: int
    """Frames that are decoded."""
    tolerant: bool = False
    """Whether to decode what is there of a damaged file."""
    _opened: list[pyvips.Image] = field(default_factory=list, compare=False, repr=False)
    """The stream that the header was read from, which the first decoding takes. At most one."""

    @property
    def size(self) -> Size:
        """Size of a frame in pixels, upright."""
        return self.header.size

    def decode(self, shrink: float = 1, box: int = 1, *, wide: bool = False) -> Frames:
        """Decode as a stream.

        What was decoded before must be used no more: all share the position in the file.

        Args:
            shrink: reduction by the decoder itself, up to the format's ``max_shrink``; below 1 for a vector image.
            box: further reduction, by averaging.
            wide: whether more than 8 bits per channel are of use.

        Raises:
            UndecodableError: the file is damaged. Damage beyond the header is detected when pixels are computed: as an
                error of libvips, or by ``check_warnings``.
        """
        options = LoadOptions(self.options, shrink, self.frames, wide=wide, tolerant=self.tolerant)

        def load() -> pyvips.Image:
            return with_color_of_profile(_codec(self.format).load(self.descriptor, options))

        opened = self._opened.pop() if self._opened else None
        with map_decode_errors(self.format.label):
            usable = opened is not None and options == LoadOptions(self.options)
            image = with_color_of_profile(opened) if usable else load()
        if self.frames > 1:
            frames = Frames.split(image, self.size)
        else:
            again = None if self._whole else load
            extent, regions = self._extent(image, shrink), self.header.regions
            frames = Frames((Picture(image, self.size, extent, regions=regions, again=again),))
        return frames.map(lambda picture: picture.box_shrink(box))

    @property
    def _whole(self) -> bool:
        """Whether the first row takes as long to decode as the picture."""
        return self.tolerant or self.format.decodes_whole or self.header.whole

    def _extent(self, image: pyvips.Image, shrink: float) -> Extent | None:
        if shrink == 1 or not self.format.shrink_rounds_up:
            return None
        width, height = stored_size(image, self.size)
        return width / shrink, height / shrink

    def check(self) -> None:
        """Decode all pixels and discard them.

        Raises:
            UndecodableError: the file is damaged.
        """
        decoder_warnings.reset()
        with map_decode_errors(self.format.label):
            for picture in self.decode():
                picture.image.avg()
        self.check_warnings()

    def check_warnings(self) -> None:
        """Check what the decoder reported of the pixels computed since ``decode``.

        Raises:
            UndecodableError: pixels are missing, and the decoder filled the picture up.
        """
        if not self.tolerant and decoder_warnings.damage_collected():
            raise damaged(self.format.label)

    def gain_map(self, max_scans: int) -> Picture | None:
        """Read the gain map, before anything is decoded; None if there is none that PixelFlow can read.

        Raises:
            TooManyScansError: it has more than ``max_scans`` scans.
        """
        if not self.format.gain_maps:
            return None
        return read_gain_map(self.descriptor, self.size, max_scans)

    def has_gain_map(self) -> bool:
        """Whether the file says that it has a gain map, which may be one that can't be read."""
        codec = _codec(self.format)
        return hasattr(codec, "has_gain_map") and bool(codec.has_gain_map(self.descriptor))

    def accepting_damage(self) -> SourceImage:
        """Return the same source, of which damaged pixels are no error."""
        return replace(self, tolerant=True)


def open_source(
    descriptor: int,
    limits: TransformLimits,
    options: SourceOptions | None = None,
    *,
    animated: Callable[[str], bool] = lambda _format: False,
) -> SourceImage:
    """Read the header of the file.

    Args:
        descriptor: of the file.
        limits: on pixels and scans.
        options: how the job wants the source to be read.
        animated: whether all frames of a source in this format are needed, unless the options choose one.

    Raises:
        UnsupportedFormatError: the file is not an image in a supported format.
        UndecodableError: the header is damaged, or there is no such frame. With ``on_damage: accept``, only if nothing
            can be decoded.
        TooManyPixelsError: the frames that are decoded have more than ``max_source_pixels`` pixels together, or
            there are more than ``max_frames``.
        TooManyScansError: a progressive JPEG has more than ``max_jpeg_scans`` scans.
    """
    options = options or SourceOptions()
    format_ = _detect_format(descriptor)
    header, opened, tolerant = _read_header(format_, descriptor, options)
    _check_frame(format_, header, options)
    frames = header.frames if options.frame is None and animated(format_.name) else 1
    _check_pixels(header.size, frames, limits.max_source_pixels)
    _check_frames(max(frames, 1 if format_.pages else (options.frame or 0) + 1), limits.max_frames)
    if header.whole and format_.limits_scans:
        check_scans(_chunks(descriptor), limits.max_jpeg_scans)
    return SourceImage(descriptor, format_, header, options, frames, tolerant, opened)


def _codec(format_: Format) -> ModuleType:
    return import_module(f"pixelflow.imaging.formats.{format_.name}.load")


def _read_header(format_: Format, descriptor: int, options: SourceOptions) -> tuple[Header, list[pyvips.Image], bool]:
    """Read the header; return the stream that it was read from, if it can be decoded, and whether it is damaged."""
    try:
        with map_decode_errors(format_.label):
            return *_header_of(format_, descriptor, LoadOptions(options)), False
    except UndecodableError:
        if options.on_damage is not OnDamage.ACCEPT:
            raise
    with map_decode_errors(format_.label):
        return _header_of(format_, descriptor, LoadOptions(options, tolerant=True))[0], [], True


def _header_of(format_: Format, descriptor: int, options: LoadOptions) -> tuple[Header, list[pyvips.Image]]:
    """Read the header by the format's own ``header``, if it has one, and otherwise from the image that it loads.

    That image is returned too, unless it has all pixels in memory.
    """
    codec = _codec(format_)
    if hasattr(codec, "header"):
        return codec.header(descriptor, options), []
    image = codec.load(descriptor, options)
    return header_of(image), [] if format_.decodes_whole else [image]


def _check_frame(format_: Format, header: Header, options: SourceOptions) -> None:
    if options.frame is not None and options.frame >= header.frames:
        last = f"the last of {header.frames} has the number {header.frames - 1}" if header.frames > 1 else "it has one"
        kind = "page or picture" if format_.pages else "frame"
        raise UndecodableError(f"The source has no {kind} with the number {options.frame}: {last}")


def _check_pixels(size: Size, frames: int, limit: int) -> None:
    if size.shorter < 1:
        raise UndecodableError("The source has no pixels")
    if size.pixels * frames > limit:
        per_frame = f" in each of {frames} frames" if frames > 1 else ""
        raise TooManyPixelsError(
            f"The source has {size.width} × {size.height} pixels{per_frame}; the limit is {limit} pixels"
        )


def _check_frames(frames: int, limit: int) -> None:
    """Check the frames that are decoded. Those of an animation depend on the earlier ones."""
    if frames > limit:
        raise TooManyPixelsError(f"The transform decodes {frames} frames of the source; the limit is {limit} frames")


def _chunks(descriptor: int) -> Iterator[bytes]:
    """Yield the file in parts that overlap by a byte: a marker may lie across two."""
    position = 0
    while len(chunk := os.pread(descriptor, _CHUNK_BYTES, position)) > 1:
        yield chunk
        position += len(chunk) - 1


def _detect_format(descriptor: int) -> Format:
    head = os.pread(descriptor, SIGNATURE_BYTES, 0)
    found = next((each for each in INPUT_FORMATS.values() if each.matches and each.matches(head)), None)
    if found is None:
        *others, last = [each.label for each in INPUT_FORMATS.values()]
        readable = f"PixelFlow reads {', '.join(others)} and {last}"
        raise UnsupportedFormatError(f"The source is {describe(head) or 'not an image of a known format'}; {readable}")
    if found.extra:
        _require_codec(found)
    return found


def _require_codec(format_: Format) -> None:
    try:
        _codec(format_)
    except Exception as error:
        missing = f"{format_.label} needs the extra `{format_.extra}`, which this worker does not have"
        raise UnsupportedFormatError(missing) from error
