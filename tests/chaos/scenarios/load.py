"""Load of a scenario: users of its cluster, whose jobs start at a steady rate and whose responses are counted."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from tests.chaos.cluster import Cluster
from tests.chaos.pictures import make_pictures
from tests.chaos.plan import Picture

from pixelflow.controlplane.keys.admin import issue_key

THREADS = 8
RETRY_SECONDS = 120.0
PAUSE_SECONDS = 0.5
THUMB = [{"id": "thumb", "action": "resize", "width": 120, "format": "webp"}]


@dataclass
class User:
    """A user with an API key. Thread-safe."""

    cluster: Cluster
    name: str
    files: Mapping[Picture, bytes]
    statuses: Counter[int] = field(default_factory=Counter)
    """Responses of the APIs by status."""
    longest_call_seconds: float = 0.0
    """The longest time until an API responded."""

    def __post_init__(self) -> None:
        key = issue_key(self.cluster.environment["PIXELFLOW_DATABASE_URL"], user_id=self.name, name="chaos")
        self._client = httpx.Client(timeout=30, headers={"Authorization": f"Bearer {key}"})
        self._uploads = httpx.Client(timeout=30)
        self._lock = threading.Lock()

    def create(self, steps: list[dict[str, Any]] = THUMB, picture: Picture = Picture.SMALL) -> str:
        """Create a job and upload its source."""
        body = {"source": {"content_length": len(self.files[picture])}, "pipeline": steps}
        created = self._post("/v1/jobs", json=body).raise_for_status().json()
        upload = created["upload"]
        self._uploads.put(
            upload["presigned_put_url"], content=self.files[picture], headers=upload["headers"]
        ).raise_for_status()
        return str(created["job_id"])

    def create_local(self, source: Path, steps: list[dict[str, Any]]) -> str:
        """Create a job whose source is a local file."""
        body = {"source_type": "local_file", "object_key": str(source), "pipeline": steps}
        return str(self._post("/v1/jobs", json=body).raise_for_status().json()["job_id"])

    def start(self, job_id: str) -> None:
        """Start a job. While the API is unavailable, repeat the request, as a client does."""
        deadline = time.monotonic() + RETRY_SECONDS
        while (answer := self._post(f"/v1/jobs/{job_id}/start")).is_server_error and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)
        answer.raise_for_status()

    def submit(self, steps: list[dict[str, Any]] = THUMB, picture: Picture = Picture.SMALL) -> str:
        """Create a job, upload its source, start it."""
        job_id = self.create(steps, picture)
        self.start(job_id)
        return job_id

    @property
    def server_errors(self) -> list[str]:
        """The responses of the APIs with 5xx, for the report."""
        return [f"{count} responses with {status}" for status, count in self.statuses.items() if status >= 500]

    def _post(self, path: str, **content: Any) -> httpx.Response:  # noqa: ANN401 - as httpx
        began = time.monotonic()
        answer = self._client.post(random.choice(self.cluster.api_urls) + path, **content)  # noqa: S311 - spreads calls
        with self._lock:
            self.statuses[answer.status_code] += 1
            self.longest_call_seconds = max(self.longest_call_seconds, time.monotonic() - began)
        return answer


def new_user(cluster: Cluster, name: str = "chaos") -> User:
    """Create a user with files to upload."""
    return User(cluster, name, make_pictures(seed=1))


class Load:
    """Calls ``call(0)``, ``call(1)`` … in threads, at a steady rate, while the context lasts."""

    def __init__(self, call: Callable[[int], object], *, per_second: float, count: int | None = None) -> None:
        """Prepare the threads; ``count``: number of calls, or None for calls until the context ends."""
        self.failures: list[str] = []
        """Calls that raised an exception."""
        self._call = call
        self._per_second = per_second
        self._numbers = iter(range(count)) if count is not None else itertools.count()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(THREADS)]
        self._began = 0.0

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def is_over(self) -> bool:
        """Whether all calls have returned."""
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                number = next(self._numbers, None)
            if number is None or self._stop.wait(max(0.0, self._began + number / self._per_second - time.monotonic())):
                return
            try:
                self._call(number)
            except httpx.HTTPError as error:
                self.failures.append(f"call {number}: {error}")
