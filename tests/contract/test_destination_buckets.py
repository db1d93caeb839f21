"""Outputs in a named bucket: on the S3 server of the development stack, and on versitygw where it is installed."""

from __future__ import annotations

import io
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from hashlib import sha256 as sha256_of
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import httpx
import pytest
from tests.support.ports import free_port

from pixelflow.adapters.storage.buckets import NamedBuckets
from pixelflow.adapters.storage.interrupts import never
from pixelflow.adapters.storage.signatures import AccessKey, Signer
from pixelflow.cli.diagnosis.buckets import check_buckets
from pixelflow.devstack.stack import Stack
from pixelflow.errors import DestinationExistsError, DestinationRefusedError, DestinationUnavailableError
from pixelflow.settings import Settings
from pixelflow.settings.buckets import NamedBucket

CREDENTIALS = {"access_key_id": "T_ID", "secret_access_key": "T_SECRET"}
FOREVER = "public, max-age=31536000, immutable"


@pytest.fixture(scope="module")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The settings of a versitygw with an empty bucket."""
    if (program := shutil.which("versitygw")) is None:
        pytest.skip("no versitygw on this machine")
    folder, port = tmp_path_factory.mktemp("versitygw"), free_port()
    (folder / "shop").mkdir()
    keys = {"T_ID": "key", "T_SECRET": "secret"}
    environment = {"ROOT_ACCESS_KEY_ID": "key", "ROOT_SECRET_ACCESS_KEY": "secret", "VGW_PORT": f"127.0.0.1:{port}"}
    with subprocess.Popen(
        [program, "posix", str(folder)], env=environment | {"VGW_QUIET": "true"}, stdout=subprocess.DEVNULL
    ) as server:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield {"endpoint": f"http://127.0.0.1:{port}", "bucket": "shop", **keys}
        server.kill()


@pytest.fixture(params=["development stack", "versitygw"])
def server(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "versitygw":
        found: dict[str, str] = request.getfixturevalue("versitygw")
        return found
    stack: Stack = request.getfixturevalue("stack")
    names = ("ENDPOINT_URL", "BUCKET", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
    values = [stack.environment[f"PIXELFLOW_S3_{name}"] for name in names]
    return dict(zip(("endpoint", "bucket", "T_ID", "T_SECRET"), values, strict=True))


def opened(server: dict[str, str], **fields: Any) -> NamedBuckets:  # noqa: ANN401  # values of the setting
    named = {
        "bucket": server["bucket"],
        "endpoint_url": server["endpoint"],
        "prefix": "cdn/",
        "credentials": CREDENTIALS,
        **fields,
    }
    return NamedBuckets({"shop": NamedBucket.model_validate(named)}, server)


def store(
    buckets: NamedBuckets, key: str, content: bytes = b"image", *, job: str = "job-1", overwrite: bool = False
) -> None:
    buckets.store(
        "shop",
        key,
        io.BytesIO(content),
        headers={"Content-Type": "image/webp", "Cache-Control": FOREVER, "x-amz-meta-sku": "A-17"},
        sha256=sha256_of(content).hexdigest(),
        job=job,
        overwrite=overwrite,
        interrupts=never,
    )


def get(server: dict[str, str], key: str, method: str = "GET") -> httpx.Response:
    signer = Signer(server["endpoint"], region="us-east-1", credentials=AccessKey(server["T_ID"], server["T_SECRET"]))
    return httpx.request(method, signer.presign(method, f"/{server['bucket']}/{key}", seconds=60))


def test_an_output_has_the_headers_of_its_destination(server: dict[str, str]) -> None:
    buckets, key = opened(server), f"{uuid4()}/a b.webp"
    store(buckets, key)
    found = get(server, f"cdn/{key}")
    headers = {name: found.headers.get(name) for name in ("content-type", "x-amz-meta-sku", "cache-control")}
    assert (found.content, headers["content-type"], headers["x-amz-meta-sku"]) == (b"image", "image/webp", "A-17")
    is_rclone = headers["cache-control"] is None  # it keeps metadata, and drops this header
    assert headers["cache-control"] == FOREVER or (is_rclone and server["bucket"] == "pixelflow")
    buckets.close()


def test_an_object_of_another_job_is_kept_unless_the_job_may_overwrite(server: dict[str, str]) -> None:
    buckets, key = opened(server), f"{uuid4()}.webp"
    store(buckets, key)
    with pytest.raises(DestinationExistsError):
        store(buckets, key, b"other", job="job-2")
    assert get(server, f"cdn/{key}").content == b"image"
    store(buckets, key, b"other", job="job-2", overwrite=True)
    assert get(server, f"cdn/{key}").content == b"other"


def test_a_retry_recognises_the_objects_of_its_job(server: dict[str, str]) -> None:
    buckets, key = opened(server), f"{uuid4()}.webp"
    store(buckets, key)
    before = get(server, f"cdn/{key}").headers.get("last-modified")
    store(buckets, key)
    store(buckets, key, b"encoded anew")
    assert get(server, f"cdn/{key}").content == b"encoded anew"
    assert before


def test_refusals_are_the_jobs_and_outages_are_not(server: dict[str, str]) -> None:
    key = f"{uuid4()}.webp"
    for buckets in (
        opened(server, bucket="no-such-bucket"),
        opened(server | {"T_SECRET": "wrong"}),
        opened(server, credentials=CREDENTIALS | {"session_token": "T_ID"}, bucket="no-such-bucket"),
    ):
        with pytest.raises(DestinationRefusedError) as refused:
            store(buckets, key)
        assert server["endpoint"] not in str(refused.value)
    with pytest.raises(DestinationUnavailableError):
        store(opened(server, endpoint_url=f"http://127.0.0.1:{free_port()}"), key)


@pytest.mark.parametrize(
    ("fields", "status", "detail"),
    [
        ({"sources": True}, "ok", "outputs and sources below cdn/{user_id}/"),
        ({"outputs": False, "sources": True, "source_prefix": ""}, "ok", "sources below cdn/ of all users"),
        ({"bucket": "no-such-bucket"}, "error", "refuses requests: NoSuchBucket"),
        ({"endpoint_url": "http://127.0.0.1:9"}, "error", "does not answer"),
        ({"credentials": CREDENTIALS | {"access_key_id": "T_MISSING"}}, "absent", "outputs; not asked: T_MISSING"),
    ],
)
def test_the_doctor_says_what_a_bucket_is_used_for_and_whether_it_answers(
    server: dict[str, str], monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], status: str, detail: str
) -> None:
    for name in CREDENTIALS.values():
        monkeypatch.setenv(name, server[name])
    named = {
        "bucket": server["bucket"],
        "endpoint_url": server["endpoint"],
        "prefix": "cdn/",
        "credentials": CREDENTIALS,
    }
    settings = SimpleNamespace(named_buckets={"shop": NamedBucket.model_validate(named | fields)})
    [finding] = check_buckets(cast("Settings", settings))
    assert (finding.name, finding.status, finding.detail[: len(detail)]) == ("bucket shop", status, detail)


def test_a_presigned_url_of_a_get_allows_no_head_and_a_single_byte(versitygw: dict[str, str]) -> None:
    store(opened(versitygw), "head.webp")
    signer = Signer(versitygw["endpoint"], region="us-east-1", credentials=AccessKey("key", "secret"))
    url = signer.presign("GET", "/shop/cdn/head.webp", seconds=60)
    assert [httpx.get(url).status_code, httpx.head(url).status_code] == [200, 403]
    byte = httpx.get(url, headers={"Range": "bytes=0-0"})
    assert (byte.status_code, byte.headers["content-range"], byte.content) == (206, "bytes 0-0/5", b"i")
