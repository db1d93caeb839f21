"""The golden pictures: outputs of the example photo that a new rendering is compared with.

The test and the review page both use :func:`compare`. Nothing here replaces a golden picture by itself:
``make goldens ACCEPT=1`` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyvips
from tests.support import rendering

from pixelflow.imaging.protocol import TransformLimits

FOLDER = Path(__file__).with_name("images")
PHOTO = Path(__file__).parents[2] / "examples" / "photo.jpg"
MAX_DISTANCE = 1.5
"""Mean ΔE2000. 1 is the smallest difference that an eye sees side by side; a picture upside down is over 15 away."""


def _resize(id_: str, **fields: object) -> dict[str, Any]:
    return {"id": id_, "action": "resize", "format": "png", **fields}


def _watermark(id_: str, **fields: object) -> dict[str, Any]:
    return {"id": id_, "action": "watermark", "format": "png", "from": "inside", "watermark": fields}


STEPS = {
    step["id"]: step
    for step in (
        _resize("inside", width=240),
        _resize("attention", width=160, height=160, fit="cover", gravity="attention"),
        _resize("contain", width=200, height=200, fit="contain", background="#204060"),
        _watermark("marked", text="© Acme, 版权", size="30%", gravity="center"),
        _watermark("tiled", text="PROOF", tile=True, rotation=-30, bold=True),
    )
}
"""The pipeline's steps, each of which makes one golden picture, by name."""


@dataclass(frozen=True)
class Comparison:
    """A golden picture and its new rendering."""

    name: str
    expected: Path
    """May be missing: a new step has no golden picture yet."""
    actual: Path
    distance: float
    """Mean ΔE2000; infinite if the expected picture is missing or has another size."""

    @property
    def passes(self) -> bool:
        """Whether the rendering may differ by this much."""
        return self.distance <= MAX_DISTANCE


def compare(folder: Path) -> list[Comparison]:
    """Render every golden picture into ``folder`` and compare each with the expected one."""
    render(folder)
    return [_compare_one(name, FOLDER / f"{name}.png", folder / f"{name}.png") for name in STEPS]


def render(folder: Path) -> None:
    """Write ``<name>.png`` of every golden picture into ``folder``."""
    limits = TransformLimits(max_source_pixels=50_000_000, max_output_pixels=50_000_000, max_output_bytes=10**9)
    rendering.render(PHOTO, list(STEPS.values()), limits, folder)


def distance(one: Path, other: Path) -> float:
    """Mean ΔE2000 of two pictures of the same size."""
    return float(difference(one, other).avg())


def difference(one: Path, other: Path) -> pyvips.Image:
    """ΔE2000 of each pixel."""
    images = [pyvips.Image.new_from_file(str(path)).colourspace("lab") for path in (one, other)]
    return images[0].dE00(images[1])


def size(path: Path) -> tuple[int, int]:
    """Width and height in pixels."""
    image = pyvips.Image.new_from_file(str(path))
    return image.width, image.height


def _compare_one(name: str, expected: Path, actual: Path) -> Comparison:
    comparable = expected.exists() and size(expected) == size(actual)
    return Comparison(name, expected, actual, distance(expected, actual) if comparable else float("inf"))
