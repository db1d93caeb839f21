"""Calls the function of a route: takes its arguments from the request, and makes the response of its result.

FastAPI describes the routes, and this module does what FastAPI would do for a request, from a plan that is made once.
FastAPI plans anew for each request, which took a quarter of the API's processor time. Only coroutines without ``yield``
are supported, and bodies in JSON.

Like ``parameters``, it uses internals of FastAPI, to validate parameters in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from email.message import Message
from inspect import iscoroutinefunction
from typing import Any

from fastapi import Request, Response
from fastapi._compat import ModelField, Undefined
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import request_body_to_args, request_params_to_args
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

_OK, _BAD_REQUEST = 200, 400
_UNSUPPORTED = (
    "response_model_include",
    "response_model_exclude",
    "response_model_exclude_defaults",
    "response_model_exclude_none",
)
"""Options of a route that would change its response."""
_ONLY_DOCUMENTED = "_"
"""The name of a header that the function does not read: it is described, and read elsewhere."""


class RouteCall:
    """Calls the function of one route."""

    def __init__(self, route: APIRoute) -> None:
        """Plan the call.

        Raises:
            TypeError: the function, or one that it depends on, is no coroutine, or the route has what is not supported.
        """
        given = [name for name in _UNSUPPORTED if getattr(route, name)]
        encodes_otherwise = route.response_field and not isinstance(route.response_class, DefaultPlaceholder)
        if given or encodes_otherwise:
            raise TypeError(f"{route.name} has a response that is not supported: {given or route.response_class}")
        self._function = _Function(route.dependant)
        self._reads_body = route.body_field is not None
        self._field = route.response_field
        self._status = route.status_code or _OK
        self._exclude_unset = route.response_model_exclude_unset

    async def __call__(self, request: Request) -> Response:
        """Call the function.

        Raises:
            RequestValidationError, HTTPException: as FastAPI, the latter for a body that it can't read.
            ResponseValidationError, TypeError: a bug: the result is not what the route is to return.
        """
        body = await _read_body(request) if self._reads_body else Undefined
        given, errors = Response(), list[Any]()
        del given.headers["content-length"]
        given.status_code = self._status
        arguments = await self._function.arguments(request, given, body, errors)
        if errors:
            raise RequestValidationError(errors, body=body)
        result = await self._function.call(**arguments)
        if isinstance(result, Response):
            return result
        response = Response(self._encode(result), given.status_code, media_type="application/json")
        response.raw_headers.extend(given.raw_headers)
        return response

    def _encode(self, result: object) -> bytes:
        if self._field is None:
            if result is not None:
                raise TypeError(f"A route without a response model returned a {type(result).__name__}")
            return b""
        value, errors = self._field.validate(result, {}, loc=("response",))
        if errors:
            raise ResponseValidationError(errors)
        return self._field.serialize_json(value, exclude_unset=self._exclude_unset)


class _Function:
    """A function, and where its arguments come from."""

    def __init__(self, dependant: Dependant) -> None:
        call = dependant.call
        if call is None or not (iscoroutinefunction(call) or iscoroutinefunction(type(call).__call__)):
            raise TypeError(f"{call} is no coroutine")
        unsupported = (
            dependant.cookie_params,
            dependant.background_tasks_param_name,
            dependant.security_scopes_param_name,
            dependant.http_connection_param_name,
            dependant.websocket_param_name,
        )
        if any(unsupported):
            raise TypeError(f"{call} takes an argument that is not supported")
        self.call: Callable[..., Awaitable[Any]] = call
        self._name = dependant.name
        self._needed = [_Function(each) for each in dependant.dependencies]
        headers = [field for field in dependant.header_params if field.name != _ONLY_DOCUMENTED]
        sources = {"path_params": dependant.path_params, "query_params": dependant.query_params, "headers": headers}
        self._parameters = [(fields, source) for source, fields in sources.items() if fields]
        self._body: list[ModelField] = dependant.body_params
        self._request_name = dependant.request_param_name
        self._response_name = dependant.response_param_name

    async def arguments(self, request: Request, response: Response, body: object, errors: list[Any]) -> dict[str, Any]:
        """Return the arguments, and add what is wrong with them to ``errors``."""
        arguments: dict[str, Any] = {}
        for needed in self._needed:
            await needed.call_for(arguments, request, response, body, errors)
        for fields, source in self._parameters:
            _add(request_params_to_args(fields, getattr(request, source)), arguments, errors)
        if self._body:
            _add(await request_body_to_args(self._body, body, embed_body_fields=False), arguments, errors)
        if self._request_name is not None:
            arguments[self._request_name] = request
        if self._response_name is not None:
            arguments[self._response_name] = response
        return arguments

    async def call_for(
        self, others: dict[str, Any], request: Request, response: Response, body: object, errors: list[Any]
    ) -> None:
        """Call it, and add its result to the arguments of the function that depends on it."""
        before = len(errors)
        arguments = await self.arguments(request, response, body, errors)
        if len(errors) > before:
            return
        value = await self.call(**arguments)
        if self._name is not None:
            others[self._name] = value


def _add(found: tuple[dict[str, Any], list[Any]], arguments: dict[str, Any], errors: list[Any]) -> None:
    arguments.update(found[0])
    errors += found[1]


async def _read_body(request: Request) -> Any:  # noqa: ANN401  # any JSON, or bytes of another type
    """Return the body: parsed if the request says that it is JSON, else as it is; undefined if there is none."""
    try:
        content = await request.body()
        if not content:
            return Undefined
        return json.loads(content) if _is_json(request.headers.get("content-type", "")) else content
    except json.JSONDecodeError as error:
        row = {"type": "json_invalid", "loc": ("body", error.pos), "msg": "", "input": {}, "ctx": {"error": error.msg}}
        raise RequestValidationError([row], body=error.doc) from error
    except HTTPException:
        raise
    except Exception as error:
        raise HTTPException(_BAD_REQUEST, detail="There was an error parsing the body") from error


def _is_json(content_type: str) -> bool:
    if content_type == "application/json":
        return True
    message = Message()
    message["content-type"] = content_type
    subtype = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (subtype == "json" or subtype.endswith("+json"))
