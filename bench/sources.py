"""Sources like those of users: 16 photos of 1 to 24 MP, as JPEG (baseline, progressive) and PNG, some with a profile.

One is ``examples/photo.jpg`` itself; the others are made from it by cropping and scaling, with grain like a sensor's.
They are kept in the user's cache folder, because large ones take seconds to make. They are the same in every run with
the same version of libvips.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyvips

from bench.cache import cache_folder
from bench.photos import REAL

ABOUT = (
    "Photos: 16 of 1 to 24 MP and 0.2 to 7 MB, 2.2 MB on average: 14 JPEGs (9 baseline, 5 progressive) and 2 PNGs, 5 "
    "with an sRGB profile and 4 with Display P3, two of them stored on their side. One is examples/photo.jpg, the "
    "others are made from it, with grain."
)
_SEED = 20261126
_SIDEWAYS = 6
"""EXIF orientation of a photo that is stored on its side, as phones do."""
_KEEP = 0b1001
"""EXIF and ICC (VipsForeignKeep)."""
_SUFFIXES = {"baseline": ".jpg", "progressive": ".jpg", "png": ".png"}


@dataclass(frozen=True)
class Source:
    """The recipe of one photo."""

    megapixels: float
    kind: Literal["baseline", "progressive", "png"]
    profile: Literal["srgb", "p3"] | None = None
    quality: int = 87
    grain: float = 2.5
    """Standard deviation of the grain, in steps of 255."""
    aspect: float = 1.5
    sideways: bool = False
    translucent: bool = False
    """Whether it fades to the corners."""

    @property
    def stem(self) -> str:
        """The name of the file without its suffix. Equal names are equal recipes."""
        words = [f"{self.megapixels:g}mp", self.kind, self.profile or "plain", *self._more]
        return "-".join(words)

    @property
    def _more(self) -> list[str]:
        return ["sideways"] * self.sideways + ["translucent"] * self.translucent

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.stem + _SUFFIXES[self.kind]

    @property
    def title(self) -> str:
        """Size and kind in words."""
        kind = "translucent " * self.translucent + ("PNG" if self.kind == "png" else f"{self.kind} JPEG")
        return f"{self.megapixels:g} MP {kind}"


SOURCES = (
    Source(1, "baseline", "p3", aspect=4 / 3),
    Source(1, "png", "srgb", grain=0.5),
    Source(2, "progressive", "srgb", quality=90),
    Source(2, "png", grain=0.5, aspect=16 / 9),
    Source(4, "baseline", "p3", quality=92),
    Source(4, "progressive", aspect=1.0),
    Source(6, "baseline", "srgb", quality=90),
    Source(8, "baseline", quality=91, aspect=4 / 3),
    Source(8, "progressive", "srgb"),
    Source(12, "baseline", "p3", aspect=4 / 3),
    Source(12, "baseline", "p3", quality=91, aspect=4 / 3, sideways=True),
    Source(12, "progressive"),
    Source(16, "baseline", "srgb", quality=92, aspect=4 / 3),
    Source(20, "progressive", quality=87),
    Source(24, "baseline", quality=94),
)
"""Besides the real photo. The first three differ in kind and profile, for runs with few photos."""

ENGINE_SOURCES = (
    Source(1.09, "baseline"),  # 1280 px wide: no room for the decoder to reduce by 2
    Source(9, "png", grain=0.5, aspect=4 / 3),
    Source(2, "baseline", quality=90, aspect=16 / 9),
    Source(2, "progressive", quality=90),
    Source(4, "baseline", quality=92),
    Source(4, "progressive", aspect=1.0),
    Source(6, "baseline", quality=90),
    Source(1, "png", grain=0.5),
    Source(8, "baseline", quality=91, aspect=4 / 3),
    Source(4, "png", grain=0.5),
    Source(12, "baseline", aspect=4 / 3),
    Source(8, "progressive"),
    Source(16, "baseline", quality=92, aspect=4 / 3),
    Source(12, "progressive"),
    Source(24, "baseline", quality=94),
    Source(20, "progressive"),
)
"""For the engine alone: all without a profile, so that both contenders convert nothing."""
ENGINE_PROFILED = (
    Source(2, "baseline", "srgb", quality=90),
    Source(6, "baseline", "srgb", quality=90),
    Source(12, "progressive", "srgb"),
    Source(4, "png", "srgb", grain=0.5),
)
"""The same with an sRGB profile."""
ENGINE_TRANSLUCENT = (
    Source(1.09, "png", grain=0.5, translucent=True),
    Source(2, "png", grain=0.5, aspect=16 / 9, translucent=True),
    Source(9, "png", grain=0.5, aspect=4 / 3, translucent=True),
)
"""The same with alpha that is opaque in the middle only."""


def user_photos(most: int | None = None) -> list[Path]:
    """Return the files of the photos, at most ``most`` of them, and write those that are not in the cache yet."""
    return [*cached(SOURCES[:most]), REAL][:most]


def cached(sources: Sequence[Source]) -> list[Path]:
    """Return the files of these sources, and write those that are not in the cache yet."""
    folder = cache_folder() / f"photos-{_digest()}"
    folder.mkdir(parents=True, exist_ok=True)
    return [_cached(source, folder / source.name) for source in sources]


def _digest() -> str:
    recipe = (
        SOURCES,
        ENGINE_SOURCES,
        ENGINE_PROFILED,
        ENGINE_TRANSLUCENT,
        _SEED,
        hashlib.sha256(REAL.read_bytes()).hexdigest(),
        pyvips.version(0),
        pyvips.version(1),
    )
    return hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]


def _cached(source: Source, path: Path) -> Path:
    if not path.exists():
        partial = path.with_name(f"{os.getpid()}-{path.name}")
        write_source(source, partial)
        partial.replace(path)
    return path


def write_source(source: Source, path: Path) -> None:
    """Write one photo."""
    image = _grainy(_scaled(source), source.grain)
    if source.profile:
        image = image.icc_transform(source.profile, input_profile="srgb")
    if source.translucent:
        image = image.bandjoin(_fading(image.width, image.height)).copy(interpretation="srgb")
    if source.sideways:
        image = image.rot270().copy_memory()
        image.set_type(pyvips.GValue.gint_type, "orientation", _SIDEWAYS)
    if source.kind == "png":
        image.pngsave(str(path), compression=6, keep=_KEEP)
    else:
        image.jpegsave(str(path), Q=source.quality, interlace=source.kind == "progressive", keep=_KEEP)


def _fading(width: int, height: int) -> pyvips.Image:
    """Return alpha that is opaque in the middle, and transparent at the corners."""
    place = pyvips.Image.xyz(width, height)
    across, down = (place[axis] * (2 / side) - 1 for axis, side in enumerate((width, height)))
    far = (across * across + down * down) ** 0.5
    return (far * -510 + 640).rint().cast("uchar")


def _scaled(source: Source) -> pyvips.Image:
    """Crop the real photo to the aspect and scale it."""
    photo = pyvips.Image.new_from_file(str(REAL)).autorot().copy_memory()
    for name in photo.get_fields():
        if name.startswith("exif") or name == "orientation":
            photo.remove(name)
    width = round((source.megapixels * 1_000_000 * source.aspect) ** 0.5)
    height = round(width / source.aspect)
    scale = max(width / photo.width, height / photo.height)
    large = photo.resize(scale)
    return large.crop(max(0, (large.width - width) // 2), max(0, (large.height - height) // 2), width, height)


def _grainy(image: pyvips.Image, sigma: float) -> pyvips.Image:
    """Add the same grain to all bands, as a camera's noise reduction leaves it."""
    grain = pyvips.Image.gaussnoise(image.width, image.height, sigma=sigma, mean=0, seed=_SEED)
    return (image + grain).rint().cast("uchar").copy(interpretation="srgb")
