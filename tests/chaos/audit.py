"""Compares what was promised with what is kept: one function per law, each giving the sentences of those that break it.

Pure but for its input: reads evidence and stories, touches nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.evidence import Evidence, JobEvidence
from tests.chaos.plan import Picture
from tests.chaos.receiver import Heard
from tests.chaos.traffic import Story, steps_of

FINISHED = ("succeeded", "failed", "canceled")
EVENT_TYPES = {"succeeded": "job.completed", "failed": "job.failed", "canceled": "job.canceled"}
REFUSALS = {"undecodable", "unsupported_format"}
"""How a picture that is none fails."""


@dataclass(frozen=True)
class Case:
    """One job that a client wanted, and what is kept of it."""

    story: Story
    job: JobEvidence | None

    @property
    def name(self) -> str:
        """For sentences."""
        return f"job {self.story.job_id} (number {self.story.plan.number})"

    @property
    def is_bad_picture(self) -> bool:
        """Whether it has to fail."""
        return self.story.plan.picture in {Picture.DAMAGED, Picture.NO_PICTURE}


def cases(stories: Iterable[Story], evidence: Evidence) -> list[Case]:
    """Every job that a client was told of."""
    return [Case(story, evidence.jobs.get(story.job_id)) for story in stories if story.job_id is not None]


def lost(all_cases: Sequence[Case]) -> Iterator[str]:
    """A job that a client was told of is there, unless it was erased."""
    for case in all_cases:
        if case.job is None and not case.story.erase_sent:
            yield f"{case.name} is gone"


def stuck(evidence: Evidence) -> Iterator[str]:
    """When all has settled, no job is on its way."""
    for job_id, job in evidence.jobs.items():
        if job.status in {"queued", "processing"}:
            yield f"job {job_id} is {job.status} (attempts {job.row['attempts']})"


def broken_promises(all_cases: Sequence[Case]) -> Iterator[str]:
    """What the API answered came true and stayed so."""
    for case in all_cases:
        story, job = case.story, case.job
        if story.trouble:
            yield f"{case.name}: its client gave up: {story.trouble}"
        if job is None:
            continue
        if story.erased and not job.is_erased:
            yield f"{case.name} was erased and is there"
        if story.started and not story.erase_sent and job.status not in FINISHED:
            yield f"{case.name} was started and is {job.status}"
        if story.canceled and not story.retry_sent and job.status != "canceled":
            yield f"{case.name} was canceled and is {job.status}"
        if story.retried and job.row["run"] != 2:
            yield f"{case.name} was retried and is at run {job.row['run']}"


def unexplained_ends(all_cases: Sequence[Case]) -> Iterator[str]:
    """A good picture succeeds and a bad one is refused, unless the owner canceled or every attempt was disturbed."""
    for case in all_cases:
        job = case.job
        if job is not None and not job.is_erased and job.status in FINISHED and not _is_explained(case, job):
            yield f"{case.name} ({case.story.plan.picture}) {job.status}: {job.row['error']}, {_outcomes(job)}"


def _is_explained(case: Case, job: JobEvidence) -> bool:
    if job.status == "canceled":
        return case.story.cancel_sent
    if is_exhausted(job):
        return _every_attempt_was_disturbed(job)
    if case.is_bad_picture:
        return job.status == "failed" and job.row["error"]["code"] in REFUSALS
    return job.status == "succeeded"


def is_exhausted(job: JobEvidence) -> bool:
    """Whether it failed because it was tried as often as allowed."""
    return job.status == "failed" and (job.row["error"] or {}).get("code") == "attempts_exhausted"


def _every_attempt_was_disturbed(job: JobEvidence) -> bool:
    disturbed = [attempt for attempt in job.attempts if attempt["outcome"] in {"lost", "retried", "failed"}]
    return bool(len(disturbed) >= job.row["max_attempts"])


def _outcomes(job: JobEvidence) -> dict[str, int]:
    return dict(Counter(attempt["outcome"] for attempt in job.attempts))


def wrong_attempts(evidence: Evidence) -> Iterator[str]:
    """No more attempts than allowed, and none open on a job that nobody works on."""
    for job_id, job in evidence.jobs.items():
        if job.row["attempts"] > job.row["max_attempts"]:
            yield f"job {job_id} was tried {job.row['attempts']} times"
        still_open = [attempt["attempt"] for attempt in job.attempts if attempt["ended_at"] is None]
        if still_open and job.status != "processing":
            yield f"job {job_id} is {job.status} with attempts {still_open} open"


def missing_outputs(all_cases: Sequence[Case], evidence: Evidence) -> Iterator[str]:
    """A job that succeeded has every output that was asked for, and the object is there, whole."""
    for case in all_cases:
        job = case.job
        if job is None or job.is_erased or job.status != "succeeded":
            continue
        if [row["step_id"] for row in job.outputs] != [step["id"] for step in steps_of(case.story.plan.picture)]:
            yield f"{case.name} has outputs {[row['step_id'] for row in job.outputs]}"
        for row in job.outputs:
            if evidence.objects.get(row["object_key"]) != row["bytes"]:
                yield f"{row['object_key']} has {evidence.objects.get(row['object_key'])} of {row['bytes']} bytes"


def missing_usage(evidence: Evidence) -> Iterator[str]:
    """A job that succeeded is billed, also when it was erased since."""
    for job_id, job in evidence.jobs.items():
        if job.status == "succeeded" and not job.usage:
            yield f"job {job_id} succeeded and is not billed"


def extra_usage(evidence: Evidence) -> Iterator[str]:
    """Nothing else is billed, and nothing twice, and to nobody but the owner."""
    if evidence.stray_usage:
        yield f"{evidence.stray_usage} usage rows of no job"
    for job_id, job in evidence.jobs.items():
        if len(job.usage) > (job.status == "succeeded"):
            yield f"job {job_id} is {job.status} and billed {len(job.usage)} times"
        if any(usage["user_id"] != job.row["user_id"] for usage in job.usage):
            yield f"job {job_id} is billed to somebody else"


def wrong_events(evidence: Evidence) -> Iterator[str]:
    """Each run that ended has one event, of the type of its end; no other run has one."""
    for job_id, job in evidence.jobs.items():
        if job.is_erased or job.row["webhook_url"] is None:
            if job.events:
                yield f"job {job_id} has events that nobody is to hear of"
            continue
        ended = job.row["run"] if job.status in FINISHED else job.row["run"] - 1
        if sorted(event["run"] for event in job.events) != list(range(1, ended + 1)):
            yield f"job {job_id}: runs with events {sorted(event['run'] for event in job.events)}, ended: {ended}"
        last = [event["type"] for event in job.events if event["run"] == job.row["run"]]
        if job.status in FINISHED and last != [EVENT_TYPES[job.status]]:
            yield f"job {job_id} is {job.status} with events {last}"


def wrong_deliveries(evidence: Evidence, heard: Sequence[Heard]) -> Iterator[str]:
    """An event counts as delivered exactly if its receiver took it; an id stands for one event and no other."""
    taken = {call.event_id for call in heard if call.status == 200}
    kept = {event["event_id"]: event for job in evidence.jobs.values() for event in job.events}
    for event_id, event in kept.items():
        if event["status"] != "delivered":
            yield f"event {event_id} is {event['status']} after {event['tries']} tries"
        elif event_id not in taken:
            yield f"event {event_id} counts as delivered, but its receiver never took it"
    meanings: dict[str, set[tuple[str, str]]] = {}
    for call in heard:
        meanings.setdefault(call.event_id, set()).add((call.job_id, call.type))
    for event_id, means in meanings.items():
        event_job = str(kept[event_id]["job_id"]) if event_id in kept else None
        if len(means) > 1 or (event_job and event_job not in {job_id for job_id, _ in means}):
            yield f"event {event_id} was told as {means}"


def doubled_creates(evidence: Evidence) -> Iterator[str]:
    """One ``Idempotency-Key`` makes one job, however often it is sent."""
    numbers = Counter(job.row["metadata"].get("number") for job in evidence.jobs.values() if not job.is_erased)
    for number, count in numbers.items():
        if count > 1:
            yield f"job number {number} was created {count} times"


def orphan_outputs(evidence: Evidence) -> list[str]:
    """Objects of attempts that came to nothing: allowed, and worth knowing how many."""
    named = {row["object_key"] for job in evidence.jobs.values() for row in job.outputs}
    return [key for key in evidence.objects if key.startswith("outputs/") and key not in named]


def objects_of_erased(evidence: Evidence) -> Iterator[str]:
    """No object of an erased job is left, unless its files are still due for deletion."""
    erased: Mapping[str, JobEvidence] = {job_id: job for job_id, job in evidence.jobs.items() if job.is_erased}
    for key in evidence.objects:
        job = erased.get(key.split("/")[1])
        if job is not None and not job.row["awaits_deletion"]:
            yield f"{key} belongs to an erased job"
