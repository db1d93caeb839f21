"""The pipeline of a job: a graph of steps, each of which writes a named output.

Validation rejects every pipeline that is known to fail for any image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from pixelflow.cross_field import CrossFieldError, fields_of, validate
from pixelflow.imaging.operation import value_at
from pixelflow.imaging.operations.registry import OPERATIONS
from pixelflow.imaging.step import SOURCE, Step

MAX_STEPS = 32
"""Steps in one pipeline."""

if TYPE_CHECKING:
    AnyStep = Step
else:
    AnyStep = Annotated[reduce(or_, [each.model for each in OPERATIONS.values()]), Field(discriminator="action")]
    """One step, of any action."""


def _graph_errors(steps: object) -> Iterator[CrossFieldError]:
    """Errors of the graph: ids are unique, steps read earlier steps, and at least one step has an output."""
    if not isinstance(steps, list):
        return
    rows = [fields_of(step) or {} for step in steps]
    seen: set[str] = {SOURCE}
    for index, row in enumerate(rows):
        for path, message in _node_errors(row, seen):
            yield (index, *path), message
        if isinstance(step_id := row.get("id"), str):
            seen.add(step_id)
    if rows and all(row.get("output") is False for row in rows):
        yield (), "needs at least one step without `output: false`"


def _node_errors(step: Mapping[str, object], seen: set[str]) -> Iterator[tuple[tuple[str, ...], str]]:
    step_id = step.get("id")
    if step_id == SOURCE:
        yield ("id",), "`source` is reserved for the source; choose another id"
    elif isinstance(step_id, str) and step_id in seen:
        yield ("id",), "must be unique; an earlier step has this id"
    operation = OPERATIONS.get(str(step.get("action")))
    for path in (("from",), *(operation.step_fields if operation else ())):
        name = value_at(step, path)
        if isinstance(name, str) and name not in seen:
            yield path, "must be `source` or the id of an earlier step"


def _check_graph(value: Any, handler: ValidatorFunctionWrapHandler) -> list[Step]:  # noqa: ANN401 - any input
    """Validate the first ``MAX_STEPS`` steps: for a longer list, Pydantic would report its length and nothing else."""
    if isinstance(value, list) and not value:
        raise PydanticCustomError("no_steps", "must have at least 1 step")
    too_long = isinstance(value, list) and len(value) > MAX_STEPS

    def check(steps: object) -> Iterable[CrossFieldError]:
        if too_long:
            yield (), f"must have at most {MAX_STEPS} steps"
        yield from _graph_errors(steps)

    return validate(value[:MAX_STEPS] if too_long else value, handler, check)


Pipeline = Annotated[
    list[AnyStep],
    Field(
        min_length=1,
        max_length=MAX_STEPS,
        description="The steps. A step comes after the steps that it reads.",
        examples=[[{"id": "thumb", "action": "resize", "width": 640}]],
    ),
    WrapValidator(_check_graph),
]
