"""Files that clients upload: valid and invalid pictures."""

from __future__ import annotations

import io
import random
from collections.abc import Mapping

from PIL import Image, ImageFilter
from tests.chaos.plan import Picture

SIZES = {Picture.SMALL: (480, 360), Picture.LARGE: (2400, 1800)}


def make_pictures(seed: int) -> Mapping[Picture, bytes]:
    """Return one file of each kind; the damaged one is truncated."""
    chance = random.Random(seed)  # noqa: S311 - reproducible, not secret
    files = {kind: _jpeg(chance, size) for kind, size in SIZES.items()}
    small = files[Picture.SMALL]
    return {**files, Picture.DAMAGED: small[: len(small) // 3], Picture.NO_PICTURE: chance.randbytes(5_000)}


def _jpeg(chance: random.Random, size: tuple[int, int]) -> bytes:
    """Soft clouds with about as much detail as a photo."""
    coarse = Image.frombytes("RGB", (60, 45), chance.randbytes(60 * 45 * 3))
    picture = coarse.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=88)
    return file.getvalue()
