"""Conversion of pixels to the color space of an output, with 8 or 16 bits per channel.

Spaces of matrix and curves are converted by table, matrix and table. Profiles with lookup tables, CMYK and Lab are left
to libvips. Gray stays gray.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyvips

from pixelflow.imaging.colour import curves, gamut, icc, tables, tone
from pixelflow.imaging.colour.choices import ColorChoice
from pixelflow.imaging.colour.cicp import Hdr
from pixelflow.imaging.colour.gamut import Matrix
from pixelflow.imaging.colour.icc import Space

PROFILE = "icc-profile-data"
TRANSFER = "pixelflow-transfer"
"""Metadata of HDR pictures, a value of `Hdr`. Their profile has the primaries, and the curve after tone mapping."""
_MAX_PROFILE_BYTES = 100_000
"""Of a profile that an output keeps. Curves of 4096 values take 25 000."""
_GRAY, _RGB = {"b-w", "grey16"}, {"srgb", "rgb16"}


@dataclass(frozen=True)
class ColorTarget:
    """The color space of an output."""

    space: Space
    profile: bytes | None
    """Describes the picture; `None` for sRGB."""
    builtin: str
    """The name of the same space in libvips."""
    wide: bool = False
    """Whether values of 16 bits stay so, for outputs with more than 8 bits."""


SRGB = ColorTarget(icc.SRGB, None, "srgb")
DISPLAY_P3 = ColorTarget(icc.DISPLAY_P3, icc.write(gamut.DISPLAY_P3, curves.SRGB, "Display P3"), "p3")


def target_for(choice: ColorChoice, image: pyvips.Image) -> ColorTarget:
    """Return the target of an image that is to have this color space. Gray, which has no gamut, is always sRGB."""
    if choice is ColorChoice.P3:
        return DISPLAY_P3
    source = space_of(image)
    if choice is ColorChoice.SRGB or source is None or image.interpretation in _GRAY or not image.get_typeof(PROFILE):
        return SRGB
    profile = image.get(PROFILE)
    return ColorTarget(source, profile, "srgb") if len(profile) <= _MAX_PROFILE_BYTES else SRGB


def values_of(rgb: tuple[int, int, int], image: pyvips.Image) -> tuple[int, int, int]:
    """Return the values by which a picture has this color of sRGB, with the precision of 8 bits."""
    unit = tables.unit(image)
    red, green, blue = _values_of(rgb, space_of(image) or icc.SRGB)
    return red * unit, green * unit, blue * unit


def _values_of(rgb: tuple[int, int, int], space: Space) -> tuple[int, int, int]:
    if space.is_srgb:
        return rgb
    red, green, blue = (curves.SRGB(value / 255) for value in rgb)
    light = gamut.times(_matrix(icc.SRGB, space), (red, green, blue))
    first, second, third = (tables.value_of(curve, value) for curve, value in zip(space.curves, light, strict=True))
    return first, second, third


def to_target(image: pyvips.Image, target: ColorTarget) -> pyvips.Image:
    """Convert to RGB or gray of the target's space, with 8 bits unless the target is wide, and optional alpha."""
    image, source = _with_space(image, target)
    if not _has_values_of(image, source, target):
        image = to_stored(_to_light(image, source, target), target)
    return _described(image if target.wide else to_8_bits(image), target.profile)


def to_light(image: pyvips.Image, target: ColorTarget) -> pyvips.Image:
    """Convert to linear light of the target's primaries: floats from 0 to `tables.WHITE`, also of alpha."""
    image, source = _with_space(image, target)
    return _described(_to_light(image, source, target), target.profile)


def to_stored(light: pyvips.Image, target: ColorTarget) -> pyvips.Image:
    """Convert linear light of the target's primaries to its values: of 16 bits if it is wide, else of 8."""
    curves_ = target.space.curves
    if target.wide:
        return _interpreted(tables.wide_positions(light).maplut(tables.wide_encoder(curves_, light.bands)))
    return _interpreted(light.cast("ushort").maplut(tables.encoder(curves_, light.bands)))


def to_8_bits(image: pyvips.Image) -> pyvips.Image:
    """Round 16-bit values to 8 bits."""
    return _interpreted(image.maplut(tables.rounding())) if image.format == "ushort" else image


def to_16_bits(image: pyvips.Image) -> pyvips.Image:
    """Spread 8-bit values over 16 bits, so that white stays white."""
    return _interpreted((image * 257).cast("ushort")) if image.format == "uchar" else image


def like(image: pyvips.Image, other: pyvips.Image) -> pyvips.Image:
    """Return the image with as many bits per channel as the other one: 8 or 16."""
    return to_16_bits(image) if other.format == "ushort" else to_8_bits(image)


def space_of(image: pyvips.Image) -> Space | None:
    """Return the space of the image's values, or `None` if matrix and curves do not describe it."""
    if image.format not in ("uchar", "ushort") or image.interpretation not in _GRAY | _RGB:
        return None
    if not image.get_typeof(PROFILE):
        return icc.SRGB
    space = icc.read(image.get(PROFILE)).space
    return None if space and space.gray and image.interpretation not in _GRAY else space


def _with_space(image: pyvips.Image, target: ColorTarget) -> tuple[pyvips.Image, Space]:
    """Convert an image that only libvips can convert; return others as they are."""
    if source := space_of(image):
        return image, source
    gray = image.interpretation in _GRAY
    image, source = _by_profile(image, target)
    wide = target.wide and image.format != "uchar"
    wanted = ("grey16" if gray else "rgb16") if wide else ("b-w" if gray else "srgb")
    if image.interpretation != wanted:
        image = image.colourspace(wanted)
    # Of CMYK without a profile, libvips attaches its own; converting by it once more crashes the process.
    image = _described(image, None)
    form = "ushort" if wide else "uchar"
    return image if image.format == form else image.rint().cast(form), source


def _by_profile(image: pyvips.Image, target: ColorTarget) -> tuple[pyvips.Image, Space]:
    """Convert by the embedded profile; a profile that can't be read is ignored."""
    if not image.get_typeof(PROFILE):
        return image, icc.SRGB
    depth = 16 if target.wide and image.format != "uchar" else 8
    options = {"embedded": True, "intent": "relative", "black_point_compensation": True, "depth": depth}
    try:
        return image.icc_transform(target.builtin, **options), target.space
    except pyvips.Error:
        return _described(image, None), icc.SRGB


def _has_values_of(image: pyvips.Image, source: Space, target: ColorTarget) -> bool:
    if image.get_typeof(TRANSFER):
        return False
    if source == target.space:
        return True
    same_curve = source.has_srgb_curve and target.space.has_srgb_curve
    return same_curve and (image.interpretation in _GRAY or source.has_gamut(target.space))


def _to_light(image: pyvips.Image, source: Space, target: ColorTarget) -> pyvips.Image:
    index = tables.index(image, wide=target.wide)
    if image.get_typeof(TRANSFER):
        transfer = Hdr(image.get(TRANSFER))
        light = tone.mapped(index, source, transfer, alpha=image.hasalpha(), wide=target.wide)
    else:
        light = index.positions.maplut(tables.decoder(source.curves, index, alpha=image.hasalpha()))
    light = light.copy(interpretation=image.interpretation)
    if image.interpretation in _GRAY or source.has_gamut(target.space):
        return light
    return light.recomb(tables.channel_mixer(_matrix(source, target.space), light.bands))


def _matrix(source: Space, target: Space) -> Matrix:
    return gamut.product(gamut.inverse(target.matrix), source.matrix)


def _interpreted(image: pyvips.Image) -> pyvips.Image:
    gray = image.bands < tables.CHANNELS
    if image.format == "ushort":
        return image.copy(interpretation="grey16" if gray else "rgb16")
    return image.copy(interpretation="b-w" if gray else "srgb")


def _described(image: pyvips.Image, profile: bytes | None) -> pyvips.Image:
    """Describe the image by the profile, and not as HDR. A gray one needs none: the targets share sRGB's curve."""
    stale = [name for name in (PROFILE, TRANSFER) if image.get_typeof(name)]
    wanted = profile and image.interpretation not in _GRAY
    if not stale and not wanted:
        return image
    image = image.copy()
    for name in stale:
        image.remove(name)
    if wanted:
        image.set_type(pyvips.GValue.blob_type, PROFILE, profile)
    return image
