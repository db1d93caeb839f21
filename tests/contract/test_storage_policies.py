"""The policies of ``deploy/s3``, on the S3 server of the compose stack, which is on few machines.

``go install github.com/versity/versitygw/cmd/versitygw@v1.8.0`` installs it.
"""

from __future__ import annotations

import asyncio
import io
import os
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from tests.support.ports import free_port

from pixelflow.adapters.storage.multipart import MIN_PART_BYTES, NoSuchUploadError
from pixelflow.adapters.storage.objects import ObjectStorage, asset_key, source_key
from pixelflow.devstack.stack import Stack
from pixelflow.errors import ObjectsUnavailableError, SourceGoneError
from pixelflow.settings import Settings

SCRIPT = Path(__file__).parents[2] / "deploy" / "s3" / "make-bucket"
ROLES = ("api", "controller", "worker")
KEYS = {name: (f"PF{name.upper()}", f"secret-of-{name}") for name in ("admin", *ROLES)}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = shutil.which("versitygw")
    if program is None:
        pytest.skip("no versitygw on this machine")
    folder, port, admin_port = tmp_path_factory.mktemp("versitygw"), free_port(), free_port()
    for name in ("data", "users"):
        (folder / name).mkdir()
    url = f"http://127.0.0.1:{port}"
    environment = {
        "ROOT_ACCESS_KEY_ID": KEYS["admin"][0],
        "ROOT_SECRET_ACCESS_KEY": KEYS["admin"][1],
        "VGW_PORT": f"127.0.0.1:{port}",
        "VGW_ADMIN_PORT": f"127.0.0.1:{admin_port}",
        "VGW_REGION": "us-east-1",
        "VGW_IAM_DIR": str(folder / "users"),
        "VGW_HEALTH": "/health",
        "VGW_QUIET": "true",
    }
    with subprocess.Popen(
        [program, "posix", str(folder / "data")], env=environment, stdout=subprocess.DEVNULL
    ) as server:
        try:
            _wait_for(f"{url}/health")
            for _ in range(2):  # idempotent
                _make_bucket(url, f"http://127.0.0.1:{admin_port}")
            yield url
        finally:
            server.kill()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if httpx.get(url).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    pytest.fail("versitygw does not answer")


def _make_bucket(url: str, admin_url: str) -> None:
    environment = {**os.environ, **_settings(url, "admin"), "S3_ADMIN_ENDPOINT_URL": admin_url}
    for role in ROLES:
        environment |= dict(
            zip((f"S3_{role.upper()}_ACCESS_KEY_ID", f"S3_{role.upper()}_SECRET_ACCESS_KEY"), KEYS[role], strict=True)
        )
    subprocess.run([sys.executable, str(SCRIPT)], env=environment, check=True)


def _settings(url: str, name: str) -> dict[str, str]:
    return {
        "PIXELFLOW_S3_ENDPOINT_URL": url,
        "PIXELFLOW_S3_BUCKET": "pixelflow",
        "PIXELFLOW_S3_ACCESS_KEY_ID": KEYS[name][0],
        "PIXELFLOW_S3_SECRET_ACCESS_KEY": KEYS[name][1],
    }


def _storage(url: str, name: str) -> ObjectStorage:
    values = {**_settings(url, name), "PIXELFLOW_DATABASE_URL": "postgresql://x", "PIXELFLOW_REDIS_URL": "redis://x"}
    settings = {key.removeprefix("PIXELFLOW_").lower(): value for key, value in values.items()}
    return ObjectStorage(Settings.model_validate(settings))


def _put(storage: ObjectStorage, key: str) -> int:
    signed = storage.sign_upload(key, content_length=5, content_type=None, seconds=60)
    return httpx.put(signed.url, content=b"hello", headers=dict(signed.headers)).status_code


def _put_part(storage: ObjectStorage, key: str, upload_id: str, number: int, content: bytes) -> None:
    url = storage.sign_part(key, upload_id=upload_id, number=number, content_length=len(content), seconds=60).url
    assert httpx.put(url, content=content + b"!").status_code == 403
    assert httpx.put(url, content=content).status_code == 200


def _get(storage: ObjectStorage, key: str) -> int:
    signed = storage.sign_download(key, media_type="image/png", file_name="f", seconds=60)
    return httpx.get(signed.url).status_code


def _output(storage: ObjectStorage, job_id: UUID) -> str:
    return f"{storage.output_prefix('', job_id, 1)}/small.png"


def test_the_script_loads_and_signs_as_a_server_expects(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (f"PIXELFLOW_S3_{each}" for each in ("ENDPOINT_URL", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY")):
        monkeypatch.setenv(name, stack.environment[name])
    send = runpy.run_path(str(SCRIPT))["send"]
    server, bucket = (stack.environment[f"PIXELFLOW_S3_{name}"] for name in ("ENDPOINT_URL", "BUCKET"))
    assert send("HEAD", server, f"/{bucket}") == httpx.codes.OK
    monkeypatch.setenv("PIXELFLOW_S3_SECRET_ACCESS_KEY", "wrong")
    assert send("HEAD", server, f"/{bucket}") == httpx.codes.FORBIDDEN


def test_each_process_can_do_its_part(endpoint: str) -> None:
    api, controller, worker = (_storage(endpoint, role) for role in ROLES)
    job_id = uuid4()
    for storage in (api, controller, worker):
        asyncio.run(storage.ping())
    assert asyncio.run(api.size_of(source_key(job_id))) is None
    assert _put(api, source_key(job_id)) == 200
    assert asyncio.run(api.size_of(source_key(job_id))) == 5
    assert worker.fetch(source_key(job_id), io.BytesIO(), max_bytes=5)[0] == 5
    worker.store(io.BytesIO(bytes(12_000_000)), _output(worker, job_id), media_type="image/png")
    assert _get(api, _output(worker, job_id)) == 200
    assert _get(controller, _output(worker, job_id)) == 200
    assert _put(api, asset_key(job_id)) == 200
    assert _get(api, asset_key(job_id)) == 200
    worker.fetch_asset(job_id, io.BytesIO(), size=5, version="")
    asyncio.run(controller.remove([asset_key(job_id)]))
    assert asyncio.run(controller.remove_job(job_id)) == 2
    with pytest.raises(SourceGoneError):
        worker.fetch(source_key(job_id), io.BytesIO(), max_bytes=5)


def test_an_upload_in_parts_is_the_part_of_the_api_and_the_controller(endpoint: str) -> None:
    api, controller, worker = (_storage(endpoint, role) for role in ROLES)
    key = source_key(uuid4())

    async def upload() -> str:
        """Upload two parts."""
        upload_id = await api.multipart.begin(key, content_type="image/png")
        for number, content in ((1, bytes(MIN_PART_BYTES)), (2, b"end")):
            _put_part(api, key, upload_id, number, content)
        return upload_id

    async def live() -> None:
        """Let each process do what it may."""
        with pytest.raises(ObjectsUnavailableError):
            await worker.multipart.begin(key, content_type=None)
        for process in (api, controller):
            upload_id = await upload()
            await process.multipart.complete(key, upload_id, await process.multipart.parts(key, upload_id))
            assert await process.size_of(key) == MIN_PART_BYTES + 3
            with pytest.raises(NoSuchUploadError):
                await process.multipart.parts(key, upload_id)
            await controller.remove([key])
        upload_id = await upload()
        for _ in range(2):
            await controller.multipart.abort(key, upload_id)
        with pytest.raises(NoSuchUploadError):
            await api.multipart.parts(key, upload_id)

    asyncio.run(live())


def test_no_process_can_do_the_part_of_another(endpoint: str) -> None:
    admin, api, controller, worker = (_storage(endpoint, name) for name in KEYS)
    job_id = uuid4()
    assert _put(admin, source_key(job_id)) == 200
    assert _put(admin, _output(admin, job_id)) == 200
    for storage, key in ((api, _output(api, job_id)), (worker, _output(api, job_id)), (worker, source_key(job_id))):
        with pytest.raises(ObjectsUnavailableError):
            asyncio.run(storage.remove([key]))
    assert asyncio.run(admin.size_of(source_key(job_id))) == 5
    assert _put(api, _output(api, job_id)) == 403
    assert _put(worker, source_key(job_id)) == 403
    assert _put(worker, asset_key(job_id)) == 403
    assert _get(controller, asset_key(job_id)) == 403
    assert _get(worker, _output(worker, job_id)) == 200, "the source of another job"
    assert _put(controller, _output(controller, job_id)) == 403
    for storage in (api, controller, worker):
        assert _put(storage, "elsewhere") == 403
        assert _get(storage, "?policy") in {403, 404}
