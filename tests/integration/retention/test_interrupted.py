"""A file collector is killed in the middle of a pass: the next one completes its work, and no other file is lost."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.integration.retention.conftest import Scene

from pixelflow.controlplane.retention.gc import LEASE
from pixelflow.devstack.stack import Stack


def kill_in_the_middle(stack: Stack, where: str) -> None:
    """Start a collector, wait until it stalls, and kill it."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.integration.retention.stalled_collector", where],
        env={**os.environ, **stack.environment},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "stalled\n"
        process.kill()


@pytest.mark.parametrize(("where", "removed"), [("before", False), ("after", True)])
async def test_the_next_run_completes_an_interrupted_pass(
    scene: Scene, quiet_stack: Stack, where: str, removed: bool
) -> None:
    expired = [scene.age(scene.put("canceled"), days=11) for _ in range(3)]
    kept = scene.age(scene.succeed(scene.put("queued")), days=9)
    of_kept = scene.keys(kept)
    await scene.rows().run_once()
    kill_in_the_middle(quiet_stack, where)

    assert [bool(scene.keys(job_id)) for job_id in expired] == [not removed] * 3
    assert scene.counts()["pending_deletions"] == 3
    assert await scene.files().run_once() == 0, "the lease is still valid"
    for job_id in expired:
        scene.age(job_id, seconds=LEASE.total_seconds())
    assert await scene.run() == 3
    assert scene.keys() == of_kept
    assert scene.counts()["pending_deletions"] == 0
    assert await scene.run() == 0
