"""Responses to invalid requests: every error at once, and never a stack trace."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.acceptance import job_steps as steps

from pixelflow.devstack.stack import Stack

MEBIBYTE = 1024 * 1024
JSON = {"Content-Type": "application/json"}
STEP = steps.resize("a")


def _problem(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "code", "request_id"} <= problem.keys()
    assert problem["status"] == response.status_code
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert problem["type"].endswith(problem["code"])
    return problem


def _job(*pipeline: object, **fields: object) -> dict[str, object]:
    return {"pipeline": list(pipeline) or [STEP], **fields}


def _mark(**watermark: object) -> dict[str, object]:
    return {"id": "m", "action": "watermark", "watermark": {"text": "x", **watermark}}


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        pytest.param(_job(nope=1), ["/nope"], id="unknown field"),
        pytest.param(_job({**STEP, "nope": 1}), ["/pipeline/0/nope"], id="unknown field of a step"),
        pytest.param(_job({**STEP, "a/b~c": 1}), ["/pipeline/0/a~1b~0c"], id="a name that a pointer escapes"),
        pytest.param({}, ["/pipeline"], id="no pipeline"),
        pytest.param({"pipeline": []}, ["/pipeline"], id="empty pipeline"),
        pytest.param({"pipeline": {}}, ["/pipeline"], id="pipeline that is not an array"),
        pytest.param(_job(*[steps.resize(f"s{i}") for i in range(33)]), ["/pipeline"], id="33 steps"),
        pytest.param(_job(STEP, STEP), ["/pipeline/1/id"], id="duplicate ids"),
        pytest.param(_job({**STEP, "id": "source"}), ["/pipeline/0/id"], id="a step called source"),
        pytest.param(_job({**STEP, "from": "b"}), ["/pipeline/0/from"], id="unknown from"),
        pytest.param(_job({**STEP, "from": "a"}), ["/pipeline/0/from"], id="a step from itself"),
        pytest.param(_job({**STEP, "from": "b"}, steps.resize("b")), ["/pipeline/0/from"], id="a later step"),
        pytest.param(_job({**STEP, "output": False}), ["/pipeline"], id="no output"),
        pytest.param(_job({**STEP, "width": 0}), ["/pipeline/0/width"], id="width 0"),
        pytest.param(_job({**STEP, "width": -1}), ["/pipeline/0/width"], id="width -1"),
        pytest.param(_job({**STEP, "width": 10**9}), ["/pipeline/0/width"], id="width 10^9"),
        pytest.param(_job({**STEP, "width": 10**400}), ["/pipeline/0/width"], id="width 10^400"),
        pytest.param(_job({**STEP, "width": 1.5}), ["/pipeline/0/width"], id="width 1.5"),
        pytest.param(_job({"id": "a", "action": "resize"}), ["/pipeline/0"], id="no size"),
        pytest.param(_job({**STEP, "quality": 0}), ["/pipeline/0/quality"], id="quality 0"),
        pytest.param(_job({**STEP, "quality": 101}), ["/pipeline/0/quality"], id="quality 101"),
        pytest.param(_job({**STEP, "format": "psd"}), ["/pipeline/0/format"], id="unsupported format"),
        pytest.param(_job({**STEP, "fit": "stretch"}), ["/pipeline/0/fit"], id="unknown fit"),
        pytest.param(_job({**STEP, "background": "reddish"}), ["/pipeline/0/background"], id="unknown color"),
        pytest.param(_job({**STEP, "action": "explode"}), ["/pipeline/0/action"], id="unknown action"),
        pytest.param(_job({"id": "a"}), ["/pipeline/0/action"], id="no action"),
        pytest.param(_job(1), ["/pipeline/0"], id="step that is not an object"),
        pytest.param(_job({**STEP, "id": "../../etc/passwd"}), ["/pipeline/0/id"], id="../ in an id"),
        pytest.param(_job({**STEP, "id": ".."}), ["/pipeline/0/id"], id=".. as an id"),
        pytest.param(_job({**STEP, "id": "a\n"}), ["/pipeline/0/id"], id="line break after an id"),
        pytest.param(_job({**STEP, "id": "a" * 65}), ["/pipeline/0/id"], id="id of 65 characters"),
        pytest.param(_job({**STEP, "id": "é"}), ["/pipeline/0/id"], id="id beyond ASCII"),
        pytest.param(_job({**STEP, "id": "a\0"}), ["/pipeline/0/id"], id="NUL in an id"),
        pytest.param(_job(metadata={"k": "\0"}), ["/metadata/k"], id="NUL in metadata"),
        pytest.param(_job(metadata={"k\0": "v"}), ["/metadata/k\0"], id="NUL in a key of metadata"),
        pytest.param(_job(metadata={"k": 1}), ["/metadata/k"], id="number in metadata"),
        pytest.param(_job(metadata={str(i): "" for i in range(33)}), ["/metadata"], id="33 keys of metadata"),
        pytest.param(_job(metadata={"k": "v" * 513}), ["/metadata/k"], id="513 characters of metadata"),
        pytest.param(_job(_mark(text="\0")), ["/pipeline/0/watermark/text"], id="NUL in a text"),
        pytest.param(_job(_mark(text=" \n")), ["/pipeline/0/watermark/text"], id="blank text"),
        pytest.param(_job(_mark(text="x" * 257)), ["/pipeline/0/watermark/text"], id="257 characters of text"),
        pytest.param(_job(_mark(opacity=2)), ["/pipeline/0/watermark/opacity"], id="opacity 2"),
        pytest.param(_job(_mark(opacity=float("nan"))), ["/pipeline/0/watermark/opacity"], id="opacity NaN"),
        pytest.param(_job(_mark(rotation=float("nan"))), ["/pipeline/0/watermark/rotation"], id="rotation NaN"),
        pytest.param(_job(_mark(size="0%")), ["/pipeline/0/watermark/size"], id="size 0 %"),
        pytest.param(_job(source={"content_length": 0}), ["/source/content_length"], id="length 0"),
        pytest.param(_job(source={"content_length": 10**30}), ["/source/content_length"], id="length 10^30"),
        pytest.param(
            _job(source={"content_type": "a/b\r\nX-Evil: 1"}), ["/source/content_type"], id="header in a type"
        ),
        pytest.param(_job(webhook_url="ftp://client.example/"), ["/webhook_url"], id="webhook by FTP"),
        pytest.param(_job(webhook_url="/hooks"), ["/webhook_url"], id="webhook without host"),
        pytest.param(_job(webhook_url="http://"), ["/webhook_url"], id="webhook with empty host"),
        pytest.param(_job(webhook_url="http://u:p@client.example/"), ["/webhook_url"], id="webhook with password"),
        pytest.param(_job(webhook_url="http://client.example:99999/"), ["/webhook_url"], id="webhook port 99999"),
        pytest.param(_job(webhook_url="http://[::1/"), ["/webhook_url"], id="webhook with half an address"),
        pytest.param(_job(webhook_url="http://a b/"), ["/webhook_url"], id="webhook with a space"),
        pytest.param(_job(webhook_url="http://a/\r\nX: 1"), ["/webhook_url"], id="webhook with a line break"),
        pytest.param(_job(webhook_url="http://a/" + "b" * 2048), ["/webhook_url"], id="webhook of 2057 characters"),
        pytest.param(_job(user_id="root"), ["/user_id"], id="user named in the body"),
        pytest.param([], [""], id="a list"),
        pytest.param(None, [""], id="null"),
        pytest.param(
            _job({**STEP, "width": 0, "quality": 101}, {**STEP, "from": "b", "format": "psd"}, nope=1),
            [
                "/nope",
                *(f"/pipeline/0/{name}" for name in ("quality", "width")),
                *(f"/pipeline/1/{name}" for name in ("format", "from", "id")),
            ],
            id="six errors at once",
        ),
        pytest.param(
            _job({"id": "a", "action": "resize", "quality": 0}, object_key="/x", source={"content_length": 10**12}),
            ["/object_key", "/pipeline/0", "/pipeline/0/quality", "/source/content_length"],
            id="cross-field errors and errors of single fields",
        ),
        pytest.param(
            _job(webhook_url="https://169.254.169.254/", source={"content_length": 10**12}),
            ["/source/content_length", "/webhook_url"],
            id="limits that the operator sets",
        ),
    ],
)
def test_an_invalid_body_is_rejected_with_all_its_errors(
    somebody: httpx.Client, body: object, pointers: list[str]
) -> None:
    response = somebody.post("/v1/jobs", content=json.dumps(body), headers=JSON)
    assert response.status_code == 422, response.text
    problem = _problem(response)
    assert problem["code"] == "validation_failed"
    assert sorted({error["pointer"] for error in problem["errors"]}) == sorted(pointers)
    assert all(error["message"] for error in problem["errors"])


LONE = '"\\ud800"'


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(f'{{"pipeline":[{{"id":{LONE},"action":"resize","width":1}}]}}', id="id"),
        pytest.param(
            f'{{"pipeline":[{{"id":{LONE},"from":{LONE},"action":"resize"}},{{"id":{LONE},"action":"resize"}}]}}',
            id="ids and from",
        ),
        pytest.param(f'{{"pipeline":[{{"id":"a","action":{LONE}}}]}}', id="action"),
        pytest.param(f'{{"pipeline":[{{"id":"a","action":"watermark","watermark":{{"text":{LONE}}}}}]}}', id="text"),
        pytest.param(f'{{"pipeline":[],"metadata":{{"k":{LONE}}}}}', id="metadata"),
        pytest.param(f'{{"pipeline":[],"metadata":{{{LONE}:"v"}}}}', id="key of metadata"),
        pytest.param(f'{{"pipeline":[],{LONE}:1}}', id="unknown field"),
        pytest.param(f'{{"pipeline":[],"webhook_url":{LONE}}}', id="webhook"),
        pytest.param(f'{{"pipeline":[],"source_type":{LONE}}}', id="source type"),
    ],
)
def test_a_lone_surrogate_is_rejected_in_every_field(somebody: httpx.Client, body: str) -> None:
    response = somebody.post("/v1/jobs", content=body, headers=JSON)
    assert (response.status_code, _problem(response)["code"]) == (422, "validation_failed")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"hello", id="a word"),
        pytest.param(b'{"pipeline":', id="half a body"),
        pytest.param(b'{"pipeline":"\xff\xfe"}', id="not UTF-8"),
        pytest.param(b"[" * 100_000, id="lists in lists"),
        pytest.param(b'{"metadata":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_001, id="objects in objects"),
        pytest.param(b'{"pipeline":[{"width":' + b"9" * 5000 + b"}]}", id="a number of 5000 digits"),
    ],
)
def test_a_body_that_is_not_json_is_malformed(somebody: httpx.Client, body: bytes) -> None:
    response = somebody.post("/v1/jobs", content=body, headers=JSON)
    assert (response.status_code, _problem(response)["code"]) == (400, "malformed_request")


def test_a_body_over_the_limit_is_rejected_by_its_declared_length(somebody: httpx.Client) -> None:
    response = somebody.post("/v1/jobs", content=b" " * (2 * MEBIBYTE), headers=JSON)
    assert (response.status_code, _problem(response)["code"]) == (413, "body_too_large")


def test_a_body_over_the_limit_is_rejected_without_a_declared_length(somebody: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(32):
            yield b" " * (64 * 1024)

    response = somebody.post("/v1/jobs", content=chunks(), headers=JSON)
    assert (response.status_code, _problem(response)["code"]) == (413, "body_too_large")


def test_a_body_within_the_limit_is_accepted_without_a_declared_length(somebody: httpx.Client) -> None:
    body = json.dumps(_job(source={"content_length": 1})).encode().ljust(128 * 1024)
    assert somebody.post("/v1/jobs", content=iter([body[:1000], body[1000:]]), headers=JSON).status_code == 202


CROSS_FIELD_ERROR_ON_EACH_LEVEL = {
    "object_key": "x",
    "pipeline": [{"id": "source", "action": "resize", **{f"{i:x}": 1 for i in range(400)}} for _ in range(32)],
}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("{" + ",".join(f'"{i:x}":1' for i in range(13_000)) + "}", id="unknown fields"),
        pytest.param('{"metadata":{' + ",".join(f'"{i:x}":1' for i in range(13_000)) + "}}", id="metadata"),
        pytest.param('{"pipeline":[' + ",".join(['{"from":"x"}'] * 9_000) + "]}", id="steps"),
        pytest.param(json.dumps(CROSS_FIELD_ERROR_ON_EACH_LEVEL), id="cross-field errors and unknown fields"),
    ],
)
def test_a_body_with_very_many_errors_gets_a_short_response(somebody: httpx.Client, body: str) -> None:
    response = somebody.post("/v1/jobs", content=body, headers=JSON)
    assert (response.status_code, _problem(response)["code"]) == (422, "validation_failed")
    assert len(response.content) < 50_000


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "image/jpeg", None])
def test_only_json_is_accepted(somebody: httpx.Client, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    response = somebody.post("/v1/jobs", content=json.dumps(_job()), headers=headers)
    assert (response.status_code, _problem(response)["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        pytest.param({"limit": "0"}, ["/query/limit"], id="limit 0"),
        pytest.param({"limit": "101"}, ["/query/limit"], id="limit 101"),
        pytest.param({"limit": "x", "status": "lost"}, ["/query/limit", "/query/status"], id="two at once"),
        pytest.param({"state": "failed"}, ["/query/state"], id="parameter that does not exist"),
        pytest.param({"a b\0/é": "1", "Limit": "5"}, ["/query/Limit", "/query/a%20b%00%2F%C3%A9"], id="two of them"),
        pytest.param({"cursor": "zz"}, ["/query/cursor"], id="cursor that is not valid"),
        pytest.param({"cursor": "\0é"}, ["/query/cursor"], id="cursor beyond ASCII"),
        pytest.param({"cursor": "a" * 201}, ["/query/cursor"], id="cursor of 201 characters"),
    ],
)
def test_an_invalid_query_is_rejected_like_an_invalid_body(
    somebody: httpx.Client, query: dict[str, str], pointers: list[str]
) -> None:
    response = somebody.get("/v1/jobs", params=query)
    assert response.status_code == 422
    assert sorted(error["pointer"] for error in _problem(response)["errors"]) == pointers


def test_an_unknown_query_parameter_is_answered_with_the_one_that_was_meant(somebody: httpx.Client) -> None:
    errors = _problem(somebody.get("/v1/jobs", params={"limt": 5, "x": 1}))["errors"]
    assert [error["message"].partition(";")[2] for error in errors] == [
        " did you mean `limit`?",
        " this route has `limit`, `cursor`, `status`, `created_after`, `created_before`, `preset`, `batch`, `metadata`",
    ]
    errors = _problem(somebody.get(f"/v1/jobs/{uuid4()}/deliveries", params={"x": 1}))["errors"]
    assert errors == [{"pointer": "/query/x", "message": "is an unknown query parameter; this route has none"}]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1/jobs/not-an-id", 404, "not_found"),
        ("GET", "/v1/jobs/%00", 404, "not_found"),
        ("GET", "/v1/jobs/..%2F..%2Fhealthz", 404, "not_found"),
        ("POST", "/v1/jobs/not-an-id/start", 404, "not_found"),
        ("PATCH", "/v1/jobs", 405, "method_not_allowed"),
    ],
)
def test_an_unknown_path_or_method_is_a_problem(
    somebody: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    response = somebody.request(method, path)
    assert (response.status_code, _problem(response)["code"]) == (status, code)


def test_endless_headers_are_rejected(service: Stack) -> None:
    host, _, port = service.api_url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX-Long: " + b"a" * 20_000)
        assert connection.recv(1000).startswith(b"HTTP/1.1 431 ")


# ── Dry runs ─────────────────────────────────────────────────────────────────────────────────────


def test_a_dry_run_returns_the_plan_and_creates_nothing(client: httpx.Client) -> None:
    before = client.get("/v1/jobs").json()["data"]
    body = _job({**STEP, "width": 60}, source={"width": 4000, "height": 3000, "content_type": "image/jpeg"})
    plan = client.post("/v1/jobs?dry_run=true", json=body)
    assert plan.status_code == 200
    assert plan.json()["source"] == {
        "format": "jpeg", "width": 4000, "height": 3000, "frames": 1,
        "shrink": 8, "decoded_width": 500, "decoded_height": 375,
    }  # fmt: skip
    assert [(step["id"], step["width"], step["height"]) for step in plan.json()["steps"]] == [("a", 60, 45)]
    assert client.get("/v1/jobs").json()["data"] == before


def test_a_dry_run_needs_a_size_and_reports_a_result_over_the_limit(client: httpx.Client) -> None:
    missing = client.post("/v1/jobs?dry_run=true", json=_job(source={"width": 10}))
    assert [error["pointer"] for error in _problem(missing)["errors"]] == ["/source/height"]
    large = _job({**STEP, "width": 16_384, "enlarge": True}, source={"width": 100, "height": 100})
    assert _problem(client.post("/v1/jobs?dry_run=true", json=large))["code"] == "output_too_large"
