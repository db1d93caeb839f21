"""Buckets as teams have them: with a host of their own, a prefix, encryption that they demand, and checksums."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from tests.support.checked_s3 import CheckedS3, Session, running_s3

from pixelflow import settings as settings_package
from pixelflow.adapters.storage.buckets import NamedBuckets
from pixelflow.adapters.storage.interrupts import never, unlimited
from pixelflow.adapters.storage.objects import ObjectStorage, SignedUrl, asset_key, source_key
from pixelflow.errors import (
    DestinationExistsError,
    DestinationRefusedError,
    ObjectsUnavailableError,
    SourceChangedError,
)
from pixelflow.settings import Settings, SettingsError
from pixelflow.settings.buckets import NamedBucket

BODY = b"five!"
SHA256 = hashlib.sha256(BODY).hexdigest()
CHECKSUM = base64.b64encode(bytes.fromhex(SHA256)).decode()
KEY = Session("AKIATEAM", "team-secret")
KMS_KEY = "arn:aws:kms:eu-central-1:123456789012:key/1234"
SSE = "x-amz-server-side-encryption"
KMS = {SSE: "aws:kms", f"{SSE}-aws-kms-key-id": KMS_KEY}
RULES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "plain": ({}, {}),
    "SSE-S3": ({"sse": "AES256"}, {SSE: "AES256"}),
    "SSE-KMS": ({"sse_kms_key_id": KMS_KEY}, KMS),
    "SSE-KMS with the bucket's key": ({"sse": "aws:kms"}, {SSE: "aws:kms"}),
    "DSSE-KMS": ({"sse": "aws:kms:dsse", "sse_kms_key_id": KMS_KEY}, {**KMS, SSE: "aws:kms:dsse"}),
}


@pytest.fixture(params=["path", "virtual"])
def s3(request: pytest.FixtureRequest) -> Iterator[CheckedS3]:
    with running_s3() as server:
        server.is_virtual = request.param == "virtual"
        server.admit(KEY)
        yield server


def settings_of(s3: CheckedS3, **changed: Any) -> Settings:  # noqa: ANN401  # values of settings
    values = {f"s3_{name}": value for name, value in {**s3.settings, **changed}.items()}
    keys = {"s3_access_key_id": KEY.key_id, "s3_secret_access_key": KEY.secret}
    servers = {"database_url": "postgresql://nowhere", "redis_url": "redis://nowhere"}
    return Settings.model_validate({**servers, **keys, **values})


def put(signed: SignedUrl, body: bytes = BODY, *, without: str = "") -> int:
    headers = {name: value for name, value in signed.headers.items() if name != without}
    return httpx.put(signed.url, content=body, headers=headers).status_code


def run_a_job(storage: ObjectStorage, job_id: UUID) -> list[str]:
    """Do what the processes do for a job with an asset, up to its end; returns the keys."""
    source, asset = source_key(job_id), asset_key(job_id)
    output = f"{storage.output_prefix('', job_id, 1)}/small.webp"
    for key in (source, asset):
        assert put(storage.sign_upload(key, content_length=len(BODY), content_type="image/jpeg", seconds=60)) == 200
    assert asyncio.run(storage.size_of(source)) == len(BODY)
    assert asyncio.run(storage.size_of(source + "x")) is None
    file = io.BytesIO()
    storage.fetch(source, file, max_bytes=100)
    assert file.getvalue() == BODY
    storage.fetch_asset(job_id, io.BytesIO(), size=len(BODY), version="")
    storage.store(io.BytesIO(BODY), output, media_type="image/webp", sha256=SHA256)
    url = storage.sign_download(output, media_type="image/webp", file_name="small.webp", seconds=60).url
    answer = httpx.get(url)
    assert (answer.content, answer.headers["content-type"]) == (BODY, "image/webp")
    return [source, asset, output]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("prefix", ["", "team/pixel-flow+(1)/"])
def test_a_job_works_with_every_rule_of_a_bucket(s3: CheckedS3, prefix: str, rules: str) -> None:
    changed, s3.encryption = RULES[rules]
    storage, job_id = ObjectStorage(settings_of(s3, prefix=prefix, **changed)), uuid4()
    keys = run_a_job(storage, job_id)
    assert sorted(s3.objects) == sorted(prefix + key for key in keys)
    assert s3.refusals == ["NoSuchKey"]
    assert asyncio.run(storage.remove_job(job_id)) == 2
    assert list(s3.objects) == [prefix + asset_key(job_id)]
    asyncio.run(storage.remove([asset_key(job_id)]))
    assert s3.objects == {}
    asyncio.run(storage.ping())
    storage.check()
    storage.close()
    assert s3.refusals == ["NoSuchKey"]


def test_an_upload_in_parts_works_with_a_prefix_and_encryption(s3: CheckedS3) -> None:
    s3.encryption = KMS
    storage = ObjectStorage(settings_of(s3, prefix="team/pixel-flow+(1)/", sse_kms_key_id=KMS_KEY))

    async def upload() -> None:
        upload_id = await storage.multipart.begin("k", content_type="image/png")
        signed = storage.sign_part("k", upload_id=upload_id, number=1, content_length=len(BODY), seconds=60)
        assert signed.headers == {}
        assert put(signed) == 200
        await storage.multipart.complete("k", upload_id, await storage.multipart.parts("k", upload_id))

    asyncio.run(upload())
    assert list(s3.objects) == ["team/pixel-flow+(1)/k"]


def test_nothing_outside_the_prefix_is_listed_or_deleted(s3: CheckedS3) -> None:
    job_id = uuid4()
    outside = [
        f"{root}/{job_id}/{name}" for root in ("uploads", "outputs", "other/uploads") for name in ("source", "1/a")
    ]
    s3.objects = {key: (BODY, {}) for key in outside}
    storage = ObjectStorage(settings_of(s3, prefix="team/"))
    run_a_job(storage, job_id)
    assert asyncio.run(storage.remove_job(job_id)) == 2
    assert asyncio.run(storage.remove_attempt(job_id, 1)) == 0
    assert set(outside) <= s3.objects.keys()
    assert all(key.startswith("team/") for _, _, key in s3.requests)


def test_an_upload_must_be_encrypted_as_signed(s3: CheckedS3) -> None:
    s3.encryption = KMS
    storage = ObjectStorage(settings_of(s3, sse_kms_key_id=KMS_KEY))
    signed = storage.sign_upload("k", content_length=len(BODY), content_type="image/jpeg", seconds=60)
    assert signed.headers == {"Content-Type": "image/jpeg", **KMS}
    assert put(signed, without=SSE) == 403
    assert put(signed) == 200
    with pytest.raises(ObjectsUnavailableError):
        ObjectStorage(settings_of(s3)).store(io.BytesIO(BODY), "k", media_type="image/webp")


def test_a_declared_hash_and_encryption_are_signed_together(s3: CheckedS3) -> None:
    s3.encryption = {SSE: "AES256"}
    storage = ObjectStorage(settings_of(s3, sse="AES256"))
    signed = storage.sign_upload("k", content_length=5, content_type=None, sha256=SHA256, seconds=60)
    assert signed.headers == {SSE: "AES256", "x-amz-checksum-sha256": CHECKSUM}
    assert put(signed, b"other") == 400
    assert put(signed) == 200


def test_outputs_have_their_checksum_if_the_settings_say_so(s3: CheckedS3) -> None:
    sent: list[bool] = []
    for has_checksums in (False, True):
        storage = ObjectStorage(settings_of(s3, checksums=has_checksums))
        storage.store(io.BytesIO(BODY), "k", media_type="image/webp", sha256=SHA256)
        sent.append(s3.checksums.get("k") == CHECKSUM)
    assert sent == [False, True]


@pytest.mark.parametrize("rules", RULES)
def test_a_named_bucket_has_the_same_rules(s3: CheckedS3, rules: str) -> None:
    changed, s3.encryption = RULES[rules]
    buckets = _named(s3, checksums=True, **changed)
    _store(buckets)
    _store(buckets)  # a retry of the job
    assert s3.objects["img/a b.webp"][0] == BODY
    assert s3.checksums["img/a b.webp"] == CHECKSUM
    if s3.encryption:
        with pytest.raises(DestinationRefusedError, match="AccessDenied"):
            _store(_named(s3), "other.webp")
    assert set(s3.refusals) <= {"NoSuchKey", "AccessDenied"}


def test_a_source_is_read_as_long_as_it_has_the_version_that_was_found_first(s3: CheckedS3) -> None:
    buckets, found = _named(s3, sources=True), list[str]()

    def fetch(version: str) -> tuple[int, str]:
        return buckets.fetch(
            "shop",
            "al=2Fice/a #1 100%.jpg",
            "al/ice",
            io.BytesIO(),
            max_bytes=len(BODY),
            version=version,
            on_version=found.append,
            reserve=unlimited,
            interrupts=never,
        )

    s3.objects["img/al=2Fice/a #1 100%.jpg"] = (BODY, {})
    assert fetch("") == fetch(found[0]) == (len(BODY), SHA256)
    assert found == [hashlib.md5(BODY).hexdigest()] * 2  # noqa: S324  # the ETag
    s3.objects["img/al=2Fice/a #1 100%.jpg"] = (BODY[::-1], {})
    with pytest.raises(SourceChangedError):
        fetch(found[0])


def _named(s3: CheckedS3, **fields: Any) -> NamedBuckets:  # noqa: ANN401  # values of the setting
    credentials = {"access_key_id": "T_ID", "secret_access_key": "T_SECRET"}
    bucket = {**s3.settings, "prefix": "img/", "credentials": credentials, **fields}
    environment = {"T_ID": KEY.key_id, "T_SECRET": KEY.secret}
    return NamedBuckets({"shop": NamedBucket.model_validate(bucket)}, environment)


def _store(buckets: NamedBuckets, key: str = "a b.webp") -> None:
    headers = {"Content-Type": "image/webp"}
    buckets.store(
        "shop", key, io.BytesIO(BODY), headers=headers, sha256=SHA256, job="j", overwrite=False, interrupts=never
    )


def test_google_cloud_storage_needs_one_setting(s3: CheckedS3) -> None:
    s3.is_google = True
    storage, job_id = ObjectStorage(settings_of(s3, bulk_delete=False, prefix="team/")), uuid4()
    run_a_job(storage, job_id)
    many = [f"outputs/{job_id}/2/{number}.webp" for number in range(25)]
    for key in many:
        storage.store(io.BytesIO(BODY), key, media_type="image/webp")
    assert asyncio.run(storage.remove_attempt(job_id, 2)) == 25
    assert asyncio.run(storage.remove_job(job_id)) == 2
    asyncio.run(storage.remove([asset_key(job_id), *many]))
    assert s3.objects == {}
    assert set(s3.refusals) == {"NoSuchKey"}, "missing objects are ignored"
    with pytest.raises(ObjectsUnavailableError):
        asyncio.run(ObjectStorage(settings_of(s3)).remove(["uploads/x"]))
    s3.refusals.clear()
    buckets = _named(s3)
    _store(buckets)
    with pytest.raises(DestinationExistsError):
        buckets.store(
            "shop",
            "a b.webp",
            io.BytesIO(b"x"),
            headers={},
            sha256=64 * "0",
            job="k",
            overwrite=False,
            interrupts=never,
        )


@pytest.mark.parametrize("prefix", ["/", "a", "/a/", "a//b/", "../", "a/../b/", ".a/", "a b/", "ä/", "a/\n"])
def test_a_prefix_that_is_no_folder_is_refused(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    values = {
        "DATABASE_URL": "postgresql://x",
        "REDIS_URL": "redis://x",
        "S3_ENDPOINT_URL": "http://x",
        "S3_BUCKET": "b",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"PIXELFLOW_{name}", value)
    monkeypatch.setenv("PIXELFLOW_S3_CREDENTIALS", "aws")
    with pytest.raises(SettingsError, match="must be folders that each end with /") as raised:
        settings_package.load({"PIXELFLOW_S3_PREFIX": prefix})
    assert str(raised.value).startswith("PIXELFLOW_S3_PREFIX is not valid")


def test_a_kms_key_is_not_for_aes256(s3: CheckedS3) -> None:
    with pytest.raises(ValueError, match="PIXELFLOW_S3_SSE has a KMS key, which AES256 does not use"):
        settings_of(s3, sse="AES256", sse_kms_key_id=KMS_KEY)
    document = {"shop": {**s3.settings, "credentials": "aws", "sse": "AES256", "sse_kms_key_id": KMS_KEY}}
    with pytest.raises(ValueError, match="shop has a KMS key"):
        Settings.model_validate({**settings_of(s3).model_dump(), "buckets": json.dumps(document)})
