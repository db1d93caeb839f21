"""What the standard ``OTEL_…`` variables ask for, judged once, when a process starts.

OpenTelemetry's SDK reads them itself, puts defaults in the place of what it can't read, and quotes it in the log. So
what it would stumble over is told before it is loaded. No value may be repeated: headers hold keys.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from enum import Enum
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from pydantic_core import PydanticCustomError

from pixelflow import setting_urls
from pixelflow.settings import SettingsError

_PROTOCOL = "http/protobuf"
_SAMPLERS = ("always_on", "always_off", "traceidratio")
# As liberal as the SDK, which takes blanks within a value.
_HEADER = re.compile(r"\s*[!#-'*+\-.0-9A-Z^-z|~]+[ \t]*=[ \t]*[ !#-+\--:<-\[\]-~]*\s*")

_Rule: TypeAlias = Callable[[str], str | None]
"""Of a value: what is wrong with it, in words that don't repeat it, or None."""
_Rules: TypeAlias = Mapping[str, _Rule]
"""By the variable."""


class Exporter(Enum):
    """Where spans go."""

    OTLP = "otlp"
    CONSOLE = "console"


def load() -> Exporter | None:
    """:func:`wanted_exporter` of this process's environment."""
    return wanted_exporter(os.environ)


def wanted_exporter(variables: Mapping[str, str]) -> Exporter | None:
    """Where traces are to go by the standard variables; None: nowhere. An empty variable is none.

    Unlike the specification's, our default is not to send traces to a collector on this machine: most have none.

    Raises:
        SettingsError: what is asked for is not to be had; one sentence per wrong variable.
    """
    given = {name: value for name, value in variables.items() if name.startswith("OTEL_") and value.strip()}
    exporter = _exporter(given)
    wrong = [
        f"{name} is wrong: {problem}."
        for name, rule in _rules(exporter, given).items()
        if name in given and (problem := rule(given[name]))
    ]
    if wrong:
        raise SettingsError("\n".join(wrong))
    return exporter


def _exporter(given: Mapping[str, str]) -> Exporter | None:
    name = given.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if not name and {_traces_own("ENDPOINT"), _everythings("ENDPOINT")} & given.keys():
        name = Exporter.OTLP.value
    if name in {"", "none"} or given.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if name not in {exporter.value for exporter in Exporter}:
        raise SettingsError("OTEL_TRACES_EXPORTER is wrong: must be otlp, console or none.")
    return Exporter(name)


def _rules(exporter: Exporter | None, given: Mapping[str, str]) -> _Rules:
    rules = {**_OF_ANY_PROCESS}
    if exporter is not None:
        rules |= _OF_SPANS
        if given.get("OTEL_TRACES_SAMPLER", "").lower().endswith("ratio"):
            rules["OTEL_TRACES_SAMPLER_ARG"] = _ratio
    if exporter is Exporter.OTLP:
        rules |= {
            _traces_own(what) if _traces_own(what) in given else _everythings(what): rule
            for what, rule in _OF_OTLP.items()
        }
    return rules


def _traces_own(what: str) -> str:
    """The variable that goes before the one of everything that is exported."""
    return f"OTEL_EXPORTER_OTLP_TRACES_{what}"


def _everythings(what: str) -> str:
    return f"OTEL_EXPORTER_OTLP_{what}"


# ── What can be wrong ────────────────────────────────────────────────────────────────────────────


def _endpoint(value: str) -> str | None:
    try:
        setting_urls.endpoint(value)
    except PydanticCustomError as error:
        return error.message()
    return None


def _protocol(value: str) -> str | None:
    is_ours = value.strip().lower() == _PROTOCOL
    return None if is_ours else f"traces are sent as {_PROTOCOL}, which collectors take on port 4318"


def _headers(value: str) -> str | None:
    well_formed = all(_HEADER.fullmatch(header) for header in value.split(",") if header.strip())
    return None if well_formed else "must be name=value, and more of them after commas"


def _file(value: str) -> str | None:
    return None if Path(value).is_file() else "must name a file"


def _compression(value: str) -> str | None:
    return None if value.strip().lower() in {"none", "gzip", "deflate"} else "must be none, gzip or deflate"


def _sampler(value: str) -> str | None:
    known = [*_SAMPLERS, *(f"parentbased_{name}" for name in _SAMPLERS)]
    return None if value.lower() in known else f"must be one of {', '.join(known)}"


def _ratio(value: str) -> str | None:
    return None if 0 <= _number(value) <= 1 else "must be a number from 0 to 1"


def _seconds(value: str) -> str | None:
    return None if 0 < _number(value) < math.inf else "must be a number of seconds above 0"


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.nan  # neither below nor above anything


def _count(value: str) -> str | None:
    return None if re.fullmatch(r"[0-9]{1,9}", value.strip()) else "must be a whole number"


def _positive(value: str) -> str | None:
    return None if _count(value) is None and int(value) > 0 else "must be a whole number above 0"


def _propagators(value: str) -> str | None:
    known = {*entry_points(group="opentelemetry_propagator").names, "none"}
    missing = {name.strip() for name in value.split(",")} - known
    return f"there are {', '.join(sorted(known))} and no others" if missing else None


_OF_ANY_PROCESS: _Rules = MappingProxyType(
    {"OTEL_PROPAGATORS": _propagators}  # read by whatever library loads OpenTelemetry first, FastAPI for one
)
_OF_SPANS: _Rules = MappingProxyType(
    {
        "OTEL_TRACES_SAMPLER": _sampler,
        **{f"OTEL_BSP_{each}": _positive for each in ("SCHEDULE_DELAY", "EXPORT_TIMEOUT", "MAX_QUEUE_SIZE")},
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": _positive,
        **{
            f"OTEL_{each}_LIMIT": _count
            for each in (
                "ATTRIBUTE_COUNT",
                "ATTRIBUTE_VALUE_LENGTH",
                "SPAN_ATTRIBUTE_COUNT",
                "SPAN_ATTRIBUTE_VALUE_LENGTH",
                "SPAN_EVENT_COUNT",
                "SPAN_LINK_COUNT",
                "EVENT_ATTRIBUTE_COUNT",
                "LINK_ATTRIBUTE_COUNT",
            )
        },
    }
)
_OF_OTLP: _Rules = MappingProxyType(
    {
        "ENDPOINT": _endpoint,
        "PROTOCOL": _protocol,
        "HEADERS": _headers,
        "TIMEOUT": _seconds,
        "COMPRESSION": _compression,
        "CERTIFICATE": _file,
        "CLIENT_KEY": _file,
        "CLIENT_CERTIFICATE": _file,
    }
)
