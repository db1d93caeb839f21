"""The controller process collects garbage according to its settings, and reports it in its metrics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from tests.acceptance.running import wait_for
from tests.integration.retention.conftest import Scene
from tests.support.scraped import Scrape

from pixelflow.adapters.storage.objects import source_key
from pixelflow.devstack.stack import Stack

SET = {
    "PIXELFLOW_METRICS_PORT": "0",
    "PIXELFLOW_LOG_FORMAT": "json",
    "PIXELFLOW_RETENTION_UPLOAD_DAYS": "3",
    "PIXELFLOW_RETENTION_HISTORY_DAYS": "4",
}


@contextmanager
def controller(stack: Stack) -> Iterator[str]:
    """Runs a controller; the URL of its metrics."""
    with subprocess.Popen(
        [sys.executable, "-m", "pixelflow", "controller"],
        env={**os.environ, **stack.environment, **SET},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        try:
            lines = (json.loads(line) for line in process.stderr)
            served = next(line for line in lines if line["event"] == "metrics served")
            # Else a controller that has much to log would wait for a reader.
            reader = threading.Thread(target=lambda: deque(lines, maxlen=0), daemon=True)
            reader.start()
            yield f"http://{served['address']}:{served['port']}/metrics"
            process.terminate()
            reader.join()
        finally:
            process.kill()


async def test_the_controller_collects_garbage_and_counts_it(scene: Scene, quiet_stack: Stack) -> None:
    never_started = scene.age(scene.put("created"), days=3.1)
    waits = scene.age(scene.put("created"), days=2.9)
    retried = scene.age(scene.hand_back(scene.put("queued")), days=4.1)
    with controller(quiet_stack) as url:

        def removed() -> dict[str, float]:
            return Scrape(httpx.get(url).text).by("kind", "pixelflow_retention_removed_total")

        # At least: earlier tests of these servers may have left some.
        wait_for(lambda: all(removed().get(kind, 0) >= 1 for kind in ("upload", "orphan", "attempt")), 15)
        wait_for(lambda: not scene.keys(never_started), 15)
    assert scene.keys() == {source_key(waits), source_key(retried)}
