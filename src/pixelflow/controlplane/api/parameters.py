"""What the OpenAPI document says of a request's route: its methods and its query parameters.

Only this module and ``route_call`` use internals of FastAPI, which has no public way to validate the parameters of a
route without running it. tests/unit/test_query_parameters.py shows what is expected of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi._compat import ModelField
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_params_to_args
from fastapi.routing import APIRoute

from pixelflow.contracts.field_errors import validation_failed, value_message
from pixelflow.contracts.other_tools import FIELDS
from pixelflow.contracts.suggestions import similar
from pixelflow.errors import FieldError

_MAX_ERRORS = 100
"""Parameters that a response lists."""
_MAX_SUGGESTIONS = 20
"""Parameters that are compared with those of the route: about 7 µs for a name of six letters, and 16 KB hold 4000."""
_MAX_PARTS = 3
_MAX_SHOWN = 64
"""Characters of an unknown name that are repeated."""


def allowed_methods(request: Request) -> list[str]:
    """The methods of the request's path. Starlette knows those of one route only, and each method has a route."""
    return sorted(method.upper() for method in _operations(request))


def unknown_path_message(request: Request) -> str:
    """What to change in a path that no route matches: the version, or the name of a collection that it resembles."""
    bare = request.url.path.rstrip("/")
    paths = {*request.app.openapi()["paths"], *(getattr(route, "path", None) for route in request.app.routes)}
    if bare != request.url.path and bare in paths:
        return f"No route matches this path; remove the slash at the end of {bare}/"
    parts = [part for part in request.url.path.split("/") if part][:_MAX_PARTS]
    if parts[:1] and re.fullmatch(r"v[0-9]+", parts[0]):
        parts = parts[1:]
    known = {path.split("/")[2] for path in request.app.openapi()["paths"] if path.startswith("/v1/")}
    meant = similar(parts[0], {name.replace("-", "_") for name in known}, {}) if parts else None
    if meant is None:
        return "No route matches this path; GET /openapi.json lists all"
    found = f"/v1/{meant.replace('_', '-')}"
    if request.url.path.startswith(f"{found}/"):
        return f"No route below {found} matches this path; GET /openapi.json lists all"
    return f"No route matches this path; did you mean {found}?"


def query_fields(route: APIRoute) -> list[ModelField]:
    """Return the query parameters of a route and of what it depends on."""
    return _query_fields(route.dependant)


def _query_fields(dependant: Dependant) -> list[ModelField]:
    return dependant.query_params + [each for other in dependant.dependencies for each in _query_fields(other)]


def check_query(request: Request, fields: Sequence[ModelField] = ()) -> None:
    """Refuse query parameters that the route does not have: a misspelt filter must not return everything.

    Args:
        request: the request.
        fields: the parameters that the route has, which FastAPI validates if all are known.

    Raises:
        ValidationFailedError: names each of them, and each known one whose value is not valid.
    """
    if not request.scope["query_string"]:
        return
    operation = _operations(request).get(request.method.lower(), {})
    rows = [row for row in operation.get("parameters", ()) if row["in"] == "query"]
    known = [row["name"] for row in rows]
    # An object is sent as a parameter for each of its members, such as `metadata.sku`.
    prefixes = tuple(f"{row['name']}." for row in rows if row.get("schema", {}).get("type") == "object")
    names = (name for name in request.query_params if name not in known and not name.startswith(prefixes))
    unknown = list(islice(names, _MAX_ERRORS + 1))
    if unknown:
        errors = [_unknown(name, known, suggest=at < _MAX_SUGGESTIONS) for at, name in enumerate(unknown[:_MAX_ERRORS])]
        errors += [parameter_error(row) for row in request_params_to_args(fields, request.query_params)[1]]
        raise validation_failed(errors, complete=len(unknown) <= _MAX_ERRORS)


def parameter_error(row: Mapping[str, Any]) -> FieldError:
    """The error of a parameter whose value is not valid, from a row of FastAPI's."""
    return FieldError(pointer="/" + "/".join(map(str, row["loc"])), message=value_message(row))


def _unknown(name: str, known: list[str], *, suggest: bool) -> FieldError:
    meant = similar(name, known, FIELDS) if suggest else None
    if meant:
        message = f"is an unknown query parameter; did you mean `{meant}`?"
    elif known:
        message = f"is an unknown query parameter; this route has {', '.join(f'`{each}`' for each in known)}"
    else:
        message = "is an unknown query parameter; this route has none"
    shown = quote(name[:_MAX_SHOWN], safe="[]")
    return FieldError(pointer=f"/query/{shown}", message=message)


def _operations(request: Request) -> dict[str, Any]:
    path = getattr(request.scope.get("route"), "path", None)
    operations: dict[str, Any] = request.app.openapi()["paths"].get(path, {})
    return operations
