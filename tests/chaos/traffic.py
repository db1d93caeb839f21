"""Traffic: clients that submit jobs, retry like a well-behaved client, and record what the API acknowledged.

They use only the API, never the database or the processes behind it.
"""

from __future__ import annotations

import itertools
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from tests.chaos.plan import ClientAction, Picture, PlannedJob
from tests.chaos.receivers import Receivers

THREADS = 12
RETRY_SECONDS = 200.0
"""How long a client retries a call. After an API process dies during a request, its ``Idempotency-Key`` stays claimed
for a minute, and the next process may die during the same request too."""
PAUSE_SECONDS = (0.1, 0.6)
TIMEOUT_SECONDS = 15.0
STEPS: Mapping[Picture, list[dict[str, Any]]] = {
    Picture.SMALL: [{"id": "thumb", "action": "resize", "width": 120, "format": "webp"}],
    Picture.LARGE: [
        {"id": "hero", "action": "resize", "width": 1600, "format": "jpeg"},
        {"id": "tile", "from": "hero", "action": "resize", "width": 1400, "format": "avif"},
    ],
}


def steps_of(picture: Picture) -> list[dict[str, Any]]:
    """Return the pipeline for this kind of picture."""
    return STEPS.get(picture, STEPS[Picture.SMALL])


class GaveUpError(Exception):
    """A client exceeded its retry time or got an unexpected response."""


@dataclass
class JobRecord:
    """A planned job from its client's point of view. A flag is set only when a response acknowledged it."""

    plan: PlannedJob
    job_id: str | None = None
    started: bool = False
    cancel_sent: bool = False
    canceled: bool = False
    retry_sent: bool = False
    retried: bool = False
    erase_sent: bool = False
    erased: bool = False
    calls: int = 0
    retries: int = 0
    failure: str | None = None
    """Why the client gave up."""


@dataclass
class Traffic:
    """All clients, each in its own thread."""

    run: str
    """Identifies the run in ``Idempotency-Key`` and metadata."""
    jobs: Sequence[PlannedJob]
    api_urls: Sequence[str]
    api_key: str
    files: Mapping[Picture, bytes]
    receivers: Receivers
    records: list[JobRecord] = field(default_factory=list)
    _waiting: queue.SimpleQueue[JobRecord] = field(default_factory=queue.SimpleQueue)
    _threads: list[threading.Thread] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _began: float = 0.0

    def begin(self) -> None:
        """Start the clock of the plan."""
        self._began = time.monotonic()
        self.records = [JobRecord(job) for job in self.jobs]
        for record in self.records:
            self._waiting.put(record)
        self._threads = [threading.Thread(target=self._work, args=(n,), name=f"client-{n}") for n in range(THREADS)]
        for thread in self._threads:
            thread.start()

    @property
    def is_over(self) -> bool:
        """Whether all clients have finished."""
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Make the clients give up."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=TIMEOUT_SECONDS * 2)

    def _work(self, number: int) -> None:
        chance = random.Random(number)  # noqa: S311 - spreads the pauses
        with httpx.Client(timeout=TIMEOUT_SECONDS) as client:
            while not self._stop.is_set():
                try:
                    record = self._waiting.get_nowait()
                except queue.Empty:
                    return
                self._stop.wait(self._began + record.plan.at - time.monotonic())
                self._run_client(JobClient(self, client, record, chance), record)

    def _run_client(self, job_client: JobClient, record: JobRecord) -> None:
        try:
            job_client.run()
        except GaveUpError as error:
            record.failure = str(error)

    def pause(self, seconds: float) -> None:
        """Wait, or raise GaveUpError if the run is being stopped."""
        if self._stop.wait(seconds):
            raise GaveUpError("the run was stopped")


@dataclass
class JobClient:
    """The client of one job."""

    traffic: Traffic
    http: httpx.Client
    record: JobRecord
    chance: random.Random

    def run(self) -> None:
        """Create, upload and start the job, then perform the planned action."""
        created = self._create()
        self.record.job_id = created["job_id"]
        self._upload(created["upload"])
        self._start()
        self.traffic.pause(self.record.plan.action_delay)
        steps: dict[ClientAction, list[Callable[[], None]]] = {
            ClientAction.WAIT: [],
            ClientAction.CANCEL: [self._cancel],
            ClientAction.RETRY: [self._cancel, self._retry],
            ClientAction.ERASE: [self._erase],
        }
        for step in steps[self.record.plan.action]:
            step()

    def _create(self) -> dict[str, Any]:
        plan = self.record.plan
        body = {
            "source": {"content_length": len(self.traffic.files[plan.picture])},
            "pipeline": steps_of(plan.picture),
            "webhook_url": self.traffic.receivers.url(plan.behavior),
            "metadata": {"run": self.traffic.run, "number": str(plan.number)},
        }
        answer: dict[str, Any] = self._call("create", "POST", "/v1/jobs", {202}, body).json()
        return answer

    def _upload(self, upload: dict[str, Any]) -> None:
        content = self.traffic.files[self.record.plan.picture]
        self._until_answered(
            "upload",
            lambda: self.http.put(upload["presigned_put_url"], content=content, headers=upload["headers"]),
            {200},
        )

    def _start(self) -> None:
        self._call("start", "POST", f"/v1/jobs/{self.record.job_id}/start", {202, 409})
        self.record.started = True

    def _cancel(self) -> None:
        self.record.cancel_sent = True
        answer = self._call("cancel", "POST", f"/v1/jobs/{self.record.job_id}/cancel", {200, 409})
        self.record.canceled = answer.status_code == httpx.codes.OK

    def _retry(self) -> None:
        self.record.retry_sent = True
        answer = self._call("retry", "POST", f"/v1/jobs/{self.record.job_id}/retry", {202, 409})
        self.record.retried = answer.status_code == httpx.codes.ACCEPTED

    def _erase(self) -> None:
        self.record.erase_sent = True
        self._call("erase", "DELETE", f"/v1/jobs/{self.record.job_id}", {204, 404})
        self.record.erased = True

    def _call(
        self, what: str, method: str, path: str, wanted: set[int], body: dict[str, Any] | None = None
    ) -> httpx.Response:
        """Call the APIs in turn, with one ``Idempotency-Key``, until one responds."""
        headers = {"Authorization": f"Bearer {self.traffic.api_key}"}
        if method == "POST":
            headers["Idempotency-Key"] = f"{self.traffic.run}-{self.record.plan.number}-{what}"
        apis = self._apis()
        return self._until_answered(
            what, lambda: self.http.request(method, next(apis) + path, headers=headers, json=body), wanted
        )

    def _apis(self) -> Iterator[str]:
        urls = list(self.traffic.api_urls)
        self.chance.shuffle(urls)
        return itertools.cycle(urls)

    def _until_answered(self, what: str, ask: Callable[[], httpx.Response], wanted: set[int]) -> httpx.Response:
        deadline = time.monotonic() + RETRY_SECONDS
        self.record.calls += 1
        while True:
            try:
                answer = ask()
                if answer.status_code in wanted and not _is_in_progress(answer):
                    return answer
                problem = f"{what}: {answer.status_code} {answer.text[:200]}"
                if not _is_worth_another_try(answer):
                    raise GaveUpError(problem)
            except httpx.TransportError as error:
                problem = f"{what}: {type(error).__name__}"
            if time.monotonic() > deadline:
                raise GaveUpError(problem)
            self.record.retries += 1
            self.traffic.pause(self.chance.uniform(*PAUSE_SECONDS))


def _is_worth_another_try(answer: httpx.Response) -> bool:
    too_many = answer.status_code == httpx.codes.TOO_MANY_REQUESTS
    return answer.is_server_error or too_many or _is_in_progress(answer)


def _is_in_progress(answer: httpx.Response) -> bool:
    """Return whether another request with the same ``Idempotency-Key`` is still being processed."""
    return answer.status_code == httpx.codes.CONFLICT and "idempotency" in answer.text
