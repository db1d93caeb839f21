"""``pixelflow submit --resume`` on the running service, killed at arbitrary moments."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from PIL import Image
from tests.acceptance.pictures import opened
from tests.acceptance.running import database_url
from tests.support.waiting import eventually

from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.devstack.stack import Stack

PHOTOS = 24


@dataclass(frozen=True)
class Submission:
    """A command that can be run again, and the state of its jobs in the database."""

    command: list[str]
    environment: dict[str, str]
    url: str
    user_id: str

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(self.command, env=self.environment, stderr=subprocess.PIPE, text=True)

    def jobs(self) -> list[tuple[str, str]]:
        """File name and status of every job of the user."""
        with psycopg.connect(self.url, options="-c pixelflow.tenant_scope=everyone") as connection:
            return connection.execute(
                "SELECT metadata ->> 'filename', status FROM jobs WHERE user_id = %s", (self.user_id,)
            ).fetchall()

    def has(self, count: int) -> bool:
        """Whether the user has so many jobs."""
        return len(self.jobs()) >= count


@pytest.fixture
def submission(service: Stack, tmp_path: Path) -> Submission:
    photos = tmp_path / "photos"
    for number in range(PHOTOS):
        path = photos / f"{number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40 + number, 40), (number % 256, 90, 60)).save(path)
    url, user_id = database_url(service), f"user-{uuid4()}"
    key = issue_key(url, user_id=user_id, name="test")
    command = [
        sys.executable,
        "-m",
        "pixelflow",
        "submit",
        photos,
        "--resize",
        "16",
        "--resume",
        "--out",
        tmp_path / "out",
    ]
    environment = os.environ | {"PIXELFLOW_API_URL": service.api_url, "PIXELFLOW_API_KEY": key}
    return Submission([str(part) for part in command], environment, url, user_id)


def test_photos_of_a_command_that_was_killed_twice_are_each_processed_and_downloaded_once(
    submission: Submission, tmp_path: Path
) -> None:
    for count in (PHOTOS // 3, PHOTOS * 2 // 3):
        with submission.start() as process:
            eventually(partial(submission.has, count), 120)
            process.kill()
    with submission.start() as process:
        _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert "were sent before" in errors
    names = sorted(f"{number % 3}/{number}.png" for number in range(PHOTOS))
    assert sorted(submission.jobs()) == [(name, "succeeded") for name in names]
    out = tmp_path / "out"
    files = {path.relative_to(out).as_posix() for path in out.rglob("*.png")}
    assert files == {name.replace(".png", "-16.png") for name in names}
    assert {opened((out / file).read_bytes()).width for file in files} == {16}
    assert {path.name for path in out.iterdir()} == {"0", "1", "2", "pixelflow-manifest.sqlite"}


def test_of_two_commands_at_once_one_is_refused(submission: Submission) -> None:
    with submission.start() as first, submission.start() as second:
        errors = [process.communicate(timeout=300)[1] for process in (first, second)]
        assert sorted(process.returncode for process in (first, second)) == [0, 2], errors
    assert "another `submit --resume` runs with the same manifest" in "".join(errors)
    assert len(submission.jobs()) == PHOTOS
