"""A remover that is killed in the middle loses nothing that should stay, and the next one completes its work."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.integration.retention.conftest import Scene

from pixelflow.controlplane.retention.remover import PATIENCE
from pixelflow.devstack.stack import Stack


def kill_one_in_the_middle(stack: Stack, where: str) -> None:
    """Start a remover, wait until it has got there, and kill it."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.integration.retention.stalled_remover", where],
        env={**os.environ, **stack.environment},
        stdout=subprocess.PIPE,
        text=True,
    ) as remover:
        assert remover.stdout
        assert remover.stdout.readline() == "stalled\n"
        remover.kill()


@pytest.mark.parametrize(("where", "removed"), [("before", False), ("after", True)])
async def test_a_remover_that_is_killed_is_succeeded(
    scene: Scene, quiet_stack: Stack, where: str, removed: bool
) -> None:
    expired = [scene.age(scene.put("canceled"), days=11) for _ in range(3)]
    kept = scene.age(scene.succeed(scene.put("queued")), days=9)
    of_kept = scene.keys(kept)
    await scene.expirer().run_once()
    kill_one_in_the_middle(quiet_stack, where)

    assert [bool(scene.keys(job_id)) for job_id in expired] == [not removed] * 3
    assert scene.counts()["removals"] == 3, "not struck out"
    assert await scene.remover().run_once() == 0, "somebody may still be at it"
    for job_id in expired:
        scene.age(job_id, seconds=PATIENCE.total_seconds())
    assert await scene.run() == 3
    assert scene.keys() == of_kept
    assert scene.counts()["removals"] == 0
    assert await scene.run() == 0
