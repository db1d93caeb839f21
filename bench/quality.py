"""Perceptual distance of a picture from a reference, so that speed is not gained at the cost of quality.

The color difference is CIEDE2000 (Sharma, Wu and Dalal, 2005), the structural similarity is SSIM (Wang et al., 2004)
with a Gaussian window on luma. Both are computed in floating point.
"""

from __future__ import annotations

import importlib
import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps

Pixels: TypeAlias = npt.NDArray[np.float64]

_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])  # D65
_LUMA = np.array([0.299, 0.587, 0.114])
NO_SSIMULACRA2 = "SSIMULACRA2 is not computed: the packages `ssimulacra2` and `scipy` are not installed."
"""A note for results without it."""
_WINDOW = 11
_SIGMA = 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@dataclass(frozen=True)
class Score:
    """The score of one picture."""

    color_difference: float
    """Mean ΔE2000; a difference below 1 is not visible side by side."""
    ssim: float
    """Mean SSIM; 1 for identical pictures."""


def reference_resize(path: Path, width: int, height: int | None = None) -> Pixels:
    """Resize to ``width`` as a reference: every channel in floating point, Lanczos over the whole source.

    The aspect is kept unless ``height`` is given. Colors are converted from the embedded profile to sRGB.
    """
    with Image.open(path) as opened:
        source = _upright_srgb(opened)
    size = (width, height or max(1, round(source.height * width / source.width)))
    channels = [
        np.asarray(channel.convert("F").resize(size, Image.Resampling.LANCZOS), dtype=np.float64)
        for channel in source.split()
    ]
    return np.clip(np.stack(channels, axis=2), 0, 255)


def pixels_of(file: Path | IO[bytes]) -> Pixels:
    """Return the pixels of a file, upright and in sRGB."""
    with Image.open(file) as opened:
        return np.asarray(_upright_srgb(opened), dtype=np.float64)


def _upright_srgb(opened: Image.Image) -> Image.Image:
    picture = ImageOps.exif_transpose(opened).convert("RGB")
    if profile := opened.info.get("icc_profile"):
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        picture = ImageCms.profileToProfile(picture, given, ImageCms.createProfile("sRGB")) or picture
    return picture


def ssimulacra2() -> Callable[[Pixels, Pixels], float] | None:
    """Return a function that computes SSIMULACRA2 of a picture and its reference; None if it is not installed.

    It needs the packages ``ssimulacra2`` and ``scipy``, which are not among the development tools.
    """
    try:
        module = importlib.import_module("ssimulacra2")
    except ImportError:
        return None

    def compute(actual: Pixels, reference: Pixels) -> float:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder, f"{name}.png") for name in ("reference", "actual")]
            for path, pixels in zip(paths, (reference, actual), strict=True):
                Image.fromarray(pixels.round().astype(np.uint8)).save(path, compress_level=1)
            return float(module.compute_ssimulacra2(*map(str, paths)))

    return compute


def score(actual: Pixels, reference: Pixels) -> Score:
    """Compare two pictures of the same size, with values from 0 to 255."""
    return Score(
        float(color_difference(actual, reference).mean()), float(_ssim(actual @ _LUMA, reference @ _LUMA).mean())
    )


def color_difference(one: Pixels, other: Pixels) -> Pixels:
    """Return the ΔE2000 of each pixel."""
    l1, a1, b1 = np.moveaxis(_lab(one), 2, 0)
    l2, a2, b2 = np.moveaxis(_lab(other), 2, 0)
    mean_chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    stretch = 1 + 0.5 * (1 - np.sqrt(mean_chroma**7 / (mean_chroma**7 + 25.0**7)))
    c1, c2 = np.hypot(a1 * stretch, b1), np.hypot(a2 * stretch, b2)
    h1, h2 = np.arctan2(b1, a1 * stretch) % (2 * np.pi), np.arctan2(b2, a2 * stretch) % (2 * np.pi)
    turn = (h2 - h1 + np.pi) % (2 * np.pi) - np.pi
    gray = c1 * c2 == 0
    turn = np.where(gray, 0.0, turn)
    hue = np.where(gray, h1 + h2, (h1 + turn / 2) % (2 * np.pi))
    return _delta_e((l1, l2), (c1, c2), turn, hue)


def _delta_e(lightnesses: tuple[Pixels, Pixels], chromas: tuple[Pixels, Pixels], turn: Pixels, hue: Pixels) -> Pixels:
    (l1, l2), (c1, c2) = lightnesses, chromas
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    degrees = np.degrees(hue)
    t = (
        1
        - 0.17 * np.cos(hue - np.radians(30))
        + 0.24 * np.cos(2 * hue)
        + 0.32 * np.cos(3 * hue + np.radians(6))
        - 0.20 * np.cos(4 * hue - np.radians(63))
    )
    s_l = 1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2)
    s_c, s_h = 1 + 0.045 * chroma, 1 + 0.015 * chroma * t
    rotation = 60 * np.exp(-(((degrees - 275) / 25) ** 2))
    r_t = -2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7)) * np.sin(np.radians(rotation))
    d_l, d_c, d_h = (l2 - l1) / s_l, (c2 - c1) / s_c, 2 * np.sqrt(c1 * c2) * np.sin(turn / 2) / s_h
    squared: Pixels = np.maximum(d_l**2 + d_c**2 + d_h**2 + r_t * d_c * d_h, 0.0)
    difference: Pixels = np.sqrt(squared)
    return difference


def _lab(rgb: Pixels) -> Pixels:
    linear = np.where(rgb / 255 <= 0.04045, rgb / 255 / 12.92, ((rgb / 255 + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T / _WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=2)


def _ssim(one: Pixels, other: Pixels) -> Pixels:
    mean1, mean2 = _blurred(one), _blurred(other)
    var1, var2 = _blurred(one**2) - mean1**2, _blurred(other**2) - mean2**2
    both = _blurred(one * other) - mean1 * mean2
    return ((2 * mean1 * mean2 + _C1) * (2 * both + _C2)) / ((mean1**2 + mean2**2 + _C1) * (var1 + var2 + _C2))


def _blurred(plane: Pixels) -> Pixels:
    offsets = np.arange(_WINDOW) - _WINDOW // 2
    kernel = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    kernel /= kernel.sum()
    return _along_rows(_along_rows(plane, kernel).T, kernel).T


def _along_rows(plane: Pixels, kernel: Pixels) -> Pixels:
    windows = np.lib.stride_tricks.sliding_window_view(plane, len(kernel), axis=1)
    found: Pixels = windows @ kernel
    return found
