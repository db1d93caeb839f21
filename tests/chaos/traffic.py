"""Clients: each wants jobs done, tries again as a sensible client does, and writes down what it was promised.

Knows the API alone: neither the database nor the processes behind it.
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
from tests.chaos.plan import Fate, Picture, PlannedJob
from tests.chaos.receiver import Receivers

THREADS = 12
PATIENCE_SECONDS = 200.0
"""How long a client tries one call again before it gives up. An API that dies over a request keeps its
``Idempotency-Key`` for a minute, and the next one may die over it too."""
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
    """The pipeline that is asked for."""
    return STEPS.get(picture, STEPS[Picture.SMALL])


class GaveUpError(Exception):
    """A client ran out of patience, or got an answer that it has no use for."""


@dataclass
class Story:
    """What became of one planned job, as its client saw it: only what an answer said is promised."""

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
    trouble: str | None = None
    """Why the client gave up."""


@dataclass
class Traffic:
    """All clients, in threads of their own."""

    run: str
    """Names this run in ``Idempotency-Key`` and metadata."""
    jobs: Sequence[PlannedJob]
    api_urls: Sequence[str]
    api_key: str
    files: Mapping[Picture, bytes]
    receivers: Receivers
    stories: list[Story] = field(default_factory=list)
    _waiting: queue.SimpleQueue[Story] = field(default_factory=queue.SimpleQueue)
    _threads: list[threading.Thread] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _began: float = 0.0

    def begin(self) -> None:
        """Now is the plan's second 0."""
        self._began = time.monotonic()
        self.stories = [Story(job) for job in self.jobs]
        for story in self.stories:
            self._waiting.put(story)
        self._threads = [threading.Thread(target=self._work, args=(n,), name=f"client-{n}") for n in range(THREADS)]
        for thread in self._threads:
            thread.start()

    @property
    def is_over(self) -> bool:
        """Whether every client is through."""
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Let the clients give up what they are at."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=TIMEOUT_SECONDS * 2)

    def _work(self, number: int) -> None:
        chance = random.Random(number)  # noqa: S311 - spreads the pauses
        with httpx.Client(timeout=TIMEOUT_SECONDS) as client:
            while not self._stop.is_set():
                try:
                    story = self._waiting.get_nowait()
                except queue.Empty:
                    return
                self._stop.wait(self._began + story.plan.at - time.monotonic())
                self._live(Customer(self, client, story, chance), story)

    def _live(self, customer: Customer, story: Story) -> None:
        try:
            customer.live()
        except GaveUpError as error:
            story.trouble = str(error)

    def pause(self, seconds: float) -> None:
        """Wait, or give up because the run is being stopped."""
        if self._stop.wait(seconds):
            raise GaveUpError("the run was stopped")


@dataclass
class Customer:
    """The client of one job."""

    traffic: Traffic
    http: httpx.Client
    story: Story
    chance: random.Random

    def live(self) -> None:
        """Create, upload, start, and whatever its owner has in mind then."""
        created = self._create()
        self.story.job_id = created["job_id"]
        self._upload(created["upload"])
        self._start()
        self.traffic.pause(self.story.plan.fate_after)
        steps: dict[Fate, list[Callable[[], None]]] = {
            Fate.WAIT: [],
            Fate.CANCEL: [self._cancel],
            Fate.RETRY: [self._cancel, self._retry],
            Fate.ERASE: [self._erase],
        }
        for step in steps[self.story.plan.fate]:
            step()

    def _create(self) -> dict[str, Any]:
        plan = self.story.plan
        body = {
            "source": {"content_length": len(self.traffic.files[plan.picture])},
            "pipeline": steps_of(plan.picture),
            "webhook_url": self.traffic.receivers.url(plan.manner),
            "metadata": {"run": self.traffic.run, "number": str(plan.number)},
        }
        answer: dict[str, Any] = self._call("create", "POST", "/v1/jobs", {202}, body).json()
        return answer

    def _upload(self, upload: dict[str, Any]) -> None:
        content = self.traffic.files[self.story.plan.picture]
        self._until_answered(
            "upload",
            lambda: self.http.put(upload["presigned_put_url"], content=content, headers=upload["headers"]),
            {200},
        )

    def _start(self) -> None:
        self._call("start", "POST", f"/v1/jobs/{self.story.job_id}/start", {202, 409})
        self.story.started = True

    def _cancel(self) -> None:
        self.story.cancel_sent = True
        answer = self._call("cancel", "POST", f"/v1/jobs/{self.story.job_id}/cancel", {200, 409})
        self.story.canceled = answer.status_code == httpx.codes.OK

    def _retry(self) -> None:
        self.story.retry_sent = True
        answer = self._call("retry", "POST", f"/v1/jobs/{self.story.job_id}/retry", {202, 409})
        self.story.retried = answer.status_code == httpx.codes.ACCEPTED

    def _erase(self) -> None:
        self.story.erase_sent = True
        self._call("erase", "DELETE", f"/v1/jobs/{self.story.job_id}", {204, 404})
        self.story.erased = True

    def _call(
        self, what: str, method: str, path: str, wanted: set[int], body: dict[str, Any] | None = None
    ) -> httpx.Response:
        """Ask one API, then the other, with one ``Idempotency-Key``, until one gives an answer."""
        headers = {"Authorization": f"Bearer {self.traffic.api_key}"}
        if method == "POST":
            headers["Idempotency-Key"] = f"{self.traffic.run}-{self.story.plan.number}-{what}"
        apis = self._apis()
        return self._until_answered(
            what, lambda: self.http.request(method, next(apis) + path, headers=headers, json=body), wanted
        )

    def _apis(self) -> Iterator[str]:
        urls = list(self.traffic.api_urls)
        self.chance.shuffle(urls)
        return itertools.cycle(urls)

    def _until_answered(self, what: str, ask: Callable[[], httpx.Response], wanted: set[int]) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE_SECONDS
        self.story.calls += 1
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
            self.story.retries += 1
            self.traffic.pause(self.chance.uniform(*PAUSE_SECONDS))


def _is_worth_another_try(answer: httpx.Response) -> bool:
    too_many = answer.status_code == httpx.codes.TOO_MANY_REQUESTS
    return answer.is_server_error or too_many or _is_in_progress(answer)


def _is_in_progress(answer: httpx.Response) -> bool:
    """Whether another request with the same ``Idempotency-Key`` is still being answered."""
    return answer.status_code == httpx.codes.CONFLICT and "idempotency" in answer.text
