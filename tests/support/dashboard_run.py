"""Runs PixelFlow under mixed load with a Prometheus, and draws the dashboard of the run.

    python -m tests.support.dashboard_run docs/dashboard.png --seconds 180

Everything runs on the loopback interface, for a limited time, and is stopped by this process.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from tests.acceptance import job_steps as steps
from tests.acceptance.running import children, database_url, process_of, service_with
from tests.support import prometheus
from tests.support.dashboard_picture import Window, draw
from tests.support.webhook_receiver import Reply, receiving

from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.devstack.stack import Stack

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
PHOTO = ROOT / "examples" / "photo.jpg"
SCRAPE_SECONDS = 2
USERS = {"acme": 8, "beech-street": 4, "cobalt": 3, "dora": 1}
"""User → number of jobs in each burst."""
FLOOD = (0.35, 0.55)
"""Fractions of the run between which all users send large pictures as fast as possible."""
LIMITED = {"acme": 60}
"""User → rate limit, low enough to be exceeded."""
WIDTHS, LARGE = [160, 320, 640], [1280, 1600]
REFUSES_ONE_IN = 12
KILL_SECONDS = 30
REPLIES = [*[Reply()] * 12, Reply(500), *[Reply()] * 12, Reply(500), *[Reply()] * 12, Reply(410)]


class Load:
    """Clients of all users, each of which sends one job after the other."""

    def __init__(self, stack: Stack, webhook_url: str, *, seed: int) -> None:
        self._stack = stack
        self._webhook_url = webhook_url
        self._random = random.Random(seed)  # noqa: S311  # not secret
        self._photo = PHOTO.read_bytes()
        self._over, self._flood = threading.Event(), threading.Event()

    def run(self, seconds: float) -> None:
        """Send jobs for ``seconds``, at times more than the worker can process, and kill its children now and then."""
        threads = [threading.Thread(target=self._send, args=(user,)) for user in USERS]
        for thread in threads:
            thread.start()
        self._disturb(seconds)
        self._over.set()
        for thread in threads:
            thread.join()

    def _disturb(self, seconds: float) -> None:
        since, kills = time.monotonic(), 0
        while (passed := time.monotonic() - since) < seconds:
            (self._flood.set if FLOOD[0] <= passed / seconds < FLOOD[1] else self._flood.clear)()
            if passed > KILL_SECONDS * (kills + 1):
                kills += 1
                self._kill()
            self._over.wait(0.5)

    def _kill(self) -> None:
        for child in children(process_of(self._stack, "worker")):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)

    def _send(self, user: str) -> None:
        key = issue_key(database_url(self._stack), user_id=user, name="load", rate_limit=LIMITED.get(user))
        with httpx.Client(
            base_url=self._stack.api_url, headers={"Authorization": f"Bearer {key}"}, timeout=30
        ) as client:
            while not self._over.is_set():
                self._burst(client, USERS[user])
                self._over.wait(0 if self._flood.is_set() else 4)

    def _burst(self, client: httpx.Client, jobs: int) -> None:
        for _ in range(jobs):
            widths = LARGE if self._flood.is_set() else WIDTHS
            source = b"no picture" if self._random.randrange(REFUSES_ONE_IN) == 0 else self._photo
            formats = self._random.sample(["jpeg", "webp", "avif", "png"], self._random.choice([1, 1, 2]))
            pipeline = [steps.resize(each, width=self._random.choice(widths), format=each) for each in formats]
            body = {"source": {"content_length": len(source)}, "pipeline": pipeline, "webhook_url": self._webhook_url}
            created = client.post("/v1/jobs", json=body)
            if created.status_code == httpx.codes.ACCEPTED:
                steps.upload(created.json(), source)
                client.post(created.json()["start_url"])
                client.get(f"/v1/jobs/{created.json()['job_id']}")


def main() -> None:
    """Run the load and draw the dashboard."""
    parser = argparse.ArgumentParser(description="Draw the dashboard of a run under load.")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    settings = {
        "PIXELFLOW_WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8",
        "PIXELFLOW_WEBHOOK_ALLOW_HTTP": "true",
        "PIXELFLOW_RATE_LIMIT_ENABLED": "true",
        "PIXELFLOW_RATE_LIMIT_CAPACITY": "1000000",
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        receiving(*REPLIES * 50) as receiver,
        service_with(settings) as stack,
    ):
        targets = {f"pixelflow-{role}": [urlsplit(url).netloc] for role, url in stack.metrics_urls.items()}
        with prometheus.scraping(targets, Path(folder), rules=[RULES], seconds=SCRAPE_SECONDS) as server:
            since = time.time()
            Load(stack, receiver.url, seed=options.seed).run(options.seconds)
            window = Window(since, time.time(), step=SCRAPE_SECONDS, rate="20s")
            draw(server, window, options.picture)


if __name__ == "__main__":
    main()
