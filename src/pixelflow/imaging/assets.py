"""The user's assets that the steps of a transform read, decoded on first use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pixelflow.errors import JobError
from pixelflow.imaging import decoder_warnings
from pixelflow.imaging.errors import damaged, map_decode_errors
from pixelflow.imaging.picture import Picture
from pixelflow.imaging.protocol import TransformLimits
from pixelflow.imaging.source import SourceImage, open_source
from pixelflow.imaging.vector import MAX_DRAWN_PIXELS, VectorPicture

_CHANNELS = 4


class AssetPictures(Mapping[str, Picture]):
    """Pictures by the names that the steps use: upright, in sRGB, in memory."""

    def __init__(self, descriptors: Mapping[str, int], limits: TransformLimits) -> None:
        """Read the headers; no pixel is decoded yet.

        Args:
            descriptors: of the files, by name.
            limits: apply to each asset as to a source.

        Raises:
            UnsupportedFormatError, UndecodableError, TooManyPixelsError, TooManyScansError: an asset can't be used; the
                message names it.
        """
        self._images = {name: _open(name, descriptor, limits) for name, descriptor in descriptors.items()}
        self._pictures: dict[str, Picture] = {}

    def __getitem__(self, name: str) -> Picture:
        """Return the picture.

        Raises:
            KeyError: the transform has no such asset.
            UndecodableError: the asset is damaged or truncated.
            OutOfMemoryError: decoding ran out of memory.
        """
        if name not in self._pictures:
            self._pictures[name] = _decode(name, self._images[name])
        return self._pictures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._images)

    def __len__(self) -> int:
        return len(self._images)

    @property
    def kept_bytes(self) -> int:
        """Memory of all pictures."""
        return sum(_pixels(image) * _CHANNELS for image in self._images.values())

    @property
    def decoding_bytes(self) -> int:
        """Memory that decoding one of them takes, at most, beside its picture."""
        return max((image.size.pixels * image.format.decoder_bytes for image in self._images.values()), default=0)


def _pixels(image: SourceImage) -> int:
    return image.size.pixels + (MAX_DRAWN_PIXELS if image.format.vector else 0)


def _open(name: str, descriptor: int, limits: TransformLimits) -> SourceImage:
    try:
        return open_source(descriptor, limits)
    except JobError as error:
        raise _of_asset(name, error) from error


def _decode(name: str, image: SourceImage) -> Picture:
    of_source = decoder_warnings.damage_collected()
    try:
        with map_decode_errors(image.format.label):
            decoded = image.decode().first.to_output_colorspace().materialized()
        if decoder_warnings.damage_collected() and not of_source:
            raise damaged(image.format.label)
    except JobError as error:
        raise _of_asset(name, error) from error
    if not image.format.vector:
        return decoded
    return VectorPicture(decoded.image, decoded.size, draw=lambda shrink: image.decode(shrink).first)


def _of_asset(name: str, error: JobError) -> JobError:
    """Return the error with a message about the asset, not the source."""
    detail = error.detail.replace("The source", "It")
    return type(error)(f"The asset `{name}` can't be used. {detail}")
