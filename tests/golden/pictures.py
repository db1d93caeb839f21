"""The golden pictures: each operation's examples on the example photo, which a new rendering is compared with.

A golden picture is in the folder of its operation. The test and the review page both use :func:`compare`. Nothing here
replaces a golden picture by itself: ``make goldens ACCEPT=1`` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyvips
from tests.support import rendering

from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.registry import OPERATIONS
from pixelflow.imaging.protocol import TransformLimits

PHOTO = Path(__file__).parents[2] / "examples" / "photo.jpg"
WIDTH = 160
"""Width in pixels of the photo that examples are applied to."""
REGION = 8
"""Side of a region, in pixels."""


@dataclass(frozen=True)
class Distance:
    """How far two pictures are apart, in ΔE2000: 1 is the smallest difference that an eye sees side by side."""

    mean: float
    """Over all pixels. A picture upside down is over 15 away."""
    regional: float
    """The largest mean of a region: a missing letter is over 5 away."""
    maximum: float
    """Of a single pixel."""

    def within(self, limit: Distance) -> bool:
        """Whether no measure exceeds that of the limit."""
        return self.mean <= limit.mean and self.regional <= limit.regional and self.maximum <= limit.maximum


LIMIT = Distance(mean=0.5, regional=3, maximum=25)
"""Other processors and versions of libvips round differently."""
INFINITE = Distance(float("inf"), float("inf"), float("inf"))


@dataclass(frozen=True)
class Case:
    """One example of an operation."""

    name: str
    step: dict[str, Any]
    expected: Path
    """May be missing: a new example has no golden picture yet."""


@dataclass(frozen=True)
class Comparison:
    """A golden picture and its new rendering."""

    case: Case
    actual: Path
    distance: Distance
    """Infinite if the expected picture is missing or has another size."""

    @property
    def name(self) -> str:
        """Name of the case."""
        return self.case.name

    @property
    def passes(self) -> bool:
        """Whether the rendering may differ by this much."""
        return self.distance.within(LIMIT)


def cases() -> dict[str, Case]:
    """Return all cases by name: the action and the number of the example."""
    return {case.name: case for operation in OPERATIONS.values() for case in _cases_of(operation)}


def _cases_of(operation: Operation[Any]) -> Iterator[Case]:
    folder = Path(str(files(operation.package).joinpath("golden")))
    for number, example in enumerate(operation.examples):
        name = f"{operation.action}-{number}"
        step = {**example, "id": name, "from": "before", "format": "png"}
        yield Case(name, step, folder / f"{number}.png")


def compare(folder: Path) -> list[Comparison]:
    """Render every golden picture into ``folder`` and compare each with the expected one."""
    render(folder)
    return [_compare_one(case, folder / f"{name}.png") for name, case in cases().items()]


def render(folder: Path) -> None:
    """Write ``<name>.png`` of every golden picture into ``folder``."""
    limits = TransformLimits(max_source_pixels=50_000_000, max_output_pixels=50_000_000, max_output_bytes=10**9)
    small = {"id": "small", "action": "resize", "width": WIDTH, "output": False}
    other = {"id": "other", "action": "resize", "width": WIDTH // 4, "output": False}
    for operation in OPERATIONS.values():
        steps = [case.step for case in _cases_of(operation)]
        before = {**(operation.before or {"action": "convert"}), "id": "before", "from": "small", "output": False}
        rendering.render(PHOTO, [small, other, before, *steps], limits, folder)


def distance(one: Path, other: Path) -> Distance:
    """Measure two pictures of the same size."""
    found = difference(one, other)
    regions = found.embed(0, 0, _up(found.width), _up(found.height)).shrink(REGION, REGION)
    return Distance(float(found.avg()), float(regions.max()), float(found.max()))


def difference(one: Path, other: Path) -> pyvips.Image:
    """ΔE2000 of each pixel, seen over grey; a difference of alpha counts like one of lightness."""
    images = [pyvips.Image.new_from_file(str(path)) for path in (one, other)]
    alphas = [image[image.bands - 1] if image.hasalpha() else image.new_from_image([255]) for image in images]
    flat = [image.flatten(background=[128] * 3) if image.hasalpha() else image for image in images]
    labs = [image.colourspace("lab") for image in flat]
    return labs[0].dE00(labs[1]) + (alphas[0] - alphas[1]).abs() * (100 / 255)


def size(path: Path) -> tuple[int, int]:
    """Width and height in pixels."""
    image = pyvips.Image.new_from_file(str(path))
    return image.width, image.height


def _up(side: int) -> int:
    return -(-side // REGION) * REGION


def _compare_one(case: Case, actual: Path) -> Comparison:
    comparable = case.expected.exists() and size(case.expected) == size(actual)
    return Comparison(case, actual, distance(case.expected, actual) if comparable else INFINITE)
