"""Generated requests to the running API: it never fails, and every response matches the OpenAPI document.

Requests that create jobs and batches have thousands of variants. ``make test`` sends a part of them, ``make fuzz-api``
sends all.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import deepcopy
from itertools import count
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.generation.meta import TestPhase
from schemathesis.pytest._test_builder import build_operation_test
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_schema_conformance,
    status_code_conformance,
)
from tests.support.published import OPENAPI

CHECKS = [
    *(not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance),
    ignored_auth,
]
"""Without the check that every valid request is accepted: the schema does not express cross-field constraints."""

OPERATIONS = [
    (method.upper(), path)
    for path, methods in OPENAPI["paths"].items()
    for method in methods
    if path.startswith("/v1/") and not path.endswith("/events")  # streams have no end
]
ALL = os.environ.get("PIXELFLOW_TEST_FUZZ") == "all"
SETTINGS = settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
MANY = {("POST", "/v1/jobs"), ("POST", "/v1/batches")}
ONE_OF = 13
"""Of the requests that create jobs, one of so many is sent. A prime: variants of a field come in groups."""


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_response_matches_the_document(method: str, path: str, client: httpx.Client) -> None:
    def send(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(
            base_url=str(client.base_url), headers={"Authorization": client.headers["Authorization"]}, checks=CHECKS
        )

    schema = schemathesis.openapi.from_dict(OPENAPI if ALL else _with_short_batches())
    if (method, path) in MANY and not ALL:
        schema.hook("filter_case")(_one_of_many())
    _generated(schema, schema[path][method], SETTINGS(send))()


def _generated(
    schema: BaseSchema, operation: APIOperation[Any, Any, Any, Any], send: Callable[..., None]
) -> Callable[[], None]:
    """As ``schema.parametrize()``, but while the test runs: at collection, each worker would generate all requests."""
    return build_operation_test(
        config=schema.config, operation=operation, test_func=send, given_kwargs={}, feedback=FeedbackSources()
    )


def _with_short_batches() -> dict[str, Any]:
    """The document with one action in the steps of a batch: the requests of jobs have all of them."""
    document = deepcopy(OPENAPI)
    pipeline = document["components"]["schemas"]["CreateBatchRequest"]["properties"]["pipeline"]
    pipeline["items"] = {"$ref": "#/components/schemas/Resize"}
    return document


def _one_of_many() -> Callable[..., bool]:
    numbers = count()

    def filter_case(_: schemathesis.HookContext, case: schemathesis.Case[Any]) -> bool:
        systematic = case.meta is not None and case.meta.phase.name is TestPhase.COVERAGE
        return not systematic or next(numbers) % ONE_OF == 0

    return filter_case
