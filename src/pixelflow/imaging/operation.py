"""What the engine, the API and the documentation know of an operation without its pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from pixelflow.imaging.geometry import Size
from pixelflow.imaging.step import Step

S = TypeVar("S", bound=Step)

ROWS = 320
"""Rows of a streamed picture in memory: caches of libvips between decoder, operations and encoder."""

FieldPath = tuple[str, ...]
"""The names of the fields that lead from a step to a value, such as ``("image", "step")``."""


class Sizes(NamedTuple):
    """The sizes of the pictures that a step makes, in pixels."""

    working: Size
    """The largest picture on the way to the result."""
    result: Size
    """Where it depends on the content of the picture: the largest that it can be."""


def same_size(size: Size, _step: object) -> Sizes:
    """Sizes of an operation that keeps the size of its input."""
    return Sizes(size, size)


def no_reduction(_size: Size, _step: object, _allowed: float) -> float:
    """Reduction of an operation that needs every pixel of its input."""
    return 1


def any_reduction(_size: Size, _step: object, allowed: float) -> float:
    """Reduction of an operation that works at any scale: the input may be reduced as far as the result."""
    return allowed


_REDUCED_WIDTH = 4
"""Pixels that a border or padding has at least in a reduced picture: it is rounded to whole ones, by 1/8 at most."""


def reduction_around(width: int, allowed: float) -> float:
    """Reduction of an operation that works at any scale, but adds something ``width`` pixels wide."""
    return min(allowed, max(1.0, width / _REDUCED_WIDTH))


def no_memory(_size: Size, _step: object) -> int:
    """Memory of an operation that only streams rows."""
    return 0


@dataclass(frozen=True, kw_only=True)
class Operation(Generic[S]):
    """An action of a step. Its folder has ``pixels.py``, which applies it, and ``page.md``, which documents it."""

    model: type[S]
    """The step's model; its module is in the operation's folder."""
    summary: str
    """What it does, in a few words, for lists."""
    examples: tuple[Mapping[str, Any], ...]
    """Steps without ``id``. The first one makes the picture of the documentation; all are tested on many pictures."""
    before: Mapping[str, Any] | None = None
    """A step without ``id`` that prepares the photo of the documentation, if the operation shows nothing on a photo."""
    since: int = 1
    """The worker contract that introduced it (``contracts.capabilities``)."""
    sizes: Callable[[Size, S], Sizes] = same_size
    """(size of the input, step) → sizes."""
    reduction: Callable[[Size, S, float], float] = no_reduction
    """(size of the input, step, factor by which its result may be reduced) → factor by which its input may be."""
    memory: Callable[[Size, S], int] = no_memory
    """(size of the input, step) → bytes of memory that it needs for pictures, beside rows, its input and its result."""
    kept: Callable[[Size, S], int] = no_memory
    """(size of the input, step) → bytes of these that are in memory for certain."""
    adds_alpha: bool = False
    """Whether the result can be transparent although the input is opaque. Costs memory in later steps."""
    hides: bool = False
    """Whether it hides parts of the picture: results that depend on it keep no metadata but copyright."""
    moves_only: Callable[[S], bool] = lambda _step: False
    """Whether the step only moves or scales pixels and does not look at them: it is applied to a gain map, too."""
    step_fields: tuple[FieldPath, ...] = ()
    """Fields that name another step whose result it reads, beside ``from``."""
    asset_fields: tuple[FieldPath, ...] = ()
    """Fields that name an asset of the user."""
    requires: Callable[[S], tuple[str, ...]] = lambda _step: ()
    """The optional capabilities that a worker needs for the step, such as ``faces``."""

    @property
    def action(self) -> str:
        """The value of ``action``."""
        return str(self.model.model_fields["action"].annotation.__args__[0])  # type: ignore[union-attr]

    @property
    def package(self) -> str:
        """The package of the operation's folder."""
        return self.model.__module__.rpartition(".")[0]

    def inputs(self, step: S) -> tuple[str, ...]:
        """The names of all pictures that the step reads: ``from`` first, each once."""
        others = (value_at(step, path) for path in self.step_fields)
        return tuple(dict.fromkeys([step.from_, *(str(name) for name in others if name is not None)]))

    def assets(self, step: S) -> tuple[str, ...]:
        """The assets that the step reads."""
        found = (value_at(step, path) for path in self.asset_fields)
        return tuple(dict.fromkeys(str(name) for name in found if name is not None))


def value_at(step: object, path: FieldPath) -> object:
    """Return the value of a field of a model or a raw JSON object; None if there is none."""
    value: object = step
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
    return value
