"""Mistakes of new users in headers, paths and queries: the response of the running API says what to change."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

JSON = {"Content-Type": "application/json"}
STEP = {"id": "a", "action": "resize", "width": 5}
VALID = b'{"source": {"content_length": 5}, "pipeline": [{"id": "a", "action": "resize", "width": 5}]}'
NO_JOB = "/v1/jobs/00000000-0000-0000-0000-000000000000"


def detail_of(response: httpx.Response) -> str:
    problem: dict[str, Any] = response.json()
    assert response.headers["Content-Type"] == "application/problem+json"
    assert problem["type"] == f"/errors/{problem['code']}"
    assert not any(part in response.text for part in ("Input should", "Expecting", "There was an error"))
    return f"{response.status_code} {problem['detail']}"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "401 Send a valid API key or token as `Authorization: Bearer …`"),
        ({"X-API-Key": "pf_a"}, "401 Send the key as `Authorization: Bearer pf_…`; other headers are not read"),
        ({"Authorization": "pf_a_b"}, "401 Write `Bearer` and a blank before the key"),
        ({"Authorization": "Basic cGY="}, "401 Use the scheme `Bearer`"),
        ({"Authorization": "Bearer"}, "401 Send a valid API key or token"),
    ],
    ids=str,
)
def test_a_credential_in_another_form(client: httpx.Client, headers: dict[str, str], expected: str) -> None:
    assert detail_of(httpx.get(f"{client.base_url}/v1/jobs", headers=headers)).startswith(expected)


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"{'pipeline': []}", JSON, "400 Send valid JSON in UTF-8; the body is not valid from character 2 on"),
        (b'{"pipeline": [],}', JSON, "400 Send valid JSON in UTF-8; the body is not valid from character 17 on"),
        (b'{"pipeline": "\xff"}', JSON, "400 Send valid JSON in UTF-8"),
        (b'{"pipeline": []}', {"Content-Type": "text/plain"}, "415 Send JSON with `Content-Type: application/json`"),
        (b"", JSON, "422 The body is required"),
        (b"[]", JSON, "422 The body must be an object"),
        (VALID, {**JSON, "Idempotency-Key": ""}, "400 Send one key of 1 to 255 visible ASCII characters"),
        (
            b'{"pipeline": [{"id": "a", "action": "resize", "w": 5}]}',
            JSON,
            "422 `/pipeline/0/w` is an unknown field; did",
        ),
    ],
)
def test_a_body_that_is_not_valid(client: httpx.Client, body: bytes, headers: dict[str, str], expected: str) -> None:
    assert detail_of(client.post("/v1/jobs", content=body, headers=headers)).startswith(expected)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/jobs?state=failed", "422 `/query/state` is an unknown query parameter; did you mean `status`?"),
        ("/v1/jobs?page=2", "422 `/query/page` is an unknown query parameter; did you mean `cursor`?"),
        ("/v1/jobs?per_page=2", "422 `/query/per_page` is an unknown query parameter; did you mean `limit`?"),
        ("/v1/jobs?limit=x", "422 `/query/limit` must be an integer"),
        ("/v1/jobs?limit=1000", "422 `/query/limit` must be at most 100"),
        ("/v1/jobs?status=done", "did you mean `succeeded`?"),
        ("/v1/jobs?cursor=zzz", "422 `/query/cursor` must be the `next_cursor` of an earlier response"),
        ("/v1/usage?from=yesterday", "422 `/query/from` must be a date such as 2030-01-31"),
        ("/v1/usage?from=2026-02-01&to=2026-01-01", "422 `/query/to` must be after `from`"),
        ("/v1/usage?since=2026-02-01", "did you mean `from`?"),
        ("/v1/usage?group_by=month", "422 `/query/group_by` must be `day` or `user`"),
        ("/v1/jobs/abc", "404 You have no job with this ID"),
        (NO_JOB, "404 You have no job with this ID"),
        ("/jobs", "404 No route matches this path; did you mean /v1/jobs?"),
        ("/v1/job", "404 No route matches this path; did you mean /v1/jobs?"),
        ("/v2/jobs", "404 No route matches this path; did you mean /v1/jobs?"),
        ("/v1/jobs/", "404 No route matches this path; remove the slash at the end of /v1/jobs/"),
        ("/errors/", "404 No route matches this path; remove the slash at the end of /errors/"),
        (f"{NO_JOB}/result", "404 No route below /v1/jobs matches this path"),
        ("/albums", "404 No route matches this path; GET /openapi.json lists all"),
        (f"{NO_JOB}/start", "405 This route supports POST"),
        ("/errors/nope", "404 No error has this code; GET /errors lists all codes"),
    ],
)
def test_a_path_or_query_that_is_not_valid(client: httpx.Client, path: str, expected: str) -> None:
    assert expected in detail_of(client.get(path))


def test_all_query_parameters_are_judged_at_once(client: httpx.Client) -> None:
    response = client.get("/v1/jobs?state=failed&limit=x&status=done&per_page=3")
    found = {error["pointer"]: error["message"] for error in response.json()["errors"]}
    assert found["/query/limit"] == "must be an integer"
    assert found["/query/state"] == "is an unknown query parameter; did you mean `status`?"
    assert found["/query/status"].endswith("did you mean `succeeded`?")
    assert detail_of(response).endswith("(the first of 4 errors)")


@pytest.mark.parametrize("path", ["/etc/passwd", "/does/not/exist.jpg"])
def test_a_local_file_while_local_files_are_disabled(client: httpx.Client, path: str) -> None:
    body = {"source_type": "local_file", "object_key": path, "pipeline": [STEP]}
    assert detail_of(client.post("/v1/jobs", json=body)) == (
        "403 Local files are disabled; the operator allows directories by PIXELFLOW_LOCAL_ROOTS"
    )


def test_a_dry_run_without_a_size(client: httpx.Client) -> None:
    response = client.post("/v1/jobs?dry_run=true", json={"pipeline": [STEP]})
    assert detail_of(response).startswith("422 `/source/width` is required for `dry_run`")


def test_a_dry_run_of_a_part_outside_the_source(client: httpx.Client) -> None:
    crop = {"id": "a", "action": "crop", "x": 3000, "y": 0, "width": 300, "height": 200}
    response = client.post(
        "/v1/jobs?dry_run=true", json={"source": {"width": 2400, "height": 1350}, "pipeline": [crop]}
    )
    assert (response.status_code, response.json()["code"]) == (422, "step_failed")
