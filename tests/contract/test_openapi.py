"""The OpenAPI document: up to date, valid, with an example and the errors of every route."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from tests.support.published import OPENAPI, OPENAPI_FILE

from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.contracts.schemas import render
from pixelflow.contracts.webhook_endpoints import TEST_EVENT, TestEvent
from pixelflow.contracts.webhooks import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, BatchEvent, Event, EventType
from pixelflow.controlplane.api.auth import COMMON_ERRORS
from pixelflow.controlplane.api.export_openapi import openapi_document
from pixelflow.imaging.operations.registry import OPERATIONS as OPERATIONS_OF_IMAGES

OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in OPENAPI["paths"].items()
    for method, operation in methods.items()
}


WEBHOOKS = {name: methods["post"] for name, methods in OPENAPI["webhooks"].items()}


def examples_of(body: dict[str, Any]) -> list[Any]:
    named = [example["value"] for example in body.get("examples", {}).values()]
    return [body["example"], *named] if "example" in body else named


def test_the_committed_document_is_up_to_date() -> None:
    committed = OPENAPI_FILE.read_text(encoding="utf-8")
    assert committed == render(openapi_document()), "the API has changed; if that is intended, run `make schemas`"


def test_the_document_is_valid_openapi() -> None:
    validate(OPENAPI)


def test_the_document_lists_exactly_these_routes() -> None:
    assert set(OPERATIONS) == {
        "GET /healthz",
        "GET /readyz",
        "GET /v1/capabilities",
        "POST /v1/jobs",
        "GET /v1/jobs",
        "GET /v1/jobs/{job_id}",
        "DELETE /v1/jobs/{job_id}",
        "GET /v1/jobs/{job_id}/events",
        "GET /v1/events",
        "POST /v1/jobs/{job_id}/start",
        "POST /v1/jobs/{job_id}/cancel",
        "POST /v1/jobs/{job_id}/retry",
        "GET /v1/jobs/{job_id}/outputs/{step_id}",
        "GET /v1/jobs/{job_id}/deliveries",
        "POST /v1/deliveries/{delivery_id}/replay",
        "POST /v1/webhook-secret",
        "POST /v1/webhook-secret/rotate",
        "POST /v1/webhook-endpoints",
        "GET /v1/webhook-endpoints",
        "GET /v1/webhook-endpoints/{endpoint_id}",
        "PATCH /v1/webhook-endpoints/{endpoint_id}",
        "DELETE /v1/webhook-endpoints/{endpoint_id}",
        "POST /v1/webhook-endpoints/{endpoint_id}/test",
        "GET /v1/webhook-endpoints/{endpoint_id}/deliveries",
        "POST /v1/batches",
        "GET /v1/batches",
        "GET /v1/batches/{batch_id}",
        "DELETE /v1/batches/{batch_id}",
        "POST /v1/batches/{batch_id}/jobs",
        "POST /v1/batches/{batch_id}/close",
        "POST /v1/batches/{batch_id}/cancel",
        "GET /v1/batches/{batch_id}/deliveries",
        "POST /v1/presets",
        "GET /v1/presets",
        "GET /v1/presets/{preset}",
        "DELETE /v1/presets/{preset}",
        "POST /v1/assets",
        "GET /v1/assets",
        "GET /v1/assets/{asset_id}",
        "DELETE /v1/assets/{asset_id}",
        "POST /v1/assets/{asset_id}/complete",
        "POST /v1/keys",
        "GET /v1/usage",
        "GET /v1/keys",
        "DELETE /v1/keys/{key_id}",
    }


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_route_has_a_description_and_an_example_response(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["description"]
    success = {status: body for status, body in operation["responses"].items() if status[0] in "23"}
    contents = [
        next(iter(body["content"].values())) for status, body in success.items() if status not in {"204", "307"}
    ]
    shown = [examples_of(content) for content in contents]
    assert success
    assert shown != [[]]


@pytest.mark.parametrize("name", [name for name in OPERATIONS if "/v1/" in name])
def test_every_authenticated_route_documents_its_errors(name: str) -> None:
    operation = OPERATIONS[name]
    [(scheme, scopes)] = operation["security"][0].items()
    assert scheme == "ApiKey"
    assert len(scopes) == 1, "a route needs one scope"
    errors = {status: body for status, body in operation["responses"].items() if status[0] not in "23"}
    assert {"401", "403", "429", "503"} <= set(errors)
    codes = set()
    for status, response in errors.items():
        examples = examples_of(response["content"]["application/problem+json"])
        assert {example["status"] for example in examples} == {int(status)}
        codes |= {example["code"] for example in examples}
    assert {error.code for error in COMMON_ERRORS} <= codes


@pytest.mark.parametrize("name", [name for name in OPERATIONS if "/v1/" in name])
def test_every_response_of_an_authenticated_route_documents_the_rate_limit_headers(name: str) -> None:
    for status, response in OPERATIONS[name]["responses"].items():
        assert {"RateLimit", "RateLimit-Policy"} <= set(response["headers"])
        assert ("Retry-After" in response["headers"]) == (status in {"429", "503"})


def _with_examples() -> list[Any]:
    return [
        pytest.param(body, id=f"{name} {label}")
        for name, operation in [*OPERATIONS.items(), *WEBHOOKS.items()]
        for label, response in [*operation["responses"].items(), ("request", operation.get("requestBody", {}))]
        for body in response.get("content", {}).values()
        if examples_of(body)
    ]


@pytest.mark.parametrize("body", _with_examples())
def test_every_example_is_valid_against_its_schema(body: dict[str, Any]) -> None:
    schema = {**body["schema"], "components": OPENAPI["components"]}
    for example in examples_of(body):
        Draft202012Validator(schema).validate(json.loads(json.dumps(example)))


def test_each_event_is_a_webhook_with_the_headers_of_its_signature() -> None:
    assert set(WEBHOOKS) == {event.value for event in EventType} | {TEST_EVENT}
    for name, operation in WEBHOOKS.items():
        assert [each["name"] for each in operation["parameters"]] == [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER]
        [example] = examples_of(operation["requestBody"]["content"]["application/json"])
        models: dict[str, Any] = {TEST_EVENT: TestEvent, EventType.BATCH_FINISHED: BatchEvent}
        assert models.get(name, Event).model_validate(example).type == name


def test_a_client_finds_the_server_that_serves_the_document() -> None:
    assert OPENAPI["servers"][0]["url"] == "/"


def test_the_job_statuses_are_those_of_the_state_machine() -> None:
    assert OPENAPI["components"]["schemas"]["JobStatus"]["enum"] == [status.value for status in JobStatus]


# ── Client generators ────────────────────────────────────────────────────────────────────────────

SCHEMAS = OPENAPI["components"]["schemas"]


def nodes_of(node: object) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from nodes_of(child)


def test_the_schema_of_a_step_is_a_union_by_action() -> None:
    step = SCHEMAS["Step"]
    mapping = step["discriminator"]["mapping"]
    assert step["discriminator"]["propertyName"] == "action"
    assert set(mapping) == set(OPERATIONS_OF_IMAGES)
    assert sorted(mapping.values()) == sorted(each["$ref"] for each in step["oneOf"])
    for action, reference in mapping.items():
        schema = SCHEMAS[reference.rpartition("/")[2]]
        assert schema["properties"]["action"]["const"] == action
        assert {"action", "id"} <= set(schema["required"])
    assert SCHEMAS["CreateJobRequest"]["properties"]["pipeline"]["items"] == {"$ref": "#/components/schemas/Step"}


def test_no_schema_name_has_a_suffix_that_only_distinguishes_it() -> None:
    assert [name for name in SCHEMAS if not name.isalnum()] == []
    titles = [schema["title"] for schema in SCHEMAS.values()]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_field_with_a_default_would_be_required_by_a_generator(name: str) -> None:
    assert [field for field, schema in SCHEMAS[name].get("properties", {}).items() if "default" in schema] == []


def test_only_the_steps_of_a_response_have_unnamed_fields() -> None:
    assert [name for name, schema in SCHEMAS.items() if schema.get("additionalProperties") is True] == ["JobStep"]


@pytest.mark.parametrize("name", ["CreatedJob", "Upload", "Job", "Source"])
def test_a_response_with_every_field_says_so(name: str) -> None:
    assert set(SCHEMAS[name]["required"]) == set(SCHEMAS[name]["properties"])


def test_every_reference_has_its_schema_and_every_schema_is_used() -> None:
    used = {node["$ref"] for node in nodes_of(OPENAPI) if isinstance(node.get("$ref"), str)}
    assert used == {f"#/components/schemas/{name}" for name in SCHEMAS}


def test_every_example_of_a_field_is_valid() -> None:
    for node in nodes_of(SCHEMAS):
        examples = node.get("examples", [])
        for example in examples if isinstance(examples, list) else []:
            Draft202012Validator({**node, "components": OPENAPI["components"]}).validate(example)
