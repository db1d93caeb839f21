"""What ``pixelflow jobs cancel|retry|erase`` do, to some jobs one after the other. One job's refusal stops no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from pixelflow.cli.credentials import find_session
from pixelflow.cli.exit_codes import ExitCode, gravest
from pixelflow.cli.failures import code_of, described, reported, tell, would_meet_all
from pixelflow.cli.output import cell, say, show, show_json, table
from pixelflow.client import Client, ClientError, JobFailedError, WaitTimeoutError

_ERASED = "erased"

Action = Callable[[Client, UUID], str]
"""Does it to one job; says how the job stands then."""


@dataclass
class _Result:
    """A job, and what became of it."""

    job_id: UUID
    status: str | None = None
    error: ClientError | None = None

    @property
    def skipped(self) -> bool:
        """Whether it was not tried, another job having shown that it would be in vain."""
        return self.status is None and self.error is None


def cancel(job_ids: Sequence[UUID], *, as_json: bool) -> ExitCode:
    """Cancel jobs."""
    return _run(job_ids, lambda client, job_id: client.cancel_job(job_id).status.value, as_json=as_json)


def retry(job_ids: Sequence[UUID], *, wait: float | None, as_json: bool) -> ExitCode:
    """Retry jobs; first all of them, then wait for each, so many seconds at most, unless ``wait`` is None."""

    def start(client: Client, job_id: UUID) -> str:
        return client.retry_job(job_id).status.value

    def until_over(client: Client, job_id: UUID) -> str:
        return client.wait(job_id, timeout=wait).status.value

    return _run(job_ids, start, *([] if wait is None else [until_over]), as_json=as_json)


def erase(job_ids: Sequence[UUID], *, as_json: bool) -> ExitCode:
    """Erase jobs."""

    def one(client: Client, job_id: UUID) -> str:
        client.erase_job(job_id)
        return _ERASED

    return _run(job_ids, one, as_json=as_json)


def _run(job_ids: Sequence[UUID], *actions: Action, as_json: bool) -> ExitCode:
    results = [_Result(job_id) for job_id in dict.fromkeys(job_ids)]
    with reported(), Client(session=find_session()) as client:
        for action in actions:
            _do(action, client, results)
    _show(results, as_json=as_json)
    return gravest(code_of(result.error) for result in results if result.error is not None)


def _do(action: Action, client: Client, results: Sequence[_Result]) -> None:
    for result in results:
        if result.error is not None:
            continue
        try:
            result.status = action(client, result.job_id)
        except ClientError as error:
            result.error = error
            if isinstance(error, (JobFailedError, WaitTimeoutError)):
                result.status = error.job.status.value
            if would_meet_all(error):
                return


def _show(results: Sequence[_Result], *, as_json: bool) -> None:
    if as_json:
        show_json({"jobs": [_described(result) for result in results]})
    elif known := [result for result in results if result.status is not None]:
        rows = table("Job", "Status")
        for result in known:
            rows.add_row(cell(result.job_id), cell(result.status))
        show(rows)
    for result in results:
        if result.error is not None:
            tell(result.error, result.job_id)
    if skipped := sum(result.skipped for result in results):
        say(f"{skipped} more not tried")


def _described(result: _Result) -> dict[str, object]:
    return {
        "job_id": str(result.job_id),
        "status": result.status,
        "error": described(result.error) if result.error else None,
    }
