"""The answers of object storage to wrong uploads, as ``docs/upload-trouble.md`` lists them.

The servers are those that the tests can start: rclone, which `pixelflow up` runs, and OpenStack Swift.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import httpx
import pytest
from tests.contract.test_presigned_urls import BODY, NOT_NEEDED
from tests.support.strict_s3 import start_strict_s3
from tests.support.waiting import eventually

from pixelflow.adapters.storage.objects import ObjectStorage, SignedUrl, source_key
from pixelflow.devstack.stack import Stack
from pixelflow.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
SHA256 = hashlib.sha256(BODY).hexdigest()
UNSIGNED = "AccessDenied: There were headers present in the request which were not signed"
MISMATCH = "SignatureDoesNotMatch: The request signature we calculated does not match the signature you provided."


class Server(NamedTuple):
    """A storage of a test, and which of the two servers it is."""

    is_rclone: bool
    settings: Settings
    storage: ObjectStorage


Upload = Callable[..., SignedUrl]


@pytest.fixture(scope="module", params=["rclone", "swift"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if request.param == "rclone":
        stack: Stack = request.getfixturevalue("stack")
        yield _server(stack.environment, is_rclone=True)
    else:
        with start_strict_s3(tmp_path_factory.mktemp("strict")) as strict:
            yield _server(strict.environment, is_rclone=False)


def _server(environment: dict[str, str], *, is_rclone: bool) -> Server:
    values = {name.removeprefix("PIXELFLOW_").lower(): value for name, value in (NOT_NEEDED | environment).items()}
    settings = Settings.model_validate(values)
    return Server(is_rclone, settings, ObjectStorage(settings))


@pytest.fixture
def upload(server: Server) -> Iterator[Upload]:
    """Sign an upload of ``BODY`` with its size and type, unless the call declares otherwise."""
    job_id = uuid4()

    def sign(storage: ObjectStorage = server.storage, **declared: object) -> SignedUrl:
        values = {"content_length": len(BODY), "content_type": "image/jpeg", "seconds": 60, **declared}
        return storage.sign_upload(source_key(job_id), **values)  # type: ignore[arg-type]

    yield sign
    asyncio.run(server.storage.remove_job(job_id))


def put(signed: SignedUrl, body: object = BODY, **changed: str) -> tuple[int, str]:
    headers = {**signed.headers, **{name.replace("_", "-"): value for name, value in changed.items()}}
    answer = httpx.put(signed.url, content=body, headers={name: each for name, each in headers.items() if each})  # type: ignore[arg-type]
    return _answer(answer)


def _answer(answer: httpx.Response) -> tuple[int, str]:
    found = re.search(rb"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>", answer.content, re.DOTALL)
    return answer.status_code, f"{found[1].decode()}: {found[2].decode()}" if found else ""


def assert_answer(answer: tuple[int, str], status: int, text: str) -> None:
    assert answer[0] == status
    assert answer[1].startswith(text)


@pytest.mark.parametrize("body", [BODY + b"!", BODY[:-1]], ids=["longer", "shorter"])
def test_a_file_of_another_size(upload: Upload, body: bytes) -> None:
    assert_answer(put(upload(), body), 403, MISMATCH)


def test_another_content_type(upload: Upload) -> None:
    assert_answer(put(upload(), Content_Type="image/png"), 403, MISMATCH)


def test_a_changed_url(upload: Upload) -> None:
    signed = upload()
    changed = signed.url.replace("Expires=60", "Expires=61")
    assert_answer(put(dataclasses.replace(signed, url=changed)), 403, MISMATCH)


def test_another_method(server: Server, upload: Upload) -> None:
    signed = upload()
    answer = _answer(httpx.post(signed.url, content=BODY, headers=dict(signed.headers)))
    assert_answer(answer, *((403, MISMATCH) if server.is_rclone else (501, "NotImplemented")))


def test_a_form_in_place_of_the_file(upload: Upload) -> None:
    signed = upload()
    answer = httpx.put(signed.url, files={"file": BODY}, headers=dict(signed.headers))
    assert_answer(_answer(answer), 403, MISMATCH)


@pytest.mark.parametrize("declared", [{}, {"content_type": None, "sha256": SHA256}], ids=["type", "hash"])
def test_a_missing_header(server: Server, upload: Upload, declared: dict[str, object]) -> None:
    signed = upload(**declared)
    answer = _answer(httpx.put(signed.url, content=BODY))
    assert_answer(answer, 403, UNSIGNED if server.is_rclone else MISMATCH)


@pytest.mark.parametrize("header", ["x_amz_acl", "x_amz_meta_a"])
def test_a_further_amz_header(upload: Upload, header: str) -> None:
    assert_answer(put(upload(), **{header: "public-read"}), 403, UNSIGNED)


def test_a_credential_beside_the_signature(server: Server, upload: Upload) -> None:
    answer = put(upload(), Authorization="Bearer pf_a")
    assert_answer(answer, *((400, "UnsupportedAlgorithm") if server.is_rclone else (200, "")))


def test_chunks_in_place_of_the_declared_size(upload: Upload) -> None:
    assert_answer(put(upload(), iter([BODY])), 403, MISMATCH)


def test_chunks_without_a_declared_size(server: Server, upload: Upload) -> None:
    answer = put(upload(content_length=None), iter([BODY]))
    assert_answer(answer, *((411, "MissingContentLength") if server.is_rclone else (200, "")))


def test_another_file_than_that_of_the_declared_hash(server: Server, upload: Upload) -> None:
    other = hashlib.sha256(b"other").hexdigest()
    answer = put(upload(sha256=other))
    assert_answer(answer, *((200, "") if server.is_rclone else (400, "BadDigest: The SHA256 you specified")))


def test_an_expired_url(server: Server, upload: Upload) -> None:
    signed = upload(seconds=1)
    eventually(lambda: put(signed)[0] != 200)
    late = "AccessDenied: The difference between the request time and the server"
    assert_answer(put(signed), *((400, late) if server.is_rclone else (403, "AccessDenied: Request has expired")))


def test_a_bucket_that_does_not_exist(server: Server, upload: Upload) -> None:
    other = Settings.model_validate({**server.settings.model_dump(), "s3_bucket": "no-such-bucket"})
    assert_answer(put(upload(ObjectStorage(other))), 404, "NoSuchBucket")


def test_a_preflight_request_for_the_header_of_a_hash(server: Server, upload: Upload) -> None:
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-amz-checksum-sha256"}
    answer = httpx.options(upload().url, headers={"Origin": "https://shop.example", **asked})
    if server.is_rclone:
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "x-amz-checksum-sha256" not in answer.headers["Access-Control-Allow-Headers"].lower()
    else:
        assert answer.status_code == 403
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_the_page_lists_each_code_that_these_tests_meet() -> None:
    page = (ROOT / "docs/upload-trouble.md").read_text()
    source = Path(__file__).read_text()
    codes = set(re.findall(r'"([A-Z][A-Za-z]{8,})[":]', source)) - {"NotImplemented"}
    assert {code for code in codes if f"`{code}`" not in page} == set()
