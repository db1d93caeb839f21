"""Presigned URLs and object storage against several S3 servers: the dev stack's, a strict one, and a configured one.

The environment may configure the third (``make test-s3``): ``PIXELFLOW_TEST_S3_ENDPOINT``, ``…_ACCESS_KEY_ID``,
``…_SECRET_ACCESS_KEY`` and, unless the defaults apply, ``…_REGION`` and ``…_BUCKET``, an existing bucket. CORS is
tested if ``…_ORIGIN`` names an allowed origin. ``…_ADDRESSING``, ``…_PREFIX``, ``…_SSE``, ``…_SSE_KMS_KEY_ID``,
``…_CHECKSUMS`` and ``…_SESSION_TOKEN`` are the settings of these names. The tests delete their objects.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from tests.support.strict_s3 import start_strict_s3
from tests.support.waiting import assert_within, eventually

from pixelflow.adapters.storage.objects import ObjectStorage, SignedUrl, source_key
from pixelflow.devstack.ports import LOOPBACK
from pixelflow.devstack.stack import Stack
from pixelflow.errors import ObjectsUnavailableError, SourceGoneError, SourceOverLimitError
from pixelflow.settings import Settings

BODY = b"five!"
REFUSED = {400, 403}
NAMED = "PIXELFLOW_TEST_S3_"
NOT_NEEDED = {
    "PIXELFLOW_DATABASE_URL": "postgresql://nowhere",
    "PIXELFLOW_REDIS_URL": "redis://nowhere",
}


def _devstack(request: pytest.FixtureRequest) -> dict[str, str]:
    stack = request.getfixturevalue("stack")
    assert isinstance(stack, Stack)
    return stack.environment


def _strict(request: pytest.FixtureRequest) -> dict[str, str]:
    folder = request.getfixturevalue("tmp_path_factory").mktemp("strict")
    running = start_strict_s3(folder)
    request.addfinalizer(lambda: running.__exit__(None, None, None))
    return running.__enter__().environment


def _with_rules(request: pytest.FixtureRequest) -> dict[str, str]:
    """Where servers differ: a prefix, encryption and checksums."""
    rules = {"PIXELFLOW_S3_PREFIX": "team/a/", "PIXELFLOW_S3_SSE": "AES256", "PIXELFLOW_S3_CHECKSUMS": "true"}
    return _devstack(request) | rules


def _named(_: pytest.FixtureRequest) -> dict[str, str]:
    return {
        "PIXELFLOW_S3_ENDPOINT_URL": os.environ[f"{NAMED}ENDPOINT"],
        "PIXELFLOW_S3_ACCESS_KEY_ID": os.environ[f"{NAMED}ACCESS_KEY_ID"],
        "PIXELFLOW_S3_SECRET_ACCESS_KEY": os.environ[f"{NAMED}SECRET_ACCESS_KEY"],
        "PIXELFLOW_S3_REGION": os.environ.get(f"{NAMED}REGION", "us-east-1"),
        "PIXELFLOW_S3_BUCKET": os.environ.get(f"{NAMED}BUCKET", "pixelflow-test"),
        **{
            f"PIXELFLOW_S3_{name}": os.environ[f"{NAMED}{name}"]
            for name in ("ADDRESSING", "PREFIX", "SSE", "SSE_KMS_KEY_ID", "CHECKSUMS", "SESSION_TOKEN")
            if f"{NAMED}{name}" in os.environ
        },
    }


SERVERS = [
    pytest.param(_devstack, id="dev stack"),
    pytest.param(_with_rules, id="dev stack with rules"),
    pytest.param(_strict, id="strict"),
]
FOR_WEB_PAGES = [pytest.param(_devstack, id="dev stack")]
if f"{NAMED}ENDPOINT" in os.environ:
    SERVERS.append(pytest.param(_named, id="named"))
    if f"{NAMED}ORIGIN" in os.environ:
        FOR_WEB_PAGES.append(pytest.param(_named, id="named"))
ORIGIN = os.environ.get(f"{NAMED}ORIGIN", "https://app.example")


@pytest.fixture(scope="module", params=SERVERS)
def settings(request: pytest.FixtureRequest) -> Settings:
    environment: dict[str, str] = NOT_NEEDED | request.param(request)
    return Settings.model_validate(
        {name.removeprefix("PIXELFLOW_").lower(): each for name, each in environment.items()}
    )


@pytest.fixture(scope="module")
def storage(settings: Settings) -> ObjectStorage:
    return ObjectStorage(settings)


@pytest.fixture(scope="module")
def web() -> Iterator[httpx.Client]:
    with httpx.Client() as client:
        yield client


def _size_of(storage: ObjectStorage, key: str) -> int | None:
    return asyncio.run(storage.size_of(key))


@pytest.fixture
def key(storage: ObjectStorage) -> Iterator[str]:
    job_id = uuid4()
    yield source_key(job_id)
    asyncio.run(storage.remove_job(job_id))


def _upload_url(storage: ObjectStorage, key: str, *, seconds: int = 60) -> SignedUrl:
    return storage.sign_upload(key, content_length=len(BODY), content_type="image/jpeg", seconds=seconds)


def _download_url(storage: ObjectStorage, key: str, *, seconds: int = 60) -> str:
    return storage.sign_download(key, media_type="image/webp", file_name="small.webp", seconds=seconds).url


def test_an_upload_as_signed_is_stored(storage: ObjectStorage, web: httpx.Client, key: str) -> None:
    signed = _upload_url(storage, key)
    assert _size_of(storage, key) is None
    assert web.put(signed.url, content=BODY, headers=dict(signed.headers)).status_code == 200
    assert _size_of(storage, key) == len(BODY)


def test_an_upload_without_declarations_may_be_anything(storage: ObjectStorage, web: httpx.Client, key: str) -> None:
    signed = storage.sign_upload(key, content_length=None, content_type=None, seconds=60)
    assert "Content-Type" not in signed.headers
    headers = {**signed.headers, "Content-Type": "text/plain"}
    assert web.put(signed.url, content=b"anything", headers=headers).status_code == 200
    assert _size_of(storage, key) == 8


def _other_signature(url: str) -> str:
    return url[:-1] + ("0" if url[-1] != "0" else "1")


def _other_key(url: str) -> str:
    return url.replace("/source?", "/other?")


@pytest.mark.parametrize(
    ("method", "change", "body", "content_type"),
    [
        pytest.param("PUT", _other_signature, BODY, "image/jpeg", id="wrong signature"),
        pytest.param("PUT", _other_key, BODY, "image/jpeg", id="other key"),
        pytest.param("PUT", lambda url: url.replace("Expires=60", "Expires=600"), BODY, "image/jpeg", id="longer life"),
        pytest.param("PUT", lambda url: url.partition("?")[0], BODY, "image/jpeg", id="no signature"),
        pytest.param("POST", str, BODY, "image/jpeg", id="other method"),
        pytest.param("DELETE", str, BODY, "image/jpeg", id="delete"),
        pytest.param("PUT", str, BODY + b"!", "image/jpeg", id="longer"),
        pytest.param("PUT", str, BODY[:-1], "image/jpeg", id="shorter"),
        pytest.param("PUT", str, BODY, "image/png", id="other content type"),
    ],
)
def test_an_upload_that_differs_from_its_signature_is_refused(
    *,
    storage: ObjectStorage,
    web: httpx.Client,
    key: str,
    method: str,
    change: Callable[[str], str],
    body: bytes,
    content_type: str,
) -> None:
    url = change(_upload_url(storage, key).url)
    answer = web.request(method, url, content=body, headers={"Content-Type": content_type})
    assert answer.status_code in REFUSED | {405, 501}
    assert _size_of(storage, key) is None
    assert _size_of(storage, key.replace("source", "other")) is None


def test_urls_expire(storage: ObjectStorage, web: httpx.Client, key: str) -> None:
    storage_url = _upload_url(storage, key)
    assert web.put(storage_url.url, content=BODY, headers=dict(storage_url.headers)).status_code == 200
    upload = _upload_url(storage, _other(key), seconds=1)
    eventually(lambda: web.get(_download_url(storage, key, seconds=1)).status_code == 200)
    download = _download_url(storage, key, seconds=1)
    eventually(lambda: web.get(download).status_code in REFUSED)
    assert web.put(upload.url, content=BODY, headers=dict(upload.headers)).status_code in REFUSED
    assert _size_of(storage, _other(key)) is None


def _other(key: str) -> str:
    return key.replace("source", "other")


def test_a_download_has_the_type_and_name_that_were_signed(
    storage: ObjectStorage, web: httpx.Client, key: str, tmp_path: Path
) -> None:
    _store(storage, key, tmp_path)
    answer = web.get(_download_url(storage, key))
    assert (answer.status_code, answer.content) == (200, BODY)
    assert answer.headers["Content-Type"] == "image/webp"
    assert 'filename="small.webp"' in answer.headers["Content-Disposition"]


@pytest.mark.parametrize(
    ("method", "change"),
    [
        pytest.param("GET", _other_signature, id="wrong signature"),
        pytest.param("GET", _other_key, id="other key"),
        pytest.param("GET", lambda url: url.replace("image%2Fwebp", "text%2Fhtml"), id="other type"),
        pytest.param("GET", lambda url: url.replace("small.webp", "evil.exe"), id="other name"),
        pytest.param("GET", lambda url: url.replace("Expires=60", "Expires=600"), id="longer life"),
        pytest.param("GET", lambda url: url.partition("?")[0], id="no signature"),
        pytest.param("PUT", str, id="other method"),
        pytest.param("DELETE", str, id="delete"),
    ],
)
def test_a_download_that_differs_from_its_signature_is_refused(
    *,
    storage: ObjectStorage,
    web: httpx.Client,
    key: str,
    tmp_path: Path,
    method: str,
    change: Callable[[str], str],
) -> None:
    _store(storage, key, tmp_path)
    answer = web.request(method, change(_download_url(storage, key)))
    assert answer.status_code in REFUSED
    assert BODY not in answer.content
    assert _size_of(storage, key) == len(BODY)


@pytest.mark.parametrize("settings", FOR_WEB_PAGES, indirect=True)
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_cors_preflight_requests_are_allowed(storage: ObjectStorage, web: httpx.Client, key: str, method: str) -> None:
    url = _upload_url(storage, key).url if method == "PUT" else _download_url(storage, key)
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "content-type"}
    answer = web.options(url, headers={"Origin": ORIGIN, **asked})
    assert answer.is_success
    assert answer.headers["Access-Control-Allow-Origin"] in {ORIGIN, "*"}
    assert _names(answer, "Access-Control-Allow-Methods") & {method.lower(), "*"}
    assert _names(answer, "Access-Control-Allow-Headers") & {"content-type", "*"}


def _names(answer: httpx.Response, header: str) -> set[str]:
    return {part.strip().lower() for part in answer.headers[header].split(",")}


@pytest.mark.parametrize("settings", FOR_WEB_PAGES, indirect=True)
def test_web_pages_can_upload_and_download(storage: ObjectStorage, web: httpx.Client, key: str) -> None:
    signed = _upload_url(storage, key)
    uploaded = web.put(signed.url, content=BODY, headers={**signed.headers, "Origin": ORIGIN})
    downloaded = web.get(_download_url(storage, key), headers={"Origin": ORIGIN})
    assert (uploaded.status_code, downloaded.content) == (200, BODY)
    for answer in (uploaded, downloaded):
        assert answer.headers["Access-Control-Allow-Origin"] in {ORIGIN, "*"}


def _store(storage: ObjectStorage, key: str, folder: Path, body: bytes = BODY) -> None:
    (folder / "output").write_bytes(body)
    with (folder / "output").open("rb") as file:
        storage.store(file, key, media_type="image/jpeg")


def _fetch(storage: ObjectStorage, key: str, copy: Path, *, max_bytes: int) -> tuple[int, str]:
    with copy.open("xb", buffering=0) as file:
        return storage.fetch(key, file, max_bytes=max_bytes)


@pytest.mark.parametrize("size", [3_000_000, pytest.param(12_000_000, id="many times the buffer")])
def test_a_stored_object_can_be_fetched(storage: ObjectStorage, key: str, tmp_path: Path, size: int) -> None:
    body = os.urandom(size)
    _store(storage, key, tmp_path, body)
    fetched = _fetch(storage, key, tmp_path / "copy", max_bytes=len(body))
    assert fetched == (len(body), hashlib.sha256(body).hexdigest())
    assert (tmp_path / "copy").read_bytes() == body


def test_an_empty_object_can_be_stored_and_fetched(storage: ObjectStorage, key: str, tmp_path: Path) -> None:
    _store(storage, key, tmp_path, b"")
    assert _fetch(storage, key, tmp_path / "copy", max_bytes=1)[0] == 0


def test_a_source_over_the_limit_is_not_fetched(storage: ObjectStorage, key: str, tmp_path: Path) -> None:
    _store(storage, key, tmp_path)
    with pytest.raises(SourceOverLimitError):
        _fetch(storage, key, tmp_path / "copy", max_bytes=len(BODY) - 1)
    assert (tmp_path / "copy").stat().st_size == 0


def test_fetching_a_missing_source_fails(storage: ObjectStorage, key: str, tmp_path: Path) -> None:
    with pytest.raises(SourceGoneError):
        _fetch(storage, key, tmp_path / "copy", max_bytes=1)


def test_fetching_from_a_missing_bucket_is_not_the_fault_of_the_job(
    settings: Settings, key: str, tmp_path: Path
) -> None:
    changed = {**settings.model_dump(), "s3_bucket": "no-such-bucket"}
    with pytest.raises(ObjectsUnavailableError):
        _fetch(ObjectStorage(Settings.model_validate(changed)), key, tmp_path / "copy", max_bytes=1)


def test_ping_succeeds(storage: ObjectStorage) -> None:
    asyncio.run(storage.ping())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"s3_secret_access_key": "wrong"}, id="wrong secret"),
        pytest.param({"s3_bucket": "no-such-bucket"}, id="no bucket"),
        pytest.param({"s3_endpoint_url": f"http://{LOOPBACK}:1"}, id="no server"),
    ],
)
def test_ping_fails_without_showing_secrets(settings: Settings, change: dict[str, str]) -> None:
    changed = {**settings.model_dump(), **change}
    unusable = ObjectStorage(Settings.model_validate(changed))
    with pytest.raises(ObjectsUnavailableError) as raised:
        asyncio.run(unusable.ping())
    assert str(settings.s3_access_key_id) not in str(raised.value)


def test_a_server_that_does_not_answer_times_out(settings: Settings) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:  # the kernel accepts connections; no one answers
        changed = {**settings.model_dump(), "s3_endpoint_url": f"http://{LOOPBACK}:{silent.getsockname()[1]}"}
        storage = ObjectStorage(Settings.model_validate(changed))
        began = time.monotonic()
        with pytest.raises(ObjectsUnavailableError):
            _size_of(storage, "uploads/key")
    assert_within(8, began)


def test_a_file_that_can_not_be_written_is_not_a_storage_error(
    storage: ObjectStorage, web: httpx.Client, key: str, tmp_path: Path
) -> None:
    signed = _upload_url(storage, key)
    web.put(signed.url, content=BODY, headers=dict(signed.headers))
    (tmp_path / "copy").touch()
    with (tmp_path / "copy").open("rb", buffering=0) as read_only, pytest.raises(io.UnsupportedOperation):
        storage.fetch(key, read_only, max_bytes=len(BODY))
    with Path("/dev/full").open("r+b", buffering=0) as full, pytest.raises(OSError, match="No space left"):
        storage.fetch(key, full, max_bytes=len(BODY))


def test_a_signed_url_is_not_shown_in_logs(storage: ObjectStorage, key: str) -> None:
    assert "Signature" not in repr(_upload_url(storage, key))


# ── Removing ─────────────────────────────────────────────────────────────────────────────────────


def test_objects_are_deleted_in_a_batch_and_missing_ones_are_ignored(
    storage: ObjectStorage, key: str, tmp_path: Path
) -> None:
    gone = source_key(uuid4())
    _store(storage, key, tmp_path)
    for _ in range(2):
        asyncio.run(storage.remove([gone, key]))
        assert _size_of(storage, key) is None


def test_deleting_an_attempt_keeps_other_attempts(storage: ObjectStorage, tmp_path: Path) -> None:
    job_id = uuid4()
    keys = [f"{storage.output_prefix('', job_id, attempt)}/small.webp" for attempt in (1, 12)]
    for each in keys:
        _store(storage, each, tmp_path)
    assert [asyncio.run(storage.remove_attempt(job_id, 1)) for _ in range(2)] == [1, 0]
    assert [_size_of(storage, each) for each in keys] == [None, len(BODY)]
    assert asyncio.run(storage.remove_job(job_id)) == 1
