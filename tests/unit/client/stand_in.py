"""A fake of the API and of object storage: an HTTP server on a real socket that can inject faults.

The acceptance tests run the clients against the real servers.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit
from uuid import UUID, uuid4

from pydantic import ValidationError

from pixelflow.contracts.batches import Batch
from pixelflow.contracts.field_errors import field_errors
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import Job
from pixelflow.contracts.jobs.sources import SourceType
from pixelflow.contracts.jobs.states import JobStatus
from pixelflow.controlplane.api.examples import CAPABILITIES
from pixelflow.imaging.formats.registry import output_name

KEY = "pf_stand_in_0123456789abcdef"
SIGNATURE = "X-Amz-Signature=5ecre7"
NOW = datetime(2026, 11, 23, tzinfo=UTC)
HISTORY = [
    {"attempt": 1, "worker": "5f1c09ae", "started_at": NOW, "ended_at": NOW, "outcome": "lost"},
    {
        "attempt": 2,
        "started_at": NOW,
        "ended_at": NOW,
        "outcome": "retried",
        "error": {"code": "transform_crashed", "message": "The transform process crashed"},
    },
]
LIFE = (JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.SUCCEEDED)


@dataclass(frozen=True)
class Fault:
    """Replaces the next response on a route: a status, or no response."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    acts: bool = False
    """Whether the request still takes effect."""


DROP = Fault()
"""Close the connection without a response."""
LOST = Fault(acts=True)
"""Handle the request, then close the connection without a response."""


@dataclass
class Seen:
    """A request that was received."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Kept:
    """A stored job."""

    request: CreateJobRequest
    life: list[JobStatus]
    source: bytes | None = None
    started: bool = False


class StandIn(ThreadingHTTPServer):
    """The server and its state. Handlers run in threads and hold the lock."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.RLock()
        self.seen: list[Seen] = []
        self.faults: dict[str, list[Fault]] = {}
        self.jobs: dict[UUID, Kept] = {}
        self.answers: dict[str, tuple[int, bytes]] = {}
        """Responses by idempotency key."""
        self.life: tuple[JobStatus, ...] = LIFE
        """Statuses that successive polls of a new job return; the last one stays."""
        self.batches: list[Batch] = []
        self.max_bytes = 1_000_000
        self.rename_output: str | None = None
        """Replaces the step id of every output."""
        self.output_bytes: Callable[[str], bytes] = lambda step_id: f"pixels of {step_id}".encode() * 100

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fail(self, route: str, *faults: Fault) -> None:
        """Inject ``faults`` into the next requests on ``route``, such as ``create`` or ``download``."""
        self.faults[route] = list(faults)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore connections that the client closes early, which the tests do; report everything else."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def vanish(self) -> None:
        """Stop listening."""
        self.shutdown()
        self.server_close()

    def count(self, method: str, part: str = "") -> int:
        """The number of requests with ``method`` whose path contains ``part``."""
        return sum(seen.method == method and part in seen.path for seen in self.seen)

    def describe(self, job_id: UUID) -> dict[str, Any]:
        """The job as the API returns it."""
        kept = self.jobs[job_id]
        status = (
            kept.life.pop(0) if kept.started and len(kept.life) > 1 else kept.life[0] if kept.started else "created"
        )
        done = status == JobStatus.SUCCEEDED
        job = Job.model_validate(
            {
                "job_id": job_id,
                "status": status,
                "source": {
                    "type": "s3_presigned",
                    "object_key": f"uploads/{job_id}/source",
                    "bytes": len(kept.source or b""),
                },
                "pipeline": [step.model_dump(by_alias=True, exclude_unset=True) for step in kept.request.pipeline],
                "webhook_url": None,
                "metadata": kept.request.metadata,
                "attempts": 1,
                "max_attempts": 5,
                "history": HISTORY if kept.started else [],
                "created_at": NOW,
                "queued_at": NOW if kept.started else None,
                "started_at": NOW if kept.started else None,
                "finished_at": NOW if done else None,
                "outputs": self._outputs(job_id, kept) if done else [],
                "error": {"code": "undecodable", "message": "The source is damaged"}
                if status == JobStatus.FAILED
                else None,
                "usage": None,
            }
        )
        described: dict[str, Any] = job.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return described

    def _outputs(self, job_id: UUID, kept: Kept) -> list[dict[str, Any]]:
        outputs = []
        for step in kept.request.pipeline:
            if not step.output:
                continue
            content, form = self.output_bytes(step.id), step.format or "jpeg"
            key = f"outputs/{job_id}/1/{output_name(step.id, form)}"
            outputs.append(
                {
                    "step_id": self.rename_output or step.id, "action": step.action, "format": form, "object_key": key,
                    "bytes": len(content),
                    "width": 64, "height": 48, "sha256": hashlib.sha256(content).hexdigest(),
                    "download_url": f"{self.url}/bucket/{key}?{SIGNATURE}",
                }
            )  # fmt: skip
        return outputs


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: StandIn
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        with self.server.lock:
            self.server.seen.append(
                Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            )
            route = self._route(url.path)
            faults = self.server.faults.get(route)
            if faults:
                self._break(faults.pop(0), lambda: self._serve(route, url, body))
            elif not url.path.startswith("/bucket/") and self.headers.get("Authorization") != f"Bearer {KEY}":
                self._problem(401, "unauthenticated", "The API key is not valid")
            else:
                self._serve(route, url, body)

    do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - the names that http.server requires

    def _serve(self, route: str, url: SplitResult, body: bytes) -> None:
        answered = self.server.answers.get(self.headers.get("Idempotency-Key", ""))
        if answered:
            self._answer(*answered)
        else:
            getattr(self, f"_{route}")(url, body)

    def _route(self, path: str) -> str:
        if path.startswith("/bucket/"):
            return "put" if self.command == "PUT" else "download"
        if path in {"/v1/usage", "/v1/capabilities"}:
            return path.rsplit("/", 1)[1]
        if path.startswith("/v1/batches"):
            return "batches"
        if path == "/v1/jobs":
            return "create" if self.command == "POST" else "list"
        if self.command == "DELETE":
            return "erase"
        last = path.rsplit("/", 1)[1]
        return last if last in {"start", "cancel", "retry"} else "get"

    def _break(self, fault: Fault, act: Callable[[], None]) -> None:
        if fault.acts:
            socket, self.wfile = self.wfile, io.BytesIO()
            act()
            self.wfile = socket
        if fault.status is None:
            self.close_connection = True
        else:
            self._answer(fault.status, fault.body, fault.headers)

    def _create(self, _: object, body: bytes) -> None:
        try:
            request = CreateJobRequest.model_validate_json(body)
        except ValidationError as error:
            errors = [row.model_dump() for row in field_errors(error.errors(include_url=False), json.loads(body))]
            return self._problem(422, "validation_failed", "The request is not valid", errors)
        job_id = uuid4()
        self.server.jobs[job_id] = Kept(request, list(self.server.life))
        headers = (
            {"Content-Type": request.source.content_type} if request.source and request.source.content_type else {}
        )
        upload = {
            "object_key": f"uploads/{job_id}/source",
            "presigned_put_url": f"{self.server.url}/bucket/uploads/{job_id}/source?{SIGNATURE}&n=a%2Fb",
            "presigned_url_state": "ready",
            "headers": headers,
            "expires_at": NOW.isoformat(),
            "max_bytes": self.server.max_bytes,
        }
        return self._json(
            202, {"job_id": str(job_id), "status": "created", "upload": upload, "start_url": "/elsewhere"}
        )

    def _batches(self, url: SplitResult, _: bytes) -> None:
        batches = [each.model_dump(mode="json") for each in self.server.batches]
        if url.path == "/v1/batches":
            return self._json(200, {"data": batches, "next_cursor": None})
        return self._json(200, next(each for each in batches if url.path.endswith(each["batch_id"])))

    def _put(self, url: SplitResult, body: bytes) -> None:
        job_id = UUID(url.path.split("/")[3])
        declared = self.server.jobs[job_id].request.source
        signed = declared and (str(declared.content_length), declared.content_type)
        if signed != (self.headers.get("Content-Length"), self.headers.get("Content-Type")):
            return self._answer(
                403, b"<Error><Code>SignatureDoesNotMatch</Code><X>" + SIGNATURE.encode() + b"</X></Error>"
            )
        self.server.jobs[job_id].source = body
        return self._answer(200, b"")

    def _start(self, url: SplitResult, _: bytes) -> None:
        job_id = UUID(url.path.split("/")[3])
        kept = self.server.jobs.get(job_id)
        if kept is None:
            return self._problem(404, "not_found", "There is no such job")
        if kept.source is None and kept.request.source_type is SourceType.S3_PRESIGNED:
            return self._problem(409, "source_missing", "Upload the source first")
        kept.started = True
        return self._queued(job_id)

    def _queued(self, job_id: UUID) -> None:
        self._json(
            202,
            {
                "job_id": str(job_id),
                "status": "queued",
                "queue": "images",
                "task_id": str(uuid4()),
                "enqueued_at": NOW.isoformat(),
            },
        )

    def _cancel(self, url: SplitResult, _: bytes) -> None:
        job_id = UUID(url.path.split("/")[3])
        kept = self.server.jobs.get(job_id)
        if kept is None:
            return self._problem(404, "not_found", "There is no such job")
        if kept.started and kept.life[0] in {JobStatus.SUCCEEDED, JobStatus.FAILED}:
            return self._problem(409, "job_already_finished", "It can't be canceled any more")
        kept.started, kept.life = True, [JobStatus.CANCELED]
        return self._json(200, self.server.describe(job_id))

    def _retry(self, url: SplitResult, _: bytes) -> None:
        job_id = UUID(url.path.split("/")[3])
        kept = self.server.jobs.get(job_id)
        if kept is None:
            return self._problem(404, "not_found", "There is no such job")
        if kept.started and kept.life[0] == JobStatus.SUCCEEDED:
            return self._problem(409, "job_already_finished", "The job has succeeded")
        kept.life = list(self.server.life)
        return self._queued(job_id)

    def _erase(self, url: SplitResult, _: bytes) -> None:
        if self.server.jobs.pop(UUID(url.path.split("/")[3]), None) is None:
            return self._problem(404, "not_found", "There is no such job")
        return self._answer(204, b"")

    def _get(self, url: SplitResult, _: bytes) -> None:
        job_id = UUID(url.path.split("/")[3])
        if job_id not in self.server.jobs:
            return self._problem(404, "not_found", "There is no such job")
        return self._json(200, self.server.describe(job_id))

    def _list(self, url: SplitResult, _: bytes) -> None:
        query = parse_qs(url.query)
        start, limit = int(query.get("cursor", ["0"])[0]), int(query.get("limit", ["20"])[0])
        rows = [self.server.describe(job_id) for job_id in reversed(self.server.jobs)]
        rows = [row for row in rows if row["status"] in query.get("status", [row["status"]])]
        wanted = {name.removeprefix("metadata."): v[0] for name, v in query.items() if name.startswith("metadata.")}
        rows = [row for row in rows if wanted.items() <= row["metadata"].items()]
        following = str(start + limit) if start + limit < len(rows) else None
        self._json(200, {"data": rows[start : start + limit], "next_cursor": following})

    def _usage(self, url: SplitResult, _: bytes) -> None:
        """Two days, or two pages of one user each. The sums exceed the precision of a double."""
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        sums = {"jobs": 2, "pixels_processed": 2**53 + 1, "bytes_saved": 4_849_876, "compute_time_ms": 68_000}
        days = {"from": query.get("from", "2026-11-23"), "to": query.get("to", "2026-11-25")}
        answer = {**days, "user_id": query.get("user_id"), "group_by": query["group_by"], "total": sums}
        if query["group_by"] == "day":
            rows = [{"day": "2026-11-23", **sums}, {"day": "2026-11-24", **dict.fromkeys(sums, 0)}]
            return self._json(200, {**answer, "data": rows})
        last = "cursor" in query
        rows = [{"user_id": "=zoe" if last else "acme", **sums, "jobs": 1}]
        return self._json(200, {**answer, "data": rows, "next_cursor": None if last else "acme"})

    def _capabilities(self, _: object, __: bytes) -> None:
        self._json(200, CAPABILITIES)

    def _download(self, url: SplitResult, _: bytes) -> None:
        self._answer(200, self.server.output_bytes(url.path.rsplit("/", 1)[1].split(".")[0]))

    def _problem(self, status: int, code: str, detail: str, errors: list[Any] | None = None) -> None:
        problem = {
            "type": "about:blank",
            "title": code,
            "status": status,
            "detail": detail,
            "code": code,
            "request_id": "r-1",
        }
        self._json(status, problem | ({"errors": errors} if errors else {}))

    def _json(self, status: int, content: object) -> None:
        self._answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        if status < 300 and (key := self.headers.get("Idempotency-Key")):
            self.server.answers[key] = status, body
        self.send_response_only(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running() -> Iterator[StandIn]:
    """Run the server on a free port."""
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
