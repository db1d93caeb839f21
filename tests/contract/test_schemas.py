"""The published JSON Schemas are those of the models, and reject what the models reject."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.schemas import published, render
from pixelflow.controlplane.api import examples

COMMITTED = Path(__file__).parents[2] / "docs" / "schemas"
SCHEMAS = published()
STEP = {"id": "a", "action": "resize", "width": 1}


def errors_of(name: str, document: object) -> list[str]:
    validator = Draft202012Validator(SCHEMAS[name], format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [error.message for error in validator.iter_errors(document)]


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_committed_schema_is_that_of_the_model(name: str) -> None:
    committed = (COMMITTED / f"{name}.json").read_text(encoding="utf-8")
    assert committed == render(SCHEMAS[name]), "a contract has changed; if intended, run `make schemas`"


def test_every_committed_schema_has_a_model() -> None:
    assert {path.stem for path in COMMITTED.glob("*.json")} == set(SCHEMAS), (
        "run `make schemas` and delete the files that remain"
    )


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_published_schema_is_a_valid_schema(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize(
    ("name", "document"),
    [
        *(("create_job_request", example["value"]) for example in examples.CREATE.values()),
        ("created_job", examples.CREATED),
        ("started_job", examples.STARTED),
        ("job", examples.JOB),
        ("job_page", examples.JOBS),
    ],
)
def test_the_documented_examples_are_valid(name: str, document: object) -> None:
    assert errors_of(name, document) == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"pipeline": []}, id="empty pipeline"),
        pytest.param({"pipeline": [STEP] * 33}, id="too many steps"),
        pytest.param({"pipeline": [STEP], "user_id": "x"}, id="unknown field"),
        pytest.param({"pipeline": [{**STEP, "zoom": 2}]}, id="unknown field of a step"),
        pytest.param({"pipeline": [{**STEP, "action": "explode"}]}, id="unknown action"),
        pytest.param({"pipeline": [{**STEP, "width": 0}]}, id="no width"),
        pytest.param({"pipeline": [{**STEP, "width": 10**9}]}, id="absurd width"),
        pytest.param({"pipeline": [{**STEP, "quality": 101}]}, id="quality over 100"),
        pytest.param({"pipeline": [{**STEP, "format": "bmp"}]}, id="unsupported format"),
        pytest.param({"pipeline": [{**STEP, "id": "../a"}]}, id="id with a path"),
        pytest.param({"pipeline": [{**STEP, "background": "rgb(0, 0, 0)"}]}, id="color function"),
        pytest.param({"pipeline": [STEP], "webhook_url": "https://a.example/ x"}, id="space in a URL"),
        pytest.param({"pipeline": [STEP], "metadata": {"k": "v" * 513}}, id="long metadata"),
        pytest.param({"pipeline": [STEP], "metadata": {"": "v"}}, id="metadata without a key"),
        pytest.param({"pipeline": [STEP], "source_type": "ftp"}, id="unknown source type"),
        pytest.param({"pipeline": [STEP], "source": {"content_length": 0}}, id="empty source"),
    ],
)
def test_the_schema_rejects_the_field_errors_that_the_model_rejects(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CreateJobRequest.model_validate_json(json.dumps(body))
    assert errors_of("create_job_request", body)


# ── Growth ───────────────────────────────────────────────────────────────────────────────────────

READ_BY_CLIENTS = [name for name in SCHEMAS if not name.endswith("_request") and name != "process_image.v1"]


def nodes_of(node: object, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a schema, with its path."""
    children: Iterable[tuple[object, object]] = ()
    if isinstance(node, dict):
        yield path, node
        children = node.items()
    elif isinstance(node, list):
        children = enumerate(node)
    for name, child in children:
        yield from nodes_of(child, f"{path}/{name}")


@pytest.mark.parametrize("name", READ_BY_CLIENTS)
def test_a_document_that_clients_read_may_get_new_fields(name: str) -> None:
    closed = [path for path, node in nodes_of(SCHEMAS[name]) if node.get("additionalProperties") is False]
    assert closed == [], "derive the model from ResponseModel"


@pytest.mark.parametrize("name", READ_BY_CLIENTS)
def test_a_field_that_clients_read_may_get_new_values(name: str) -> None:
    schema = SCHEMAS[name]
    enums = {f"#/$defs/{each}" for each, node in schema.get("$defs", {}).items() if "enum" in node}
    uses = [path for path, node in nodes_of(schema) if node.get("$ref") in enums]
    opened = [
        path for path, node in nodes_of(schema) if {"type": "string"} in node.get("anyOf", ()) and "properties" in path
    ]
    closed = [path for path in uses if path.rpartition("/anyOf/")[0] not in opened]
    assert closed == [], "declare the field as Open[…]"
