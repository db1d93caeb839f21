"""Invariants that hold after a run: one function for each, which yields a description of every violation.

Pure functions of the evidence and the clients' records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from tests.chaos.evidence import Evidence, JobEvidence
from tests.chaos.plan import Picture
from tests.chaos.receivers import Delivery
from tests.chaos.traffic import JobRecord, steps_of

FINISHED = ("succeeded", "failed", "canceled")
EVENT_TYPES = {"succeeded": "job.completed", "failed": "job.failed", "canceled": "job.canceled"}
REFUSALS = {"undecodable", "unsupported_format"}
"""Error codes of jobs whose source is not a valid picture."""


@dataclass(frozen=True)
class Case:
    """A client's record of a job, and the evidence of the job."""

    record: JobRecord
    job: JobEvidence | None

    @property
    def name(self) -> str:
        """The job's name in descriptions."""
        return f"job {self.record.job_id} (number {self.record.plan.number})"

    @property
    def is_bad_picture(self) -> bool:
        """Whether the job must fail."""
        return self.record.plan.picture in {Picture.DAMAGED, Picture.NO_PICTURE}


def cases(records: Iterable[JobRecord], evidence: Evidence) -> list[Case]:
    """Return a case for every job whose creation was acknowledged."""
    return [Case(record, evidence.jobs.get(record.job_id)) for record in records if record.job_id is not None]


def lost(all_cases: Sequence[Case]) -> Iterator[str]:
    """A job whose creation was acknowledged exists, unless it was erased."""
    for case in all_cases:
        if case.job is None and not case.record.erase_sent:
            yield f"{case.name} does not exist"


def stuck(evidence: Evidence) -> Iterator[str]:
    """After settling, no job is queued or processing."""
    for job_id, job in evidence.jobs.items():
        if job.status in {"queued", "processing"}:
            yield f"job {job_id} is {job.status} (attempts {job.row['attempts']})"


def broken_promises(all_cases: Sequence[Case]) -> Iterator[str]:
    """Every change that the API acknowledged persists."""
    for case in all_cases:
        record, job = case.record, case.job
        if record.failure:
            yield f"{case.name}: its client gave up: {record.failure}"
        if job is None:
            continue
        if record.erased and not job.is_erased:
            yield f"{case.name} was erased but exists"
        if record.started and not record.erase_sent and job.status not in FINISHED:
            yield f"{case.name} was started but is {job.status}"
        if record.canceled and not record.retry_sent and job.status != "canceled":
            yield f"{case.name} was canceled but is {job.status}"
        if record.retried and job.row["run"] != 2:
            yield f"{case.name} was retried but is at run {job.row['run']}"


def unexplained_ends(all_cases: Sequence[Case]) -> Iterator[str]:
    """Valid pictures succeed and invalid ones fail, unless the owner canceled or every attempt was disturbed."""
    for case in all_cases:
        job = case.job
        if job is not None and not job.is_erased and job.status in FINISHED and not _is_explained(case, job):
            yield f"{case.name} ({case.record.plan.picture}) {job.status}: {job.row['error']}, {_outcomes(job)}"


def _is_explained(case: Case, job: JobEvidence) -> bool:
    if job.status == "canceled":
        return case.record.cancel_sent
    if is_exhausted(job):
        return _every_attempt_was_disturbed(job)
    if case.is_bad_picture:
        return job.status == "failed" and job.row["error"]["code"] in REFUSALS
    return job.status == "succeeded"


def is_exhausted(job: JobEvidence) -> bool:
    """Return whether the job failed because it used all its attempts."""
    return job.status == "failed" and (job.row["error"] or {}).get("code") == "attempts_exhausted"


def _every_attempt_was_disturbed(job: JobEvidence) -> bool:
    disturbed = [attempt for attempt in job.attempts if attempt["outcome"] in {"lost", "retried", "failed"}]
    return bool(len(disturbed) >= job.row["max_attempts"])


def _outcomes(job: JobEvidence) -> dict[str, int]:
    return dict(Counter(attempt["outcome"] for attempt in job.attempts))


def wrong_attempts(evidence: Evidence) -> Iterator[str]:
    """A job has no more attempts than allowed, and an open one only while it is processing."""
    for job_id, job in evidence.jobs.items():
        if job.row["attempts"] > job.row["max_attempts"]:
            yield f"job {job_id} had {job.row['attempts']} attempts"
        still_open = [attempt["attempt"] for attempt in job.attempts if attempt["ended_at"] is None]
        if still_open and job.status != "processing":
            yield f"job {job_id} is {job.status} with attempts {still_open} open"


def missing_outputs(all_cases: Sequence[Case], evidence: Evidence) -> Iterator[str]:
    """A job that succeeded has every requested output, with a complete object."""
    for case in all_cases:
        job = case.job
        if job is None or job.is_erased or job.status != "succeeded":
            continue
        if [row["step_id"] for row in job.outputs] != [step["id"] for step in steps_of(case.record.plan.picture)]:
            yield f"{case.name} has outputs {[row['step_id'] for row in job.outputs]}"
        for row in job.outputs:
            stored = evidence.objects.get(row["object_key"])
            if stored is None or stored.bytes != row["bytes"]:
                yield f"{row['object_key']} should have {row['bytes']} bytes: {stored}"


def missing_usage(evidence: Evidence) -> Iterator[str]:
    """A job that succeeded is billed, even if it was erased later."""
    for job_id, job in evidence.jobs.items():
        if job.status == "succeeded" and not job.usage:
            yield f"job {job_id} succeeded but is not billed"


def extra_usage(evidence: Evidence) -> Iterator[str]:
    """Only jobs that succeeded are billed, once, and to their owner."""
    if evidence.orphan_usage:
        yield f"{evidence.orphan_usage} usage rows without a job"
    for job_id, job in evidence.jobs.items():
        if len(job.usage) > (job.status == "succeeded"):
            yield f"job {job_id} is {job.status} and billed {len(job.usage)} times"
        if any(usage["user_id"] != job.row["user_id"] for usage in job.usage):
            yield f"job {job_id} is billed to another user"


def wrong_events(evidence: Evidence) -> Iterator[str]:
    """Each finished run of a job has one event, of the type of its status; no other run has an event."""
    for job_id, job in evidence.jobs.items():
        if job.is_erased or job.row["webhook_url"] is None:
            if job.events:
                yield f"job {job_id} has events but no receiver"
            continue
        ended = job.row["run"] if job.status in FINISHED else job.row["run"] - 1
        if sorted(event["run"] for event in job.events) != list(range(1, ended + 1)):
            yield f"job {job_id}: runs with events {sorted(event['run'] for event in job.events)}, ended: {ended}"
        last = [event["type"] for event in job.events if event["run"] == job.row["run"]]
        if job.status in FINISHED and last != [EVENT_TYPES[job.status]]:
            yield f"job {job_id} is {job.status} with events {last}"


def wrong_deliveries(evidence: Evidence, deliveries: Sequence[Delivery]) -> Iterator[str]:
    """An event is marked delivered if and only if its receiver accepted it, and an ID identifies one event."""
    taken = {call.event_id for call in deliveries if call.status == 200}
    kept = {event["event_id"]: event for job in evidence.jobs.values() for event in job.events}
    for event_id, event in kept.items():
        if event["status"] != "delivered":
            yield f"event {event_id} is {event['status']} after {event['attempts']} attempts"
        elif event_id not in taken:
            yield f"event {event_id} is marked delivered, but its receiver never accepted it"
    meanings: dict[str, set[tuple[str, str]]] = {}
    for call in deliveries:
        meanings.setdefault(call.event_id, set()).add((call.job_id, call.type))
    for event_id, means in meanings.items():
        event_job = str(kept[event_id]["job_id"]) if event_id in kept else None
        if len(means) > 1 or (event_job and event_job not in {job_id for job_id, _ in means}):
            yield f"event {event_id} was delivered as {means}"


def doubled_creates(evidence: Evidence) -> Iterator[str]:
    """One ``Idempotency-Key`` creates one job, however often it is sent."""
    numbers = Counter(job.row["metadata"].get("number") for job in evidence.jobs.values() if not job.is_erased)
    for number, count in numbers.items():
        if count > 1:
            yield f"job number {number} was created {count} times"


def orphan_outputs(evidence: Evidence) -> list[str]:
    """Return the objects of failed attempts, which are allowed but counted."""
    named = {row["object_key"] for job in evidence.jobs.values() for row in job.outputs}
    return [key for key in evidence.objects if key.startswith("outputs/") and key not in named]


def objects_of_erased(evidence: Evidence) -> Iterator[str]:
    """No object is left that an erased job had when it was erased, once its objects have been deleted.

    Objects that arrive later are deleted hours later, when no more can arrive.
    """
    erased: Mapping[str, JobEvidence] = {job_id: job for job_id, job in evidence.jobs.items() if job.is_erased}
    for key, stored in evidence.objects.items():
        job = erased.get(key.split("/")[1])
        if job is None or job.row["awaits_deletion"]:
            continue
        if stored.last_modified + timedelta(seconds=1) <= job.row["erased_at"]:
            yield f"{key} belongs to an erased job"
