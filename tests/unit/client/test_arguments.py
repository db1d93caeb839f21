"""Arguments of a wrong type: the error names the argument and what it accepts, and nothing is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from tests.unit.client.conftest import Call
from tests.unit.client.stand_in import StandIn

from pixelflow.client import AsyncClient, Client

STEPS = [{"id": "small", "action": "resize", "width": 64}]
FILE = __file__
PHOTO = "`photo` must be the path of a file, its bytes, a binary file open for reading, a JobSource, UrlSource or "
PHOTO += "BucketSource"
Arguments = tuple[str, tuple[Any, ...], dict[str, Any]]
WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("process", (123, STEPS), {}, f"{PHOTO}, not int"),
    ("process", (None, STEPS), {}, f"{PHOTO}, not NoneType"),
    ("process", (FILE, STEPS), {"destination": "public"}, '`destination` must be a dict such as {"bucket": "public"'),
    ("process", (FILE, "resize"), {}, '`pipeline` must be a list of steps such as [{"id": "thumb", "action": "resize"'),
    ("process", (FILE, STEPS[0]), {}, "`pipeline` must be a list of steps"),
    ("process", (FILE, 5), {}, "`pipeline` must be a list of steps"),
    ("process", (FILE, ["resize"]), {}, '`pipeline[0]` must be a dict such as {"id": "thumb"'),
    ("process", (FILE, [*STEPS, None]), {}, "`pipeline[1]` must be a dict such as"),
    ("process", (FILE, STEPS), {"metadata": ["a"]}, '`metadata` must be a dict such as {"sku": "A-17"}, not list'),
    ("process", (FILE, STEPS), {"source": {"frame": 1}}, "`source` must be a SourceOptions, such as SourceOptions("),
    ("process", (FILE, STEPS), {"timeout": "5"}, "`timeout` must be seconds as a number, or None, not str"),
    ("process", (FILE,), {"preset": "a", "parameters": [1]}, '`parameters` must be a dict such as {"size": 200}'),
    ("submit", (123, STEPS), {}, PHOTO),
    ("explain", ("x",), {"width": 1, "height": 1}, "`pipeline` must be a list of steps"),
    ("get_job", (5,), {}, "`job_id` must be a UUID, or a string with one, not int"),
    ("wait", (None,), {}, "`job_id` must be a UUID, or a string with one, not NoneType"),
    ("wait_for_batch", (UUID(int=1),), {"timeout": "5"}, "`timeout` must be seconds as a number, or None, not str"),
    ("get_batch", (5,), {}, "`batch_id` must be a UUID, or a string with one, not int"),
    ("create_batch", (STEPS,), {"destination": "public"}, '`destination` must be a dict such as {"bucket": "public"'),
    ("create_job", ({"pipeline": STEPS},), {}, "`request` must be a CreateJobRequest"),
    ("upload", ({}, FILE), {}, "`upload` must be the `upload` of a created job, not dict"),
    ("download", ("https://a.example", FILE), {}, "`output` must be an entry of `job.outputs`, not str"),
    ("create_asset", (5,), {}, "`path` must be the path of a file"),
    ("get_asset", (None,), {}, "`asset` must be the name or ID of an asset, not NoneType"),
    ("save_preset", ("a", "x"), {}, "`pipeline` must be a list of steps"),
    ("save_preset", ("a", STEPS), {"parameters": ["x"]}, '`parameters` must be a dict such as {"size"'),
    ("get_preset", (5,), {}, "`preset` must be the name of a preset, not int"),
    ("delete_preset", (None,), {}, "`name` must be the name of a preset, not NoneType"),
]
UNUSABLE: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("get_job", ("abc",), {}, "`job_id` must be a UUID such as 0198f2c4-5c1e-7d3a-9b60-2f1d4c8e7a55"),
    ("delete_asset", ("logo",), {}, "`asset_id` must be a UUID such as"),
    ("replay_delivery", ("x",), {}, "`delivery_id` must be a UUID such as"),
    ("list_jobs", (), {"status": "done"}, "`status` must be one of created, queued, processing, succeeded, failed"),
]


@pytest.mark.parametrize(("arguments", "message"), [(row[:3], row[3]) for row in WRONG], ids=str)
def test_a_wrong_type_is_a_type_error_that_names_the_argument(
    call: Call, api: StandIn, arguments: Arguments, message: str
) -> None:
    method, given, named = arguments
    with pytest.raises(TypeError) as raised:
        call(method, *given, **named)
    assert str(raised.value).startswith(message)
    assert api.seen == []


@pytest.mark.parametrize(("arguments", "message"), [(row[:3], row[3]) for row in UNUSABLE], ids=str)
def test_an_unusable_value_is_a_value_error_that_names_the_argument(
    call: Call, api: StandIn, arguments: Arguments, message: str
) -> None:
    method, given, named = arguments
    with pytest.raises(ValueError, match=r"^`") as raised:
        call(method, *given, **named)
    assert str(raised.value).startswith(message)
    assert api.seen == []


def test_a_status_can_be_a_string(call: Call) -> None:
    assert call("list_jobs", status="failed").data == []


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize(("arguments", "what"), [((5, "pf_a"), "the URL of the API"), (("http://a", 5), "an API key")])
def test_an_address_or_key_of_another_type_is_named(client: type, arguments: tuple[Any, ...], what: str) -> None:
    with pytest.raises(TypeError, match=f"^Pass {what} as a string, not int$"):
        client(*arguments)


def test_a_path_may_be_a_string(call: Call, photo: Path) -> None:
    assert call("process", str(photo), STEPS).outputs
