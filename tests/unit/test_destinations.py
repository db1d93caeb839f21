"""Keys at a destination: what a template can have, and that no value escapes its folder."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest
from pydantic import ValidationError

from pixelflow.contracts.field_errors import field_errors
from pixelflow.contracts.jobs.destinations import as_stored, is_safe_key, known_values
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.dataplane.worker.destinations import with_destination_keys
from pixelflow.dataplane.worker.store import OutputRow
from pixelflow.errors import DestinationExistsError

STEPS = [{"id": "a", "action": "resize", "width": 5}, {"id": "b", "action": "resize", "width": 6, "format": "webp"}]


def body(key: str, metadata: dict[str, str] | None, fields: dict[str, Any]) -> dict[str, Any]:
    return {"pipeline": STEPS, "metadata": metadata or {}, "destination": {"bucket": "shop", "key": key, **fields}}


def faults(key: str, values: dict[str, str] | None = None, /, **fields: Any) -> dict[str, str]:  # noqa: ANN401
    raw = body(key, values, fields)
    try:
        CreateJobRequest.model_validate(raw)
    except ValidationError as error:
        return {each.pointer: each.message for each in field_errors(error.errors(), raw)}
    return {}


def row(step: str, width: int) -> OutputRow:
    return OutputRow(step, 0, "resize", "jpeg", "outputs/x", 1, width, 4, "0123456789abcdef" * 4)


def keys_of(template: str, *outputs: OutputRow) -> list[str | None]:
    wanted = CreateJobRequest.model_validate(body(template, {"sku": "A 17"}, {}))
    assert wanted.destination
    values = known_values(job_id="j", user_folder="u", metadata=wanted.metadata)
    job = MagicMock(destination=as_stored(wanted.destination, "u/", values))
    return [each.destination_key for each in with_destination_keys(job, outputs)]


def test_placeholders_are_filled_in() -> None:
    template = "{metadata.sku}/{job_id}-{user_id}/{step}-{width}x{height}-{sha256}.{format}.{ext}"
    assert keys_of(template, row("a", 9)) == ["u/A 17/j-u/a-9x4-0123456789abcdef.jpeg.jpg"]


def test_outputs_with_one_key_are_refused_at_the_latest_by_the_worker() -> None:
    assert faults("x/{ext}") == {}, "the formats may differ"
    assert "same key" in faults("x/{job_id}")["/destination/key"]
    assert keys_of("{width}.{ext}", row("a", 5), row("b", 6)) == ["u/5.jpg", "u/6.jpg"]
    with pytest.raises(DestinationExistsError, match=r"u/5\.jpg"):
        keys_of("{width}.{ext}", row("a", 5), row("b", 5))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{stepp}.{ext}", "did you mean {step}?"),
        ("{metadata.}.{step}", "unknown placeholder"),
        ("{}{step}", "unknown placeholder"),
        *[(key, "without an empty") for key in ("/{step}", "../{step}", "a/./{step}", "a//{step}", "{step}/", "{step")],
        *[(key, "without an empty") for key in ("a\\{step}", "a\n{step}", "{step}?x", "{step}%2e", "{step}#")],
    ],
)
def test_templates_that_are_not_valid_are_refused(template: str, text: str) -> None:
    assert text in faults(template)["/destination/key"]


@pytest.mark.parametrize("value", ["", ".", "..", "../x", "a/b", "a\\b", "a\x00b", "a\nb", "%2e%2e", "{step}", "a?b"])
def test_metadata_can_t_escape_the_folder(value: str) -> None:
    found = faults("p/{metadata.sku}/{step}", {"sku": value})
    assert found.keys() == {"/metadata/sku"}


def test_parts_that_are_safe_alone_are_refused_together() -> None:
    wanted = faults("p/{metadata.a}{metadata.a}/{step}", {"a": "."})
    assert "/metadata/a" in wanted
    assert not is_safe_key("p/../x")


def test_metadata_that_is_missing_is_named() -> None:
    assert faults("{metadata.sku}/{step}") == {"/metadata/sku": "is required: the key of the destination has it"}


def test_headers_have_no_line_breaks_and_no_reserved_names() -> None:
    assert "/destination/cache_control" in faults("{step}", cache_control="a\r\nx-amz-acl: public-read")
    assert "/destination/metadata" in faults("{step}", metadata={"pixelflow-job": "x"})
    assert "/destination/acl" in faults("{step}", acl="public-read-write")


def test_a_worker_must_know_destinations() -> None:
    assert CreateJobRequest.model_validate(body("{step}", None, {})).requires[0] == "contract/3"
    assert CreateJobRequest.model_validate({"pipeline": STEPS}).requires[0] == "contract/1"
