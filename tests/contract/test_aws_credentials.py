"""Temporary credentials of AWS: each source, replacement ahead of the end, and what a session's end does to URLs."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import pytest
from structlog.testing import capture_logs
from tests.support.aws_identity import ROLE, AwsIdentity, running_identity
from tests.support.checked_s3 import BUCKET, REGION, CheckedS3, Session, running_s3
from tests.support.waiting import eventually

from pixelflow.adapters.storage.aws_credentials import CredentialsError, CredentialSource, find_source
from pixelflow.adapters.storage.buckets import NamedBuckets
from pixelflow.adapters.storage.interrupts import never
from pixelflow.adapters.storage.objects import ObjectStorage, source_key
from pixelflow.adapters.storage.refreshed_keys import RefreshedKeys, open_aws_keys, refresh_pause, retry_pause
from pixelflow.adapters.storage.signatures import AccessKey, NoAccessKeyError
from pixelflow.errors import DestinationUnavailableError, ObjectsUnavailableError
from pixelflow.settings import Settings
from pixelflow.settings.buckets import NamedBucket

KINDS = ["web_identity", "container", "instance"]
BODY = b"five!"
STATIC = Session("AKIASTATIC", "static-secret")


@pytest.fixture
def s3() -> Iterator[CheckedS3]:
    with running_s3() as server:
        yield server


@pytest.fixture
def identity(s3: CheckedS3, tmp_path: Path) -> Iterator[AwsIdentity]:
    with running_identity(tmp_path, s3.admit) as server:
        yield server
        assert not server.mistakes


def settings_of(s3: CheckedS3, **changed: Any) -> Settings:  # noqa: ANN401  # values of settings
    return Settings.model_validate(
        {
            "database_url": "postgresql://nowhere",
            "redis_url": "redis://nowhere",
            "s3_endpoint_url": s3.url,
            "s3_region": REGION,
            "s3_bucket": BUCKET,
            "s3_credentials": "aws",
            **changed,
        }
    )


class Recorded:
    """Is told each attempt to get an access key."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bool, dt.datetime | None]] = []

    def __call__(self, source: str, *, succeeded: bool, expires_at: dt.datetime | None) -> None:
        self.calls.append((source, succeeded, expires_at))

    def outcomes(self) -> list[bool]:
        return [succeeded for _, succeeded, _ in self.calls]


@contextmanager
def opened(s3: CheckedS3, variables: dict[str, str], recorded: Recorded | None = None) -> Iterator[ObjectStorage]:
    settings = settings_of(s3)
    with open_aws_keys(settings, variables, recorded or Recorded()) as keys:
        storage = ObjectStorage(settings, keys)
        yield storage
        storage.close()


def use_everything(storage: ObjectStorage) -> None:
    """Upload by a URL, find, fetch, store, download by a URL and delete, as all processes do for a job."""
    job_id = uuid4()
    key, output = source_key(job_id), f"{storage.output_prefix('', job_id, 1)}/small.webp"
    signed = storage.sign_upload(key, content_length=len(BODY), content_type="image/jpeg", seconds=600)
    assert httpx.put(signed.url, content=BODY, headers=dict(signed.headers)).status_code == 200
    assert asyncio.run(storage.size_of(key)) == len(BODY)
    file = io.BytesIO()
    storage.fetch(key, file, max_bytes=100)
    assert file.getvalue() == BODY
    storage.store(io.BytesIO(BODY), output, media_type="image/webp")
    url = storage.sign_download(output, media_type="image/webp", file_name="small.webp", seconds=600).url
    assert httpx.get(url).content == BODY
    assert asyncio.run(storage.remove_job(job_id)) == 2
    asyncio.run(storage.ping())
    storage.check()


@pytest.mark.parametrize("kind", KINDS)
def test_each_source_of_aws_opens_the_bucket(s3: CheckedS3, identity: AwsIdentity, kind: str) -> None:
    recorded = Recorded()
    with opened(s3, identity.variables(kind), recorded) as storage:
        use_everything(storage)
    assert s3.refusals == []
    assert recorded.calls == [(kind, True, identity.given[0].ends)]


def test_an_access_key_in_the_environment_opens_the_bucket(s3: CheckedS3) -> None:
    s3.admit(Session("ASIAENV", "env-secret", "env-token"))
    variables = {
        "AWS_ACCESS_KEY_ID": "ASIAENV",
        "AWS_SECRET_ACCESS_KEY": "env-secret",
        "AWS_SESSION_TOKEN": "env-token",
    }
    with opened(s3, variables) as storage:
        use_everything(storage)


def test_a_profile_opens_the_bucket(s3: CheckedS3, tmp_path: Path) -> None:
    s3.admit(Session("AKIAPROFILE", "profile-secret"))
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = x\n"
        "[team]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = profile-secret\n"
    )
    with opened(s3, {"HOME": str(tmp_path), "AWS_PROFILE": "team"}) as storage:
        use_everything(storage)
    default = find_source({"HOME": str(tmp_path)}, region=REGION)
    assert default.fetch().access_key_id == "AKIAOTHER"


def test_a_configured_session_token_is_part_of_each_request(s3: CheckedS3) -> None:
    s3.admit(Session("ASIASET", "set-secret", "set-token"))
    keys = {"s3_credentials": "keys", "s3_access_key_id": "ASIASET", "s3_secret_access_key": "set-secret"}
    use_everything(ObjectStorage(settings_of(s3, **keys, s3_session_token="set-token")))
    without = ObjectStorage(settings_of(s3, **keys))
    with pytest.raises(ObjectsUnavailableError):
        asyncio.run(without.ping())
    assert set(s3.refusals) == {"InvalidToken"}


def test_variables_of_aws_tools_change_no_process_with_keys_of_its_own(
    s3: CheckedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.admit(STATIC)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAOTHER",
        "AWS_SECRET_ACCESS_KEY": "other",
        "AWS_SESSION_TOKEN": "other",
        "AWS_REGION": "us-west-2",
        "AWS_DEFAULT_REGION": "us-west-2",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "AWS_REQUEST_PAYER": "true",
    }.items():
        monkeypatch.setenv(name, value)
    keys = {"s3_access_key_id": STATIC.key_id, "s3_secret_access_key": STATIC.secret}
    use_everything(ObjectStorage(settings_of(s3, s3_credentials="keys", **keys)))
    assert s3.refusals == []


@pytest.mark.parametrize(
    ("variables", "source"),
    [
        pytest.param({}, "instance", id="nothing"),
        pytest.param({"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x"}, "container", id="ECS"),
        pytest.param(
            {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x", "AWS_PROFILE": "p"}, "profile", id="profile before ECS"
        ),
        pytest.param(
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "/x", "AWS_PROFILE": "p"}, "web_identity", id="IRSA before profile"
        ),
        pytest.param(
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "/x", "AWS_ACCESS_KEY_ID": "A"}, "environment", id="variables before IRSA"
        ),
    ],
)
def test_the_order_of_the_sources_is_that_of_aws(variables: dict[str, str], source: str) -> None:
    assert find_source({"HOME": "/nowhere", **variables}, region=REGION).name == source


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"AWS_ACCESS_KEY_ID": "A"}, "AWS_SECRET_ACCESS_KEY is not set"),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/x"}, "AWS_ROLE_ARN is not set"),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere", "AWS_ROLE_ARN": ROLE}, "TOKEN_FILE can't be read"),
        ({"AWS_PROFILE": "p"}, "can't be read"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://evil.example/x"}, "must be https"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/x"}, "does not answer"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}, "does not answer"),
        ({"AWS_EC2_METADATA_DISABLED": "true"}, "gives this process no credentials"),
    ],
)
def test_a_source_that_fails_says_why(variables: dict[str, str], reason: str) -> None:
    with pytest.raises(CredentialsError, match=reason):
        find_source({"HOME": "/nowhere", **variables}, region=REGION).fetch()


def test_sts_is_that_of_the_region() -> None:
    def endpoint(**variables: str) -> str:
        source = find_source({"AWS_WEB_IDENTITY_TOKEN_FILE": "/x", **variables}, region="eu-west-1")
        found: str = source.fetch.args[1]  # type: ignore[attr-defined]
        return found

    assert endpoint() == "https://sts.eu-west-1.amazonaws.com"
    assert endpoint(AWS_REGION="us-east-2") == "https://sts.us-east-2.amazonaws.com"
    assert endpoint(AWS_REGION="cn-north-1") == "https://sts.cn-north-1.amazonaws.com.cn"


def test_a_refused_role_is_named_by_its_code(identity: AwsIdentity) -> None:
    identity_file = Path(identity.token_file)
    identity_file.write_text("the-secret-token-of-another")
    source = find_source(identity.variables("web_identity"), region=REGION)
    with pytest.raises(CredentialsError) as raised:
        source.fetch()
    assert str(raised.value) == "STS refuses the role: AccessDenied"
    assert identity.mistakes == ["sts"]
    identity.mistakes.clear()


# ── Replacement ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
def test_sessions_are_replaced_in_the_middle_of_load_without_a_refused_request(
    s3: CheckedS3, identity: AwsIdentity, kind: str
) -> None:
    identity.lifetime = dt.timedelta(seconds=6)  # half of it must be longer than a busy machine stalls
    enough = threading.Event()

    def load(storage: ObjectStorage) -> int:
        rounds = 0
        while not enough.wait(0.05):  # a load that leaves the processors to others
            use_everything(storage)
            rounds += 1
        return rounds

    with opened(s3, identity.variables(kind)) as storage, ThreadPoolExecutor(3) as threads:
        loads = [threads.submit(load, storage) for _ in range(3)]
        try:
            eventually(lambda: len(identity.given) >= 3 or any(each.done() for each in loads))
            identity.write_token("pod-token-2")
            known = len(identity.given)
            eventually(lambda: len(identity.given) >= known + 2 or any(each.done() for each in loads))
        finally:
            enough.set()
        assert all(each.result() > 0 for each in loads)
    assert s3.refusals == []


def test_a_failing_source_leaves_the_session_in_use_until_it_ends(s3: CheckedS3, identity: AwsIdentity) -> None:
    identity.lifetime = dt.timedelta(seconds=3)
    recorded = Recorded()
    with capture_logs() as logs, opened(s3, identity.variables("container"), recorded) as storage:
        identity.is_down = True
        eventually(lambda: False in recorded.outcomes())
        session_end = identity.given[-1].ends
        assert recorded.calls[-1] == ("container", False, session_end)
        asyncio.run(storage.ping())
        eventually(lambda: _is_unavailable(storage))
        assert session_end is not None
        assert dt.datetime.now(dt.UTC) >= session_end
        with pytest.raises(ObjectsUnavailableError):
            storage.sign_upload("k", content_length=1, content_type=None, seconds=60)
        identity.is_down = False
        eventually(lambda: recorded.outcomes()[-1])
        use_everything(storage)
    warnings = [each for each in logs if each["log_level"] == "warning"]
    assert [each["event"] for each in warnings] == ["storage credentials not refreshed"]
    assert warnings[0]["reason"] == "the container's host gives no credentials: status 503"
    shown = f"{logs!r} {identity.variables('container')}"
    assert not any(each.secret in shown or each.token in shown for each in identity.given)


def _is_unavailable(storage: ObjectStorage) -> bool:
    try:
        storage.check()
    except ObjectsUnavailableError:
        return True
    return False


def test_a_process_starts_without_credentials_and_gets_them_later(s3: CheckedS3, identity: AwsIdentity) -> None:
    identity.is_down = True
    with opened(s3, identity.variables("instance")) as storage:
        assert _is_unavailable(storage)
        with pytest.raises(ObjectsUnavailableError):
            storage.fetch("k", io.BytesIO(), max_bytes=1)
        identity.is_down = False
        eventually(lambda: not _is_unavailable(storage))
        use_everything(storage)


def test_a_session_that_has_ended_is_a_failure_and_no_key(s3: CheckedS3) -> None:
    variables = {
        "AWS_ACCESS_KEY_ID": "ASIA",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "AWS_CREDENTIAL_EXPIRATION": "2026-01-01T00:00:00Z",
    }
    recorded = Recorded()
    with capture_logs() as logs, open_aws_keys(settings_of(s3), variables, recorded) as keys:
        with pytest.raises(NoAccessKeyError):
            keys()
        eventually(lambda: len(recorded.calls) > 1)
    assert set(recorded.outcomes()) == {False}
    assert [(log["event"], log["reason"]) for log in logs] == [
        ("storage credentials not refreshed", "the credentials have ended")
    ]


def test_a_bug_does_not_end_the_thread() -> None:
    answers = iter([AccessKey("k", "s")])

    def fetch() -> AccessKey:
        if not failed:
            failed.append(True)
            raise RuntimeError("https://user:secret@host")
        return next(answers)

    failed: list[bool] = []
    recorded = Recorded()
    keys = RefreshedKeys(CredentialSource("test", fetch), recorded)
    with capture_logs() as logs:
        keys.start()
        eventually(lambda: len(recorded.calls) == 2)
    keys.close()
    assert (recorded.outcomes(), keys().access_key_id) == ([False, True], "k")
    assert (logs[0]["reason"], "secret" in str(logs)) == ("unexpected RuntimeError", False)


def test_half_of_the_remaining_life_is_left_when_a_key_is_replaced() -> None:
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

    def pause(seconds: float) -> float:
        return refresh_pause(AccessKey("k", "s", "t", now + dt.timedelta(seconds=seconds)), now)

    assert [pause(seconds) for seconds in (3600, 60, 1, -5)] == [1800, 30, 1, 1]
    assert refresh_pause(AccessKey("k", "s"), now) == 300
    assert [retry_pause(failures) for failures in (1, 2, 3, 6, 7, 10_000)] == [1, 2, 4, 32, 60, 60]


# ── URLs ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_url_lives_no_longer_than_the_session_that_signed_it(s3: CheckedS3, identity: AwsIdentity) -> None:
    identity.lifetime = dt.timedelta(minutes=10)
    with opened(s3, identity.variables("web_identity")) as storage:
        session_end = identity.given[0].ends
        assert session_end is not None
        short = storage.sign_upload("k", content_length=1, content_type=None, seconds=60)
        long = storage.sign_upload("k", content_length=1, content_type=None, seconds=3600)
        download = storage.sign_download("k", media_type=None, file_name="f", seconds=604_800)
    assert _seconds(short.url) == 60
    assert 590 <= _seconds(long.url) <= 600
    assert 590 <= _seconds(download.url) <= 600
    for signed in (long, download):
        assert dt.timedelta(0) <= session_end - signed.expires_at < dt.timedelta(seconds=2)
    assert parse_qs(urlsplit(long.url).query)["X-Amz-Security-Token"] == [identity.given[0].token]


def _seconds(url: str) -> int:
    return int(parse_qs(urlsplit(url).query)["X-Amz-Expires"][0])


# ── Named buckets ────────────────────────────────────────────────────────────────────────────────


def test_a_named_bucket_can_use_the_credentials_of_aws(s3: CheckedS3, identity: AwsIdentity) -> None:
    bucket = NamedBucket.model_validate(
        {"bucket": BUCKET, "endpoint_url": s3.url, "region": REGION, "prefix": "cdn/", "credentials": "aws"}
    )
    settings = settings_of(
        s3, s3_credentials="keys", s3_access_key_id="A", s3_secret_access_key="b", buckets={"shop": bucket}
    )
    assert settings.uses_aws_credentials
    with open_aws_keys(settings, identity.variables("container")) as keys:
        _store(NamedBuckets(settings.named_buckets, {}, keys))
    assert s3.objects["cdn/a.webp"][0] == BODY
    with pytest.raises(DestinationUnavailableError):
        _store(NamedBuckets(settings.named_buckets, {}))


def _store(buckets: NamedBuckets) -> None:
    sha256 = hashlib.sha256(BODY).hexdigest()
    buckets.store(
        "shop", "a.webp", io.BytesIO(BODY), headers={}, sha256=sha256, job="j", overwrite=False, interrupts=never
    )


def test_no_thread_runs_unless_a_bucket_needs_it(s3: CheckedS3) -> None:
    settings = settings_of(s3, s3_credentials="keys", s3_access_key_id="A", s3_secret_access_key="b")
    with open_aws_keys(settings, {}) as keys:
        assert "storage-credentials" not in {each.name for each in threading.enumerate()}
        with pytest.raises(NoAccessKeyError):
            keys()
