"""The description of an installation: complete, valid by its schema, and with links that lead somewhere."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.support.published import OPENAPI

from pixelflow.contracts.capabilities import worker_capabilities
from pixelflow.contracts.installation import Installation, InstallationLimits
from pixelflow.contracts.schemas import published
from pixelflow.controlplane.api.examples import CAPABILITIES
from pixelflow.controlplane.capabilities.service import describe
from pixelflow.controlplane.capabilities.store import WorkerGroup
from pixelflow.imaging.formats.registry import INPUT_FORMATS, OUTPUT_FORMATS
from pixelflow.imaging.operations.registry import OPERATIONS

LIMITS = InstallationLimits.model_validate(CAPABILITIES["limits"])
PLAIN = WorkerGroup(list(worker_capabilities()), workers=2, slots=8, degraded=0)


def document(*groups: WorkerGroup) -> dict[str, Any]:
    found: dict[str, Any] = describe(groups, LIMITS).model_dump(mode="json", by_alias=True)
    return found


def test_it_lists_every_operation_and_format() -> None:
    found = describe([PLAIN], LIMITS)
    assert [each.action for each in found.operations] == list(OPERATIONS)
    assert [each.format for each in found.input_formats] == list(INPUT_FORMATS)
    assert [each.format for each in found.output_formats] == list(OUTPUT_FORMATS)


@pytest.mark.parametrize("answer", [document(PLAIN), document(), CAPABILITIES])
def test_it_matches_its_published_schema(answer: dict[str, Any]) -> None:
    Draft202012Validator(published()["installation"]).validate(answer)
    assert Installation.model_validate(answer).model_dump(mode="json", by_alias=True) == answer


def test_the_schema_of_each_operation_is_in_the_openapi_document() -> None:
    for each in document()["operations"]:
        path, _, pointer = each["schema"].partition("#")
        node = OPENAPI
        for part in pointer.strip("/").split("/"):
            node = node[part]
        assert (path, node["properties"]["action"]["const"]) == ("/openapi.json", each["action"])


@pytest.mark.parametrize(
    ("groups", "available"),
    [((), None), ((PLAIN,), False), ((PLAIN, WorkerGroup(["contract/2", "special"], 1, 1, 0)), True)],
)
def test_an_optional_format_is_available_if_a_live_worker_has_it(
    monkeypatch: pytest.MonkeyPatch, groups: tuple[WorkerGroup, ...], available: bool | None
) -> None:
    monkeypatch.setattr("pixelflow.controlplane.capabilities.service._schema", lambda _: {})
    for format_ in OUTPUT_FORMATS.values():
        monkeypatch.setitem(format_.__dict__, "extra", "special")
    assert {each.available for each in describe(groups, LIMITS).output_formats} == {available}
