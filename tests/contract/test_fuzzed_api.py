"""The running API under generated requests: it never fails, and never answers what its document does not say."""

from __future__ import annotations

from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_schema_conformance,
    status_code_conformance,
)

from pixelflow.controlplane.api.export_openapi import openapi_document

CHECKS = [
    *(not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance),
    ignored_auth,
]
"""Not the check that whatever fits the schema is accepted: it tells no rule that ties several fields together."""
DOCUMENT = schemathesis.openapi.from_dict(openapi_document()).include(path_regex="^/v1/")


@DOCUMENT.parametrize()
@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_request_makes_the_api_fail_or_say_what_it_does_not_document(
    case: schemathesis.Case[Any], client: httpx.Client
) -> None:
    case.call_and_validate(
        base_url=str(client.base_url), headers={"Authorization": client.headers["Authorization"]}, checks=CHECKS
    )
