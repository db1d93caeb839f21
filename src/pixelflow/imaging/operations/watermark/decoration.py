"""Draws what is around the letters of a text: an outline, or the stroke, shadow and box that the step describes."""

from __future__ import annotations

from functools import reduce

import pyvips

from pixelflow.imaging.alpha import rounded
from pixelflow.imaging.blurring import blur_channels
from pixelflow.imaging.colors import Color, rgba
from pixelflow.imaging.layers import draw, with_opacity
from pixelflow.imaging.operations.watermark.model import Box, Mark, Shadow
from pixelflow.imaging.operations.watermark.style import Pads, Style, outline_spread, pads_of
from pixelflow.imaging.operations.watermark.text import rasterize

_ALPHA, _WHITE = 3, 255
_OUTLINE_OPACITY = 0.9
"""Opacity of the outline relative to the text: readable on a picture of similar tone, weaker than the text itself."""
_OUTLINE_STRENGTH = 3.0
"""Factor that brightens the blurred text, for a solid outline instead of a soft glow."""
_INSIDE = 127
"""Coverage over which a pixel belongs to a letter."""
_DISTANCE_PIXELS = 500_000
"""Largest mask whose distances are computed at full size, in 0.16 s; distances of a reduced one are interpolated."""
_MIN_BLUR = 0.2
"""Standard deviations below it change nothing."""


def decorated(mark: Mark, style: Style, em: float) -> pyvips.Image:
    """Return the text with all that is around it as a layer, not yet rotated."""
    pads = pads_of(mark, style, em)
    face = _padded(rasterize(mark, em, style.wrap), pads)
    mask, color = face[_ALPHA] if face.hasalpha() else face, rgba(mark.color)
    if not (mark.stroke or mark.shadow or mark.box):
        return _outlined(face, mask, color, em, mark.opacity)
    solid = _grown(mask, style.stroke * em) if mark.stroke else mask
    layers = [_box(mark.box, face, pads, style, em)] if mark.box else []
    layers += [_shadow(mark.shadow, solid, style, em)] if mark.shadow else []
    layers += [_colored(solid, rgba(mark.stroke.color))] if mark.stroke else []
    layers.append(with_opacity(face, color.alpha / _WHITE) if face.hasalpha() else _colored(mask, color))
    return with_opacity(reduce(lambda below, above: draw(below, above, 0, 0), layers), mark.opacity)


def _outlined(face: pyvips.Image, mask: pyvips.Image, color: Color, em: float, opacity: float) -> pyvips.Image:
    """Draw the text over its outline of a gray tone. Each operation of libvips costs 30 µs: `draw` would take many."""
    tone = 0 if color.light else _WHITE
    outline = mask.gaussblur(outline_spread(em)).linear(_OUTLINE_STRENGTH * _OUTLINE_OPACITY, 0.5, uchar=True)
    together = mask.ifthenelse(mask | _WHITE, outline, blend=True).copy_memory()
    share = mask / together  # where both are 0, any share will do
    if face.hasalpha():
        share = share.linear(_WHITE, 0.5, uchar=True)
        colors = share.ifthenelse(face[0:_ALPHA], [tone] * 3, blend=True)
    else:
        colors = share.linear([value - tone for value in color.rgb], [tone + 0.5] * 3, uchar=True)
    alpha = together.linear(opacity * color.alpha / _WHITE, 0.5, uchar=True)
    return colors.bandjoin(alpha).copy(interpretation="srgb")


def _padded(image: pyvips.Image, pads: Pads) -> pyvips.Image:
    width, height = image.width + pads.left + pads.right, image.height + pads.top + pads.bottom
    return image.embed(pads.left, pads.top, width, height).copy_memory()


def _colored(mask: pyvips.Image, color: Color) -> pyvips.Image:
    colors = mask.linear([0] * 3, [*color.rgb], uchar=True)  # `new_from_image` has five operations
    return with_opacity(colors.bandjoin(mask).copy(interpretation="srgb"), color.alpha / _WHITE)


def _grown(mask: pyvips.Image, radius: float) -> pyvips.Image:
    """Grow a mask by ``radius`` pixels, with smooth edges: what is so close to a letter belongs to it."""
    factor = max(1.0, (mask.width * mask.height / _DISTANCE_PIXELS) ** 0.5)
    small = mask.resize(1 / factor) if factor > 1 else mask
    inside = (small > _INSIDE).copy_memory()
    _, found = inside.fill_nearest(distance=True)
    distance = found["distance"] * factor
    if factor > 1:
        distance = distance.resize(mask.width / small.width, vscale=mask.height / small.height, kernel="linear")
    return rounded((radius + 0.5 - distance) * _WHITE, "uchar").copy_memory()


def _shadow(shadow: Shadow, mask: pyvips.Image, style: Style, em: float) -> pyvips.Image:
    across, down = (round(each * em) for each in style.shadow)
    moved = mask.embed(across, down, mask.width, mask.height)
    sigma = style.blur * em
    if sigma > _MIN_BLUR:
        moved = rounded(blur_channels(moved, sigma), "uchar")
    return with_opacity(_colored(moved, rgba(shadow.color)), shadow.opacity)


def _box(box: Box, face: pyvips.Image, pads: Pads, style: Style, em: float) -> pyvips.Image:
    inner = round((style.stroke + style.padding) * em)
    left, top = pads.left - inner, pads.top - inner
    right, bottom = face.width - pads.right + inner, face.height - pads.bottom + inner
    radius = min(style.radius * em, (right - left) / 2, (bottom - top) / 2)
    distance = pyvips.Image.sdf(
        face.width,
        face.height,
        "rounded-box",
        a=[left - 0.5, top - 0.5],
        b=[right - 0.5, bottom - 0.5],
        corners=[radius] * 4,
    )
    return _colored(rounded((0.5 - distance) * _WHITE, "uchar"), rgba(box.color))
