"""The IAM policies of ``deploy/s3`` have the rights that the processes use, each of them and no other.

A server that enforces them as S3 does records what each process asks for, while jobs and assets live their whole life.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.acceptance import job_steps as steps
from tests.acceptance.pictures import photo
from tests.acceptance.running import client_of, servers_alone, start_processes
from tests.support.checked_s3 import CheckedS3, Session, running_s3
from tests.support.waiting import eventually
from tests.support.webhook_receiver import receiving

from pixelflow.devstack.stack import Stack

POLICIES = Path(__file__).parents[2] / "deploy" / "s3" / "policies"
PREFIX = "team/"
ROLES = ("api", "controller", "worker")
MAX_BYTES = 300_000


def policy_of(role: str, bucket: str) -> list[dict[str, Any]]:
    """The statements of a process's policy, for a bucket and a prefix."""
    text = (POLICIES / f"{role}.json").read_text(encoding="utf-8")
    text = text.replace("arn:aws:s3:::pixelflow/", f"arn:aws:s3:::{bucket}/{PREFIX}")
    statements: list[dict[str, Any]] = json.loads(text.replace(":::pixelflow", f":::{bucket}"))["Statement"]
    return statements


@pytest.fixture(scope="module")
def s3() -> Iterator[CheckedS3]:
    with running_s3() as server:
        server.is_virtual = True
        yield server


@pytest.fixture(scope="module")
def stack(s3: CheckedS3) -> Iterator[Stack]:
    with servers_alone() as servers:
        for role in ROLES:
            secrets = servers.home.secrets
            key = Session(secrets[f"s3_access_key_id_{role}"], secrets[f"s3_secret_access_key_{role}"])
            s3.admit(key)
            s3.policies[key.key_id] = policy_of(role, s3.settings["bucket"])
        settings = {
            **{f"PIXELFLOW_S3_{name.upper()}": value for name, value in s3.settings.items()},
            "PIXELFLOW_S3_PUBLIC_ENDPOINT_URL": s3.settings["endpoint_url"],
            "PIXELFLOW_S3_PREFIX": PREFIX,
            "PIXELFLOW_UPLOAD_LENGTH": "optional",
            "PIXELFLOW_MAX_SOURCE_BYTES": str(MAX_BYTES),
            "PIXELFLOW_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8",
            "PIXELFLOW_WEBHOOK_ALLOW_HTTP": "true",
        }
        start_processes(servers, settings)
        yield servers


def test_each_process_has_the_rights_that_it_uses_and_no_others(stack: Stack, s3: CheckedS3) -> None:
    with client_of(stack) as client:
        _live(client, s3)
    assert set(s3.refusals) <= {"NoSuchKey"}
    secrets = stack.home.secrets
    roles = {secrets[f"s3_access_key_id_{role}"]: role for role in ROLES}
    used = {(roles[key_id], action, _folder(action, name)) for key_id, action, name in s3.requests}
    granted = {
        (role, action, resource.partition(f"/{PREFIX}")[2].partition("/")[0])
        for role in ROLES
        for each in policy_of(role, "b")
        for action in _listed(each["Action"])
        for resource in _listed(each["Resource"])
    }
    assert used == granted


def _live(client: httpx.Client, s3: CheckedS3) -> None:
    """Let jobs and an asset live from their creation to their deletion."""
    asset = _asset(client)
    overlay = {"id": "marked", "action": "overlay", "image": {"asset": asset}, "format": "png"}
    with receiving() as receiver:
        first = steps.done(client, photo(), steps.resize(), overlay, webhook_url=receiver.url)
        assert first["status"] == "succeeded", first["error"]
        eventually(lambda: receiver.received)
        sent = json.loads(receiver.received[0].body)
    assert steps.download(first["outputs"][0]).status_code == 200
    assert _download_urls(sent), "signed by the controller"
    assert all(httpx.get(url).status_code == 200 for url in _download_urls(sent))
    for source in ({"job": first["job_id"]}, {"job": first["job_id"], "output": "small"}):
        created = client.post("/v1/jobs", json={"source": source, "pipeline": [steps.resize("again")]}).json()
        assert steps.start(client, created).status_code == 202
        again = steps.finished(client, created["job_id"])
        assert again["status"] == "succeeded", again["error"]
    by_itself = client.post("/v1/jobs", json={"auto_start": True, "pipeline": [steps.resize()]}).json()
    steps.upload(by_itself, photo())
    assert steps.finished(client, by_itself["job_id"])["status"] == "succeeded"
    _in_parts(client, s3)
    refused = client.post("/v1/jobs", json={"pipeline": [steps.resize()]}).json()
    steps.upload(refused, bytes(MAX_BYTES + 1))
    assert steps.start(client, refused).status_code == 413
    assert client.delete(f"/v1/assets/{asset}").status_code == 204
    assert client.delete(f"/v1/jobs/{again['job_id']}").status_code == 204
    assert client.delete(f"/v1/jobs/{first['job_id']}").status_code == 204
    gone = (asset, first["job_id"], again["job_id"], refused["job_id"])
    eventually(lambda: not [key for key in s3.objects for each in gone if each in key])


def _in_parts(client: httpx.Client, s3: CheckedS3) -> None:
    """Upload in parts: for a job that is started, one that starts by itself, and one that is erased."""
    content = photo()
    source = {"content_length": len(content), "multipart": True}
    for auto_start in (False, True, None):
        body = {"source": source, "auto_start": bool(auto_start), "pipeline": [steps.resize()]}
        created = client.post("/v1/jobs", json=body).json()
        if auto_start is None:
            assert client.delete(f"/v1/jobs/{created['job_id']}").status_code == 204
            eventually(lambda: not s3.uploads)
            return
        [part] = created["upload"]["multipart"]["parts"]
        assert httpx.put(part["url"], content=content).status_code == 200
        if not auto_start:
            assert steps.start(client, created).status_code == 202
        assert steps.finished(client, created["job_id"])["status"] == "succeeded"


def _asset(client: httpx.Client) -> str:
    content = photo()
    body = {"name": "logo", "source": {"content_length": len(content), "content_type": "image/jpeg"}}
    created = client.post("/v1/assets", json=body).json()
    steps.upload(created, content)
    ready = client.post(created["complete_url"]).json()
    assert httpx.get(ready["download_url"]).content == content
    return str(created["asset_id"])


def _download_urls(event: Any) -> list[str]:  # noqa: ANN401  # JSON
    return [output["download_url"] for output in event["data"]["outputs"]]


def _folder(action: str, name: str) -> str:
    assert name.startswith(PREFIX)
    return "" if action == "s3:ListBucket" else name.removeprefix(PREFIX).partition("/")[0]


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
