"""Pipelines with placeholders: a value such as ``"${size}"`` stands for the parameter ``size`` of a preset.

A placeholder is always the whole value of a field, so the type of a field is the type of its parameter. It never stands
for a name that other parts of a pipeline or a client refer to: the ID, action and input of a step are fixed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from pixelflow.cross_field import CrossFieldError, fields_of, rebuild, validate
from pixelflow.imaging.operations.registry import OPERATIONS
from pixelflow.imaging.pipeline import Pipeline
from pixelflow.imaging.step import Step

PARAMETER_NAME_PATTERN = r"^[a-z][a-z0-9_]{0,31}$"
MAX_PARAMETERS = 32
MAX_TEXT = 1000
"""Characters of a parameter's value."""
MAX_NUMBER = 2**53
"""The largest integer that every JSON parser reads exactly (RFC 8259, section 6)."""
_PLACEHOLDER = re.compile(r"\$\{([a-z][a-z0-9_]{0,31})\}")
_FIXED = frozenset({"id", "action", "from"})
"""Fields of a step that other steps, file names and clients refer to."""
_PIPELINE: TypeAdapter[list[Step]] = TypeAdapter(Pipeline)

Location = tuple[int | str, ...]
Scalar = bool | int | float | str


def _is_scalar(value: object) -> object:
    if isinstance(value, str):
        if len(value) > MAX_TEXT or "\x00" in value or not _is_unicode(value):
            message = f"must be valid Unicode of at most {MAX_TEXT} characters, without NUL"
            raise PydanticCustomError("parameter_text", message)
    elif not isinstance(value, (bool, int, float)):
        raise PydanticCustomError("parameter_type", "must be a string, a number or a boolean")
    elif not math.isfinite(value) or abs(value) > MAX_NUMBER:
        raise PydanticCustomError("parameter_number", "must be a number of at most 2^53")
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


ParameterValue = Annotated[
    Any, BeforeValidator(_is_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]}), Field(examples=[320])
]
"""A ``Scalar``."""
ParameterName = Annotated[str, StringConstraints(pattern=PARAMETER_NAME_PATTERN)]
ParameterValues = Annotated[dict[ParameterName, ParameterValue], Field(max_length=MAX_PARAMETERS)]


class ParameterType(StrEnum):
    """The type of a parameter's values."""

    INTEGER = "integer"
    NUMBER = "number"
    STRING = "string"
    BOOLEAN = "boolean"


class Parameter(BaseModel):
    """A parameter that a preset declares. Without a default, each job must set it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    type: ParameterType
    default: Annotated[
        ParameterValue | None, Field(description="Value of jobs that don't set the parameter. Null: they must set it.")
    ] = None
    minimum: Annotated[float | None, Field(description="Smallest value, of a number.")] = None
    maximum: Annotated[float | None, Field(description="Largest value, of a number.")] = None
    enum: Annotated[
        list[ParameterValue] | None, Field(min_length=1, max_length=100, description="The allowed values.")
    ] = None
    description: Annotated[str | None, Field(max_length=500, pattern=r"^[^\x00]*$")] = None

    @model_validator(mode="wrap")
    @classmethod
    def _check(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - any input
        return validate(value, handler, _parameter_errors)

    @property
    def sample(self) -> Scalar:
        """A value that is likely to be valid where the parameter is used."""
        for value in (self.default, *(self.enum or ()), self.minimum, self.maximum):
            if value is not None:
                whole = self.type is ParameterType.INTEGER and isinstance(value, float)
                found: Scalar = int(value) if whole else value
                return found
        samples: dict[ParameterType, Scalar] = {
            ParameterType.INTEGER: 1,
            ParameterType.NUMBER: 1.0,
            ParameterType.STRING: "x",
            ParameterType.BOOLEAN: True,
        }
        return samples[self.type]


def _parameter_errors(parameter: object) -> Iterator[CrossFieldError]:
    fields = fields_of(parameter) or {}
    is_number = fields.get("type") in (ParameterType.INTEGER, ParameterType.NUMBER)
    for name in ("minimum", "maximum"):
        if fields.get(name) is not None and not is_number:
            yield (name,), "is only for the types `integer` and `number`"
    if not isinstance(parameter, Parameter):
        return
    if parameter.minimum is not None and parameter.maximum is not None and parameter.minimum > parameter.maximum:
        yield ("maximum",), "must be at least `minimum`"
    for index, value in enumerate(parameter.enum or ()):
        if message := _type_message(parameter.type, value):
            yield ("enum", index), message
    if parameter.default is not None and (message := value_message(parameter, parameter.default)):
        yield ("default",), message


def value_message(parameter: Parameter, value: Scalar) -> str | None:
    """What is wrong with a value of the parameter; ``None`` if nothing is."""
    if message := _type_message(parameter.type, value):
        return message
    if parameter.enum is not None and value not in parameter.enum:
        return f"must be one of {', '.join(map(str, parameter.enum))}"
    if not isinstance(value, str):
        if parameter.minimum is not None and value < parameter.minimum:
            return f"must be at least {parameter.minimum:g}"
        if parameter.maximum is not None and value > parameter.maximum:
            return f"must be at most {parameter.maximum:g}"
    return None


def _type_message(type_: ParameterType, value: Scalar) -> str | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fits = {
        ParameterType.INTEGER: (is_number and isinstance(value, int), "must be an integer"),
        ParameterType.NUMBER: (is_number, "must be a number"),
        ParameterType.STRING: (isinstance(value, str), "must be a string"),
        ParameterType.BOOLEAN: (isinstance(value, bool), "must be true or false"),
    }
    is_valid, message = fits[type_]
    return None if is_valid else message


# ── Placeholders ─────────────────────────────────────────────────────────────────────────────────


def placeholders(value: object, at: Location = ()) -> Iterator[tuple[Location, str]]:
    """The placeholders in a pipeline: where each is, and the name of its parameter."""
    if isinstance(value, str) and (found := _PLACEHOLDER.fullmatch(value)):
        yield at, found[1]
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from placeholders(child, (*at, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from placeholders(child, (*at, index))


def fill(value: Any, values: Mapping[str, Scalar]) -> Any:  # noqa: ANN401 - JSON
    """Return the pipeline with each placeholder replaced by its parameter's value; others stay as they are."""
    if isinstance(value, str) and (found := _PLACEHOLDER.fullmatch(value)):
        return values.get(found[1], value)
    if isinstance(value, dict):
        return {key: fill(child, values) for key, child in value.items()}
    if isinstance(value, list):
        return [fill(child, values) for child in value]
    return value


def parse_steps(filled: object) -> list[Step]:
    """Return the steps of a pipeline without placeholders.

    Raises:
        ValidationError: the pipeline is not valid.
    """
    return _PIPELINE.validate_python(filled)


def check_template(steps: Sequence[Mapping[str, Any]], parameters: Mapping[str, Parameter]) -> None:
    """Check a pipeline with placeholders by the rules of pipelines, with a sample of each parameter.

    A parameter without a default has no value yet, so the value of its sample is not checked; its type is.

    Raises:
        ValidationError: the pipeline, or its use of the parameters, is not valid.
    """
    used = list(placeholders(list(steps)))
    undecided = [at for at, name in used if name in parameters and parameters[name].default is None]
    refused = [at for at, name in used if name not in parameters or _is_fixed(at)]

    def check_sample(sample: object) -> object:
        try:
            parse_steps(sample)
        except ValidationError as error:
            rows = error.errors(include_url=False, include_input=False)
            decided = [row for row in rows if row["type"].endswith("_type") or not _is_within(row, undecided)]
            if kept := [row for row in decided if not _is_within(row, refused)]:
                raise rebuild(kept) from None
        return sample

    samples = {name: parameter.sample for name, parameter in parameters.items()}
    validate(fill(list(steps), samples), check_sample, lambda _: _use_errors(used, parameters))


def _is_within(row: ErrorDetails, locations: Sequence[Location]) -> bool:
    at = location_of(row)
    return any(at[: len(each)] == each for each in locations)


def location_of(row: ErrorDetails) -> Location:
    """Where in a pipeline an error is. Pydantic adds the action of a step to the location."""
    loc = row["loc"]
    if row["type"].startswith("union_tag_"):
        return (*loc, "action")
    return (loc[0], *loc[2:]) if len(loc) > 1 and loc[1] in OPERATIONS else loc


def _is_fixed(at: Location) -> bool:
    return len(at) == 2 and at[1] in _FIXED  # noqa: PLR2004 - a field of a step


def _use_errors(used: Sequence[tuple[Location, str]], parameters: Mapping[str, Parameter]) -> Iterator[CrossFieldError]:
    for at, name in used:
        if _is_fixed(at):
            yield at, f"can't be a parameter: `{at[1]}` of a step is fixed"
        elif name not in parameters:
            yield at, f"names a parameter that `parameters` does not declare: `{name}`"
