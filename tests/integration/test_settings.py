"""A process with invalid settings reports one message per setting, without secrets."""

from __future__ import annotations

import base64
import subprocess
import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.acceptance.running import PIXELFLOW

from pixelflow.adapters.postgres.migrate import migrate
from pixelflow.cli.server_settings import load_settings
from pixelflow.errors import StoreUnavailableError
from pixelflow.settings import Settings, SettingsError, load

SECRET = "hush-hush-hush"
VALID = {
    "PIXELFLOW_DATABASE_URL": f"postgresql://user:{SECRET}@db:5432/pixelflow",
    "PIXELFLOW_REDIS_URL": f"redis://:{SECRET}@redis:6379/0",
    "PIXELFLOW_S3_ENDPOINT_URL": "http://s3:9000/",
    "PIXELFLOW_S3_BUCKET": "pixelflow",
    "PIXELFLOW_S3_ACCESS_KEY_ID": "key",
    "PIXELFLOW_S3_SECRET_ACCESS_KEY": SECRET,
}

UNREADABLE_POSTGRES = [
    f"postgresql://user:{SECRET}/x@db:5432/pixelflow",
    f"postgresql://user:{SECRET}#x@db:5432/pixelflow",
    f"postgresql://user:{SECRET}?x@db:5432/pixelflow",
    f"postgresql://user:[{SECRET}@db:5432/pixelflow",
    f"postgresql://user:x@{SECRET}@db:5432/pixelflow",
    f"postgresql://user:{SECRET}%zz@db:5432/pixelflow",
    f"postgresql://user:{SECRET} @db:5432/pixelflow",
    f"postgresql://user:{SECRET}@db:5432x/pixelflow",
    f"postgresql://user:{SECRET}@db:99999/pixelflow",
    f"postgresql://user:{SECRET}@db/pixelflow?sslmod=require",
    f"postgresql://user:{SECRET}@one:5432,two:5432/pixelflow",
    f"postgresql://user:{SECRET}@one,two/pixelflow",
]
UNREADABLE_REDIS = [
    f"redis://:{SECRET}/x@redis:6379/0",
    f"redis://:/{SECRET}@redis:6379/0",
    f"redis://:#{SECRET}@redis:6379/0",
    f"redis://:?{SECRET}@redis:6379/0",
    f"redis://:[{SECRET}@redis:6379/0",
    f"redis://:{SECRET}@redis:port/0",
    f"redis://:{SECRET}@redis/zero",
    f"redis://:{SECRET}@",
    "unix://",
]
UNREADABLE_S3 = [
    f"http://key:{SECRET}@s3:9000",
    f"http://s3:9000/?token={SECRET}",
    f"http://s3:9000/#{SECRET}",
    f"http://s3:{SECRET}",
    "http://",
    "http://s3:9000\n",
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"PIXELFLOW_{name.upper()}", raising=False)
    for name, value in VALID.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def _error_message() -> str:
    with pytest.raises(SettingsError) as raised:
        load()
    assert SECRET not in str(raised.value)
    return str(raised.value)


def test_the_required_settings_are_sufficient() -> None:
    settings = load()
    assert settings.public_endpoint_url == settings.s3_endpoint_url == "http://s3:9000"
    assert SECRET not in repr(settings) + str(settings)


@pytest.mark.parametrize("name", VALID)
def test_each_missing_setting_is_named(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(name)
    assert _error_message().startswith(f"{name} is not set. Description: ")
    assert _error_message().count("\n") == 0


def test_all_missing_settings_are_named_at_once(environment: pytest.MonkeyPatch) -> None:
    for name in VALID:
        environment.delenv(name)
    assert sorted(line.partition(" ")[0] for line in _error_message().splitlines()) == sorted(VALID)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PIXELFLOW_DATABASE_URL", f"mysql://user:{SECRET}@db/pixelflow"),
        ("PIXELFLOW_DATABASE_URL", SECRET),
        ("PIXELFLOW_DATABASE_URL", ""),
        ("PIXELFLOW_REDIS_URL", f"http://:{SECRET}@redis"),
        ("PIXELFLOW_S3_ENDPOINT_URL", "s3:9000"),
        ("PIXELFLOW_S3_PUBLIC_ENDPOINT_URL", "ftp://s3"),
        *(("PIXELFLOW_DATABASE_URL", url) for url in UNREADABLE_POSTGRES),
        *(("PIXELFLOW_REDIS_URL", url) for url in UNREADABLE_REDIS),
        *(("PIXELFLOW_S3_ENDPOINT_URL", url) for url in UNREADABLE_S3),
        ("PIXELFLOW_API_PORT", "0"),
        ("PIXELFLOW_API_PORT", "http"),
        ("PIXELFLOW_MAX_SOURCE_BYTES", "-1"),
        ("PIXELFLOW_MAX_SOURCE_PIXELS", "0"),
        ("PIXELFLOW_LEASE_SECONDS", "0"),
        ("PIXELFLOW_LEASE_SECONDS", "nan"),
        ("PIXELFLOW_MAX_ATTEMPTS", "0"),
        ("PIXELFLOW_JOB_TIMEOUT_SECONDS", "soon"),
        ("PIXELFLOW_WORKER_CONCURRENCY", "0"),
        ("PIXELFLOW_WORKER_MAX_ACTIVE_JOBS", "1000"),
        ("PIXELFLOW_WORKER_CHILD_MEMORY_BYTES", "1"),
        ("PIXELFLOW_TRUSTED_PROXIES", "10.0.0.0/8,10.0.0.1/8"),
        ("PIXELFLOW_TRUSTED_PROXIES", "*"),
        ("PIXELFLOW_RATE_LIMIT_ENABLED", "perhaps"),
        ("PIXELFLOW_RATE_LIMIT_CAPACITY", "0"),
        ("PIXELFLOW_RATE_LIMIT_WINDOW_SECONDS", "0.5"),
        ("PIXELFLOW_RATE_LIMIT_WITHOUT_REDIS", "queue"),
        ("PIXELFLOW_LOCAL_ROOTS", "relative/folder"),
        ("PIXELFLOW_LOCAL_ROOTS", "/does/not/exist"),
        ("PIXELFLOW_LOCAL_ROOTS", "/etc/passwd"),
        ("PIXELFLOW_LOG_FORMAT", "xml"),
        ("PIXELFLOW_LOG_LEVEL", "loud"),
    ],
)
def test_each_invalid_setting_is_named(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    assert _error_message().startswith(f"{name} is not valid: ")
    assert _error_message().count("\n") == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PIXELFLOW_DATABASE_URL", f"postgres://user:{SECRET}%40%2F@db/pixelflow?sslmode=require"),
        ("PIXELFLOW_DATABASE_URL", "postgresql://[::1]:5432/pixelflow"),
        ("PIXELFLOW_DATABASE_URL", "postgresql:///pixelflow?host=/run/postgresql"),
        ("PIXELFLOW_REDIS_URL", f"rediss://user:{SECRET}%40@redis"),
        ("PIXELFLOW_REDIS_URL", "redis://redis:6379/12?socket_keepalive=yes"),
        ("PIXELFLOW_REDIS_URL", "unix:///run/valkey.sock?db=1"),
        ("PIXELFLOW_S3_ENDPOINT_URL", "https://gateway.example/s3"),
    ],
)
def test_each_valid_form_of_a_url_is_accepted_unchanged(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    kept = getattr(load(), name.removeprefix("PIXELFLOW_").lower())
    assert (kept if isinstance(kept, str) else kept.get_secret_value()) == value


@pytest.mark.parametrize("url", [f"postgresql://user:{SECRET}%zz@db/pixelflow", f"postgresql://user:{SECRET}@db:x/p"])
def test_migrating_with_an_invalid_url_does_not_show_it(url: str) -> None:
    with pytest.raises(StoreUnavailableError) as raised:
        migrate(url)
    assert SECRET not in "".join(traceback.format_exception(raised.value))


def test_more_transforms_than_threads_are_refused(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PIXELFLOW_WORKER_CONCURRENCY", "2")
    environment.setenv("PIXELFLOW_WORKER_MAX_ACTIVE_JOBS", "3")
    assert "PIXELFLOW_WORKER_CONCURRENCY must be at least PIXELFLOW_WORKER_MAX_ACTIVE_JOBS" in _error_message()


@pytest.mark.parametrize("wrong", ["relative/folder", "/does/not/exist", "/etc/passwd"])
def test_the_local_root_that_is_not_a_directory_is_named(
    environment: pytest.MonkeyPatch, tmp_path: Path, wrong: str
) -> None:
    environment.setenv("PIXELFLOW_LOCAL_ROOTS", f"{tmp_path}:{wrong}")
    assert f"must list existing directories by their absolute paths; '{wrong}' is not one." in _error_message()
    assert str(tmp_path) not in _error_message()


@pytest.mark.parametrize("key", [b"", b"k" * 31, b"k" * 33, "", base64.urlsafe_b64encode(b"k" * 31).decode(), "§"])
def test_a_secrets_key_of_another_length_is_refused(key: bytes | str) -> None:
    with pytest.raises(ValidationError, match="must be 32 bytes in URL-safe base64"):
        Settings(secrets_key=key)


@pytest.mark.parametrize("key", [b"k" * 32, base64.urlsafe_b64encode(b"k" * 32).decode()])
def test_a_secrets_key_is_accepted_as_bytes_and_in_base64(key: bytes | str) -> None:
    kept = Settings(secrets_key=key).secrets_key
    assert kept is not None
    assert [each.get_secret_value() for each in kept] == [b"k" * 32]


def test_symlinks_in_local_roots_are_resolved(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    environment.setenv("PIXELFLOW_LOCAL_ROOTS", f"{tmp_path}/link:{tmp_path}")
    assert load().local_roots == (tmp_path / "real", tmp_path)


def test_trusted_proxies_are_separated_by_commas(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PIXELFLOW_TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8,192.0.2.7")
    assert list(map(str, load().trusted_proxies)) == ["10.0.0.0/8", "fd00::/8", "192.0.2.7/32"]


def test_requests_are_rate_limited_by_default(environment: pytest.MonkeyPatch) -> None:
    assert load().rate_limit_enabled
    environment.setenv("PIXELFLOW_RATE_LIMIT_ENABLED", "false")
    assert not load().rate_limit_enabled


@pytest.mark.parametrize("role", ["api", "worker", "controller"])
def test_no_process_starts_with_invalid_settings(environment: pytest.MonkeyPatch, role: str) -> None:
    environment.delenv("PIXELFLOW_S3_BUCKET")
    environment.setenv("PIXELFLOW_DATABASE_URL", f"mysql://user:{SECRET}@db/pixelflow")
    ended = subprocess.run([*PIXELFLOW, role], capture_output=True, text=True, timeout=300, check=False)
    output = ended.stdout + ended.stderr
    assert ended.returncode not in {0, -6}
    assert "PIXELFLOW_S3_BUCKET is not set" in output
    assert "PIXELFLOW_DATABASE_URL is not valid" in output
    assert "Traceback" not in output
    assert SECRET not in output


@pytest.mark.parametrize("role", ["api", "controller"])
def test_the_missing_key_of_secrets_is_named_with_all_other_faults(environment: pytest.MonkeyPatch, role: str) -> None:
    environment.delenv("PIXELFLOW_S3_BUCKET")
    environment.setenv("PIXELFLOW_API_PORT", "web")
    environment.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    ended = subprocess.run([*PIXELFLOW, role], capture_output=True, text=True, timeout=300, check=False)
    for fault in (
        "PIXELFLOW_S3_BUCKET is not set",
        "PIXELFLOW_API_PORT is not valid",
        "PIXELFLOW_SECRETS_KEY is not set",
        "OTEL_TRACES_EXPORTER is not valid",
    ):
        assert fault in ended.stderr


def test_a_misspelt_setting_is_named_beside_the_one_that_is_missing(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("PIXELFLOW_DATABASE_URL")
    environment.setenv("PIXELFLOW_DATABSE_URL", f"postgresql://user:{SECRET}@db:5432/pixelflow")
    assert _error_message().startswith("PIXELFLOW_DATABASE_URL is not set; rename PIXELFLOW_DATABSE_URL. ")


def test_faults_of_one_setting_and_between_settings_are_named_at_once(environment: pytest.MonkeyPatch) -> None:
    for name, value in {
        "API_PORT": "web",
        "REDIS_URL": "redis:6379",
        "JWT_ISSUER": "https://issuer.example",
        "JWT_JWKS_URL": "issuer.example",
        "WORKER_CONCURRENCY": "1",
        "WORKER_MAX_ACTIVE_JOBS": "2",
        "RETENTION_JOB_DAYS": "2",
        "RETENTION_SOURCE_DAYS": "3",
    }.items():
        environment.setenv(f"PIXELFLOW_{name}", value)
    assert [line.partition(":")[0] for line in _error_message().splitlines()] == [
        (
            "PIXELFLOW_WORKER_CONCURRENCY must be at least PIXELFLOW_WORKER_MAX_ACTIVE_JOBS; "
            "otherwise some slots are never used."
        ),
        "PIXELFLOW_JWT_ISSUER requires PIXELFLOW_JWT_AUDIENCE",
        "PIXELFLOW_RETENTION_SOURCE_DAYS must be at most PIXELFLOW_RETENTION_JOB_DAYS",
        "PIXELFLOW_API_PORT is not valid",
        "PIXELFLOW_REDIS_URL is not valid",
        "PIXELFLOW_JWT_JWKS_URL is not valid",
    ]


def test_an_unknown_setting_is_noticed_when_a_process_starts(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("PIXELFLOW_RETENTION_JOBS_DAYS", "30")
    environment.setenv("PIXELFLOW_ZZZ", "1")
    with load_settings():
        pass
    assert capsys.readouterr().err.splitlines() == [
        "Warning: PIXELFLOW_RETENTION_JOBS_DAYS is not a setting; did you mean PIXELFLOW_RETENTION_JOB_DAYS?",
        "Warning: PIXELFLOW_ZZZ is not a setting and has no effect",
    ]
