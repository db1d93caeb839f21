"""Generates tables of the documentation, and ``.env.example``, from the code.

    python -m tests.support.doc_tables

writes them anew: each stands in its page between two comments that name it. A test holds the pages against what is
made here.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from tests.support.metric_list import METRICS

from pixelflow import errors as contracts_errors
from pixelflow.contracts.error_guide import GUIDES, titles
from pixelflow.controlplane.api.problems import status_of
from pixelflow.imaging.extras import EXTRAS
from pixelflow.imaging.fields import (
    COLOR_PATTERN,
    OPAQUE_COLOR_PATTERN,
    PERCENT_PATTERN,
    RATIO_PATTERN,
    SIGNED_PERCENT_PATTERN,
    STEP_ID_PATTERN,
)
from pixelflow.imaging.formats.registry import INPUT_FORMATS, OUTPUT_FORMATS
from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.registry import OPERATIONS
from pixelflow.imaging.source_options import SourceOptions
from pixelflow.imaging.step import Step
from pixelflow.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ENV_EXAMPLE = ROOT / ".env.example"

_GROUPS = {
    "database_url": "Database and deadlines",
    "url_sources": "Sources by URL",
    "redis_url": "Servers",
    "api_host": "API",
    "rate_limit_enabled": "Rate limits",
    "jwt_issuer": "Tokens",
    "max_source_bytes": "Limits",
    "lease_seconds": "Jobs",
    "retention_source_days": "Retention",
    "secrets_key": "Webhooks",
    "worker_concurrency": "Worker",
    "metrics_enabled": "Metrics",
    "log_format": "Logs",
}
"""First setting of each group → the group's title."""
_PATTERNS = {
    STEP_ID_PATTERN: "1 to 64 of `A–Z a–z 0–9 _ -`",
    COLOR_PATTERN: "`#rrggbb`, `#rrggbbaa`, `#rgb`, `#rgba` or a CSS name such as `orange`",
    OPAQUE_COLOR_PATTERN: "`#rrggbb`, `#rgb` or a CSS name such as `orange`",
    SIGNED_PERCENT_PATTERN: "a percentage such as `-1%`",
    PERCENT_PATTERN: "a percentage such as `4%`",
    RATIO_PATTERN: "a ratio such as `16:9`",
}
"""Pattern → description. New patterns must be added here."""


# ── Settings ─────────────────────────────────────────────────────────────────────────────────────


def settings_table() -> str:
    """Return a table of all settings, by group."""
    lines: list[str] = []
    for name, field in Settings.model_fields.items():
        if name in _GROUPS:
            lines += ["", f"**{_GROUPS[name]}**", "", "| variable | default | what it is |", "|---|---|---|"]
        lines.append(
            f"| `{PREFIX}{name.upper()}` | {_default_cell(field)} | {_cell(field.description)}{_range(name)} |"
        )
    return "\n".join(lines[1:])


def _default_cell(field: FieldInfo) -> str:
    if field.is_required():
        return "**must be set**"
    return f"`{_default_text(field)}`" if _default_text(field) else ""


def _default_text(field: FieldInfo) -> str:
    """Return the default as it is written in an environment variable; empty if there is none."""
    if field.is_required() or field.default in {None, ()}:
        return ""
    return str(field.default).lower() if isinstance(field.default, bool) else str(field.default)


def _range(name: str) -> str:
    schema = Settings.model_json_schema()["properties"][name]
    schema = next((each for each in schema.get("anyOf", ()) if each["type"] in {"integer", "number"}), schema)
    bounds = " ".join(f"`{value}`" for value in schema.get("enum", ())) or _bounds(schema)
    return f" ({bounds})" if bounds else ""


def env_example() -> str:
    """Return ``.env.example``: all settings, of which the required ones must be filled in."""
    lines = [
        "# Settings of PixelFlow, described in docs/configuration.md. Settings with a default are commented out.",
        "# Copy it to .env, fill it in (values with blanks or signs of the shell in single quotes), and load it into",
        "# the shell that starts a process: set -a; . ./.env; set +a",
    ]
    for name, field in Settings.model_fields.items():
        if name in _GROUPS:
            lines += ["", f"# ── {_GROUPS[name]} " + "─" * (40 - len(_GROUPS[name]))]
        comment = "" if field.is_required() else "# "
        lines += ["", f"# {field.description}", f"{comment}{PREFIX}{name.upper()}={_default_text(field)}"]
    return "\n".join(lines) + "\n"


# ── Pipeline ─────────────────────────────────────────────────────────────────────────────────────


def _fields_table(model: type[BaseModel], names: Callable[[str], bool]) -> str:
    schema = model.model_json_schema()
    lines = ["| field | value | default | what it is |", "|---|---|---|---|"]
    for name, field in schema["properties"].items():
        if names(name):
            lines.append(
                f"| `{name}` | {_kind(field, schema.get('$defs', {}))} | {_field_default(name, field, schema)} "
                f"| {_cell(field.get('description', ''))} |"
            )
    return "\n".join(lines)


def _kind(schema: dict[str, Any], models: dict[str, Any]) -> str:
    """Describe the values of a field."""
    if "$ref" in schema:
        return _kind(models[schema["$ref"].rpartition("/")[2]], models)
    if "anyOf" in schema:
        kinds = (_kind(each, models) for each in schema["anyOf"] if each.get("type") != "null")
        return ", or ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return " ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "pattern" in schema:
        return _PATTERNS[schema["pattern"]]
    return {
        "array": f"list of {schema.get('minItems')} to {schema.get('maxItems')} objects, see below",
        "boolean": "`true` `false`",
        "string": f"text of up to {schema.get('maxLength')} characters",
        "object": "see below",
    }.get(schema["type"]) or f"{'whole number' if schema['type'] == 'integer' else 'number'}, {_bounds(schema)}"


def _bounds(schema: dict[str, Any]) -> str:
    low, above, high = (schema.get(name) for name in ("minimum", "exclusiveMinimum", "maximum"))
    words = [
        f"{word} {_number(end)}" for word, end in (("from", low), ("over", above), ("to", high)) if end is not None
    ]
    return " ".join(words)


def _number(value: float) -> str:
    return f"{value:,}".replace(",", " ").removesuffix(".0")


def _field_default(name: str, field: dict[str, Any], schema: dict[str, Any]) -> str:
    if name in schema.get("required", ()):
        return "**must be set**"
    return f"`{json.dumps(field['default'])}`" if field.get("default") is not None else ""


_COMMON = {field.alias or name for name, field in Step.model_fields.items()} - {"action"}


def step_table() -> str:
    """Return a table of the fields of every step."""
    return _fields_table(Step, lambda name: name in _COMMON)


def source_table() -> str:
    """Return a table of the options for reading a source."""
    return _fields_table(SourceOptions, lambda _: True)


def operations_table() -> str:
    """Return a table of all operations, with links to their pages."""
    lines = ["| `action` | what it does |", "|---|---|"]
    lines += [f"| [`{action}`](operations/{action}.md) | {each.summary} |" for action, each in OPERATIONS.items()]
    return "\n".join(lines)


def operation_tables(operation: Operation[Any]) -> str:
    """Return a table of the fields that an operation adds to those of every step, and one for each object in them."""
    tables = [_fields_table(operation.model, lambda name: name not in _COMMON)]
    for name, model in _objects(operation.model):
        tables.append(f"### `{name}`\n\n{_fields_table(model, lambda _: True)}")
    return "\n\n".join(tables)


def _objects(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the models of nested objects by the name of their field."""
    for name, field in model.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel) and (field.alias or name) not in _COMMON:
                yield name, kind
                yield from _objects(kind)


def input_formats_table() -> str:
    """Return a table of the formats that PixelFlow reads."""
    lines = ["| format | name | media type | extra | of several frames |", "|---|---|---|---|---|"]
    for each in INPUT_FORMATS.values():
        extra = f"`{each.extra}`" if each.extra else ""
        frames = "one is read" if each.pages else "all, or one" if each.moves else "the first"
        lines.append(f"| `{each.name}` | {each.label} | `{each.media_type}` | {extra} | {frames} |")
    return "\n".join(lines)


def extras_table() -> str:
    """Return a table of the extras of a worker."""
    lines = ["| extra | package | license |", "|---|---|---|"]
    lines += [f"| `{name}` | `{extra.package}` | {extra.license} |" for name, extra in EXTRAS.items()]
    return "\n".join(lines)


def encoders_tables() -> str:
    """Return a table of the encoder options of each output format."""
    tables = [
        f"### `{each.name}`\n\n{_fields_table(each.options, lambda _: True)}"
        for each in OUTPUT_FORMATS.values()
        if each.options
    ]
    return "\n\n".join(tables)


def formats_table() -> str:
    """Return a table of the formats that PixelFlow writes, and their limits."""
    lines = ["| format | file name | media type | longest side |", "|---|---|---|---|"]
    lines += [
        f"| `{each.name}` | `STEP.{each.extension}` | `{each.media_type}` | {_number(each.max_side)} px |"
        for each in OUTPUT_FORMATS.values()
    ]
    return "\n".join(lines)


# ── Errors ───────────────────────────────────────────────────────────────────────────────────────


def _leaves(root: type[contracts_errors.PixelflowError]) -> Iterator[type[contracts_errors.PixelflowError]]:
    children = root.__subclasses__()
    if not children:
        yield root
    for child in children:
        yield from _leaves(child)


def request_errors_table() -> str:
    """Return a table of the API's errors, by status."""
    errors: list[type[contracts_errors.PixelflowError]] = [
        *_leaves(contracts_errors.RequestError),
        *_leaves(contracts_errors.DependencyError),
        contracts_errors.StoreUnavailableError,
        contracts_errors.OverloadedError,
        contracts_errors.PixelflowError,
    ]
    rows = sorted((status_of(error), error.code, error.title) for error in errors)
    lines = ["| status | code | title |", "|---|---|---|"]
    lines += [f"| {status} | [`{code}`](errors.md#{code}) | {title} |" for status, code, title in rows]
    return "\n".join(lines)


def error_guide() -> str:
    """Return a section for each error code: the anchor of the code is that of its heading."""
    named = titles()
    return "\n\n".join(
        f"### {code}\n\n**{named[code]}.** {guide.meaning}\n\n- Change: {guide.change}\n- Retry: {guide.retry}"
        for code, guide in GUIDES.items()
    )


def job_errors_table() -> str:
    """Return a table of the errors of attempts."""
    lines = ["| code | what it means | tried again |", "|---|---|---|"]
    # A worker speaks to the database and to object storage; the queue is behind it by then.
    errors: list[type[contracts_errors.PixelflowError]] = [
        *_leaves(contracts_errors.JobError),
        contracts_errors.StoreUnavailableError,
        contracts_errors.ObjectsUnavailableError,
        contracts_errors.WorkerUnavailableError,
    ]
    lines += [f"| `{error.code}` | {error.title} | {'yes' if error.retryable else 'no'} |" for error in errors]
    return "\n".join(lines)


def delivery_errors_table() -> str:
    """Return a table of the errors of webhook deliveries without a response."""
    lines = ["| code | what it means | tried again |", "|---|---|---|"]
    errors = (
        contracts_errors.TargetTimeoutError,
        contracts_errors.TargetUnreachableError,
        contracts_errors.TargetRefusedError,
    )
    lines += [f"| `{error.code}` | {error.title} | {'yes' if error.retryable else 'no'} |" for error in errors]
    return "\n".join(lines)


# ── Metrics ──────────────────────────────────────────────────────────────────────────────────────


def metrics_table(role: str) -> str:
    """Return a table of a role's metrics."""
    lines = ["| metric | kind | labels | what it is |", "|---|---|---|---|"]
    for metric in METRICS[role]:
        labels = " ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {_cell(metric.help)} |")
    return "\n".join(lines)


# ── Pages ────────────────────────────────────────────────────────────────────────────────────────

TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "configuration.md": {"settings": settings_table},
    "pipeline.md": {
        "source": source_table,
        "step": step_table,
        "operations": operations_table,
        "job errors": job_errors_table,
    },
    "formats.md": {
        "input formats": input_formats_table,
        "extras": extras_table,
        "formats": formats_table,
        "encoders": encoders_tables,
    },
    "webhooks.md": {"delivery errors": delivery_errors_table},
    "http-api.md": {"errors": request_errors_table},
    "errors.md": {"guide": error_guide},
    "metrics.md": {role: functools.partial(metrics_table, role) for role in METRICS},
}
"""Page → its tables, by the name in the page's comments."""


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").replace("\n", " ")


def renewed(page: str, text: str) -> str:
    """Return the page with all its tables regenerated."""
    for name, table in TABLES[page].items():
        between = re.compile(
            rf"(<!-- {name}: made by tests/support/doc_tables\.py -->\n).*?(\n<!-- end -->)", re.DOTALL
        )
        text, count = between.subn(lambda found, table=table: found[1] + table() + found[2], text)  # type: ignore[misc]
        if count != 1:
            raise LookupError(f'docs/{page} has no place for "{name}"')
    return text


def main() -> None:
    """Regenerate all pages."""
    ENV_EXAMPLE.write_text(env_example(), encoding="utf-8")
    for page in TABLES:
        path = DOCS / page
        path.write_text(renewed(page, path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
