"""Validation of OpenTelemetry's standard ``OTEL_…`` variables when a process starts.

OpenTelemetry's SDK reads them itself, replaces values that it can't parse by defaults, and quotes them in the log. They
are therefore validated before it is loaded. No value is repeated: headers contain keys.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from enum import Enum
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, FilePath, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from pixelflow.settings import SettingsError
from pixelflow.settings.errors import value_message
from pixelflow.settings.field_types import EndpointUrl

# As liberal as the SDK, which accepts blanks within a value.
_HEADER = re.compile(r"\s*[!#-'*+\-.0-9A-Z^-z|~]+[ \t]*=[ \t]*[ !#-+\--:<-\[\]-~]*\s*")


class Exporter(Enum):
    """Destination of spans."""

    OTLP = "otlp"
    CONSOLE = "console"


def _check_headers(value: str) -> str:
    if not all(_HEADER.fullmatch(header) for header in value.split(",") if header.strip()):
        raise PydanticCustomError("headers", "must be name=value pairs, separated by commas")
    return value


def _check_propagators(value: str) -> str:
    known = {*entry_points(group="opentelemetry_propagator").names, "none"}
    if {name.strip() for name in value.split(",")} - known:
        names = ", ".join(sorted(known))
        raise PydanticCustomError("propagators", "must list only {names}", {"names": names})
    return value


def _parse_count(value: str) -> int:
    """Only what the SDK parses and its queue can hold; Pydantic also accepts ``1.0``."""
    if not re.fullmatch(r"[0-9]{1,9}", value.strip()):
        raise PydanticCustomError("count", "must be a whole number of at most 9 digits")
    return int(value)


_Count: TypeAlias = Annotated[int, BeforeValidator(_parse_count)]
_PositiveCount: TypeAlias = Annotated[_Count, Field(gt=0)]
_lowercase = BeforeValidator(str.lower)
_stripped_lowercase = BeforeValidator(lambda value: value.strip().lower())
_SAMPLERS = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]
_SPAN_TYPES: Mapping[str, Any] = MappingProxyType(
    {
        "OTEL_TRACES_SAMPLER": Annotated[_SAMPLERS, _lowercase],
        "OTEL_BSP_SCHEDULE_DELAY": _PositiveCount,
        "OTEL_BSP_EXPORT_TIMEOUT": _PositiveCount,
        "OTEL_BSP_MAX_QUEUE_SIZE": _PositiveCount,
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": _PositiveCount,
        "OTEL_ATTRIBUTE_COUNT_LIMIT": _Count,
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": _Count,
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": _Count,
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": _Count,
        "OTEL_SPAN_EVENT_COUNT_LIMIT": _Count,
        "OTEL_SPAN_LINK_COUNT_LIMIT": _Count,
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": _Count,
        "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": _Count,
    }
)
_OTLP_TYPES: Mapping[str, Any] = MappingProxyType(
    {
        "ENDPOINT": EndpointUrl,
        "PROTOCOL": Annotated[Literal["http/protobuf"], _stripped_lowercase],
        "HEADERS": Annotated[str, AfterValidator(_check_headers)],
        "TIMEOUT": Annotated[float, Field(gt=0, allow_inf_nan=False)],
        "COMPRESSION": Annotated[Literal["none", "gzip", "deflate"], _stripped_lowercase],
        "CERTIFICATE": FilePath,
        "CLIENT_KEY": FilePath,
        "CLIENT_CERTIFICATE": FilePath,
    }
)
_RATIO = Annotated[float, Field(ge=0, le=1)]


def load(variables: Mapping[str, str] = os.environ) -> Exporter | None:
    """The exporter that the variables select; None if traces are disabled. Empty variables are ignored.

    Unlike the specification, traces are not sent to a collector on this machine by default: most have none.

    Raises:
        SettingsError: one line per variable that is not valid.
    """
    given = {name: value for name, value in variables.items() if name.startswith("OTEL_") and value.strip()}
    exporter = _select_exporter(given)
    messages = [
        f"{name} is not valid: {message}."
        for name, type_ in _types(exporter, given).items()
        if name in given and (message := _message(type_, given[name]))
    ]
    if messages:
        raise SettingsError("\n".join(messages))
    return exporter


def _select_exporter(given: Mapping[str, str]) -> Exporter | None:
    name = given.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if not name and {_traces_variable("ENDPOINT"), _general_variable("ENDPOINT")} & given.keys():
        name = Exporter.OTLP.value
    if name in {"", "none"} or given.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if name not in {exporter.value for exporter in Exporter}:
        raise SettingsError("OTEL_TRACES_EXPORTER is not valid: must be `otlp`, `console` or `none`.")
    return Exporter(name)


def _types(exporter: Exporter | None, given: Mapping[str, str]) -> dict[str, Any]:
    """The type of each variable that is read."""
    # Any library that loads OpenTelemetry's API reads it, such as FastAPI, also when traces are disabled.
    types: dict[str, Any] = {"OTEL_PROPAGATORS": Annotated[str, AfterValidator(_check_propagators)]}
    if exporter is not None:
        types |= _SPAN_TYPES
        if given.get("OTEL_TRACES_SAMPLER", "").lower().endswith("ratio"):
            types["OTEL_TRACES_SAMPLER_ARG"] = _RATIO
    if exporter is Exporter.OTLP:
        for what, type_ in _OTLP_TYPES.items():
            specific = _traces_variable(what)
            types[specific if specific in given else _general_variable(what)] = type_
    return types


def _message(type_: Any, value: str) -> str | None:  # noqa: ANN401
    try:
        TypeAdapter(type_).validate_python(value)
    except ValidationError as error:
        return value_message(error.errors(include_url=False, include_input=False)[0])
    return None


def _traces_variable(what: str) -> str:
    """The variable that takes precedence over the one of all signals."""
    return f"OTEL_EXPORTER_OTLP_TRACES_{what}"


def _general_variable(what: str) -> str:
    return f"OTEL_EXPORTER_OTLP_{what}"
