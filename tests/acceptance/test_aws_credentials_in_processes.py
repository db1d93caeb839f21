"""API, worker and controller with the credentials of a role, which end every few seconds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import httpx
import pytest
from tests.acceptance import job_steps as steps
from tests.acceptance.pictures import photo
from tests.acceptance.running import client_of, service_with
from tests.support.aws_identity import AwsIdentity, running_identity
from tests.support.checked_s3 import BUCKET, REGION, CheckedS3, running_s3
from tests.support.waiting import eventually

from pixelflow.devstack.stack import Stack


@pytest.fixture(scope="module")
def s3() -> Iterator[CheckedS3]:
    with running_s3() as server:
        yield server


@pytest.fixture(scope="module")
def identity(s3: CheckedS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsIdentity]:
    with running_identity(tmp_path_factory.mktemp("identity"), s3.admit) as server:
        server.lifetime = dt.timedelta(seconds=8)
        yield server


@pytest.fixture(scope="module")
def stack(s3: CheckedS3, identity: AwsIdentity) -> Iterator[Stack]:
    settings = {
        "PIXELFLOW_LOG_LEVEL": "debug",
        "PIXELFLOW_S3_ENDPOINT_URL": s3.url,
        "PIXELFLOW_S3_PUBLIC_ENDPOINT_URL": s3.url,
        "PIXELFLOW_S3_REGION": REGION,
        "PIXELFLOW_S3_BUCKET": BUCKET,
        "PIXELFLOW_S3_CREDENTIALS": "aws",
        "PIXELFLOW_S3_ACCESS_KEY_ID": "",
        "PIXELFLOW_S3_SECRET_ACCESS_KEY": "",
        "PIXELFLOW_BUCKETS": "",  # the stack's own bucket is opened by the two above
        **identity.variables("web_identity"),
    }
    with service_with(settings) as running:
        yield running


def test_jobs_succeed_while_each_process_replaces_its_session(
    stack: Stack, s3: CheckedS3, identity: AwsIdentity
) -> None:
    with client_of(stack) as client:
        while len(identity.given) < 9:  # three processes, each with its third session
            job = steps.done(client, photo(), steps.resize(format="webp"))
            assert job["status"] == "succeeded", job["error"]
            assert steps.download(job["outputs"][0]).status_code == 200
        assert client.delete(f"/v1/jobs/{job['job_id']}").status_code == 204
        eventually(lambda: not [key for key in s3.objects if job["job_id"] in key])
        created = steps.create(client)
        assert "X-Amz-Security-Token=" in created["upload"]["presigned_put_url"]
        ends = dt.datetime.fromisoformat(created["upload"]["expires_at"])
        assert ends - dt.datetime.now(dt.UTC) <= identity.lifetime, "not the hour of the setting"
    assert s3.refusals == []
    assert identity.mistakes == []


def test_logs_and_metrics_show_the_sessions_and_none_of_their_secrets(stack: Stack, identity: AwsIdentity) -> None:
    logs = "".join(path.read_text(errors="replace") for path in (stack.home.path / "logs").glob("*"))
    assert logs.count("storage credentials refreshed") >= 3
    metrics = [httpx.get(url).text for url in stack.metrics_urls.values()]
    assert len(metrics) == 3
    for each in metrics:
        assert 'pixelflow_storage_credentials_refreshes_total{outcome="succeeded",source="web_identity"}' in each
        assert 'pixelflow_storage_credentials_end_timestamp_seconds{source="web_identity"}' in each
    secrets = [identity.pod_token, *(part for each in identity.given for part in (each.secret, each.token))]
    assert not [secret for secret in secrets if secret in logs + "".join(metrics)]
