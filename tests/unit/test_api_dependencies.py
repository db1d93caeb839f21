"""Dependencies are coroutines: FastAPI runs plain functions in a thread, which costs more than their work."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from tests.support.code import modules_of

import pixelflow.controlplane


def _routes() -> Iterator[APIRoute]:
    for module in modules_of(pixelflow.controlplane):
        router = getattr(module, "router", None)
        if router is not None:
            yield from router.routes


def _calls(dependant: Dependant) -> Iterator[object]:
    yield dependant.call
    for needed in dependant.dependencies:
        yield from _calls(needed)


def _runs_in_a_thread(call: object) -> bool:
    return not any(map(inspect.iscoroutinefunction, (call, type(call).__call__)))


def test_no_route_needs_a_thread() -> None:
    calls = {call for route in _routes() for call in _calls(route.dependant)}
    assert len(calls) > 20
    assert [call for call in calls if _runs_in_a_thread(call)] == []
