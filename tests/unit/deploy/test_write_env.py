"""``deploy/write-env`` makes secrets once, for its owner's eyes, and never over others."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from pixelflow.settings import Settings

SCRIPT = Path(__file__).parents[3] / "deploy" / "write-env"


def write(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, path], capture_output=True, text=True, check=False)


def values(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.+)$", path.read_text(), re.MULTILINE))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    assert write(tmp_path / ".env").returncode == 0
    return tmp_path / ".env"


def test_only_its_owner_may_read_it(written: Path) -> None:
    assert written.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_there_is_left_alone(written: Path) -> None:
    before = written.read_text()
    done = write(written)
    assert done.returncode == 1
    assert "nothing was changed" in done.stderr
    assert written.read_text() == before
    assert [path.name for path in written.parent.iterdir()] == [".env"]


def test_no_two_are_alike(written: Path, tmp_path: Path) -> None:
    write(tmp_path / "second")
    first, second = values(written), values(tmp_path / "second")
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())
    assert len(set(first.values())) == len(first)


def test_secrets_are_long_and_need_no_quoting_in_urls(written: Path) -> None:
    for name, value in values(written).items():
        assert len(value) >= 20, name
        assert re.fullmatch(r"[A-Za-z0-9_=-]+", value), name


def test_pixelflow_can_use_them(written: Path) -> None:
    found = values(written)
    settings = Settings.model_validate(
        {
            "database_url": f"postgresql://pixelflow_api:{found['POSTGRES_API_PASSWORD']}@postgres:5432/pixelflow",
            "redis_url": f"redis://api:{found['REDIS_API_PASSWORD']}@valkey:6379/0",
            "s3_endpoint_url": "http://s3:9000",
            "s3_bucket": "pixelflow",
            "s3_access_key_id": found["S3_API_ACCESS_KEY_ID"],
            "s3_secret_access_key": found["S3_API_SECRET_ACCESS_KEY"],
            "secrets_key": found["PIXELFLOW_SECRETS_KEY"],
        }
    )
    assert [len(key) for key in settings.require_secrets_keys()] == [32]
