"""Section ``api``: create and start requests per second on one core, compared with a FastAPI route with one INSERT."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, islice
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
from tests.acceptance.running import process_of

from bench.cases import PIPELINES
from bench.context import Context
from bench.figures import BenchError, Result, at_least, at_most, ratios
from bench.http_load import get_request, post_request, send_all
from bench.jobs import Jobs, new_job
from bench.photos import ROOT
from bench.processes import cpu_clock
from bench.stack import SERVERS, TestStack, pinning, servers
from pixelflow.devstack.ports import listen

_START_SECONDS = 20.0
_POLL_SECONDS = 0.05
_USERS = 12
_POLLS = 3
"""Of a job, as the SDK polls one of a small picture: at once, and 50 and 125 ms later."""
_MAX_JOB_MS = 4.0
_LIMITED_USERS = 25
"""Users over their limit, with at most 20 requests a second each: the API holds further rejections."""
_DESCRIPTION = (
    "The API process has a core of its own; Postgres, Valkey, the S3 server and the load generator share the others. A "
    "pair is one create and one start, as the SDK sends them, by 12 users in turn; the source is uploaded in between, "
    "outside the measured time. Three polls follow, at which the job is queued. A pair is compared "
    "with two requests to a FastAPI route that does one INSERT, with the same server, driver and load. No worker runs. "
    "Rate limits are enabled, but high enough to never apply. Rejected requests are those of users over their limit."
)


def run(context: Context) -> Result:
    """Alternate between pairs on PixelFlow's API and twice as many requests to the bare API."""
    result = Result("api", about=[_DESCRIPTION])
    own, others = _cores()
    with ExitStack() as stack:
        stack.enter_context(_confined_to(others))
        test_stack = stack.enter_context(servers())
        result.versions = test_stack.versions()
        test_stack.start_roles(["api"], core=own)
        url, bare_pid = stack.enter_context(_bare_api(test_stack, own))
        context.echo("create and start")
        _measure(context, result, test_stack, url, bare_pid)
    return result


@dataclass(frozen=True)
class _Sent:
    """A number of requests and their cost."""

    count: int
    ids: list[str]
    """IDs of the created jobs, if any."""
    seconds: float
    cpu: dict[str, float]
    """CPU seconds of the API and of each server."""


class _Load:
    """Sends requests to one API."""

    def __init__(self, test_stack: TestStack, url: str, pid: int) -> None:
        self._test_stack = test_stack
        self._url = url
        self._pid = pid
        self._keys = [test_stack.key_of(f"bench-{number}") for number in range(_USERS)]

    def send(self, paths: Sequence[str], body: object = None) -> _Sent:
        """Send a POST request to each path, as the users in turn. One with a body has an idempotency key."""
        requests = [
            post_request(self._url, path, body, key=key, idempotency_key=str(uuid4()) if body else "")
            for path, key in zip(paths, cycle(self._keys), strict=False)
        ]
        return self._send(requests)

    def poll(self, ids: Sequence[str]) -> _Sent:
        """Show each job, which the users created in turn."""
        pairs = zip(ids, cycle(self._keys), strict=False)
        return self._send([get_request(self._url, f"/v1/jobs/{job_id}", key=key) for job_id, key in pairs] * _POLLS)

    def send_rejected(self, count: int, body: object) -> _Sent:
        """Send creates of users who are over their limit."""
        each = [post_request(self._url, "/v1/jobs", body, key=key) for key in self._limited_keys]
        send_all(self._url, each * 2, status="")  # takes the only request of a minute, if there is one
        return self._send(list(islice(cycle(each), count)), status="429")

    @cached_property
    def _limited_keys(self) -> list[str]:
        """Keys with one request a minute."""
        return [self._test_stack.key_of(f"rejected-{number}", rate_limit=1) for number in range(_LIMITED_USERS)]

    def _send(self, requests: Sequence[bytes], *, status: str = "2") -> _Sent:
        before = self._cpu()
        done = send_all(self._url, requests, status=status)
        cpu = {name: used - before[name] for name, used in self._cpu().items()}
        return _Sent(len(requests), [answer.get("job_id", "") for answer in done.bodies], done.seconds, cpu)

    def _cpu(self) -> dict[str, float]:
        return {"api": cpu_clock(self._pid), **self._test_stack.servers_cpu()}


def _measure(context: Context, result: Result, test_stack: TestStack, url: str, bare_pid: int) -> None:
    ours = _Load(test_stack, test_stack.api_url, process_of(test_stack.stack, "api").pid)
    theirs, jobs = _Load(test_stack, url, bare_pid), Jobs(test_stack)
    source, count = _small_source(context), context.counts.api_pairs
    _round(ours, theirs, jobs, source, max(4, count // 5))
    rounds = []
    for _ in range(context.counts.api_rounds):
        context.check_time()
        rounds.append(_round(ours, theirs, jobs, source, count))
    _add_figures(result, rounds)


def _round(ours: _Load, theirs: _Load, jobs: Jobs, source: Path, count: int) -> dict[str, _Sent]:
    body = new_job(PIPELINES["jpeg_640"], source)
    inserted = theirs.send(["/rows"] * 2 * count, body)
    created = ours.send(["/v1/jobs"] * count, body)
    jobs.upload(created.ids, [source])
    started = ours.send([f"/v1/jobs/{job_id}/start" for job_id in created.ids])
    polled = ours.poll(created.ids)
    rejected = ours.send_rejected(count, body)
    return {"insert": inserted, "create": created, "start": started, "poll": polled, "rejected": rejected}


def _add_figures(result: Result, rounds: list[dict[str, _Sent]]) -> None:
    def rates(*kinds: str) -> list[float]:
        return [each["create"].count / sum(each[kind].seconds for kind in kinds) for each in rounds]

    def cpu(name: str, *kinds: str) -> list[float]:
        return [sum(each[kind].cpu[name] for kind in kinds) / each["create"].count * 1000 for each in rounds]

    pairs, inserts = rates("create", "start"), rates("insert")
    result.add("pairs", "create + start", "pairs/s", pairs)
    result.add("inserts", "two bare inserts", "pairs/s", inserts)
    result.add("ratio", "create + start, against two bare inserts", "×", ratios(pairs, inserts), at_least(0.40))
    result.add("create", "create alone", "requests/s", rates("create"))
    result.add("start", "start alone", "requests/s", rates("start"))
    result.add("pairs.cpu", "create + start: CPU of the API", "ms", cpu("api", "create", "start"))
    result.add("polls.cpu", "three polls of a job: CPU of the API", "ms", cpu("api", "poll"))
    whole = cpu("api", "create", "start", "poll")
    result.add("job.cpu", "create + start + three polls: CPU of the API", "ms", whole, at_most(_MAX_JOB_MS))
    result.add("inserts.cpu", "two bare inserts: CPU of that API", "ms", cpu("api", "insert"))
    result.add(
        "rejected.cpu",
        "create over the limit: CPU of the API, against an accepted one",
        "×",
        ratios(cpu("api", "rejected"), cpu("api", "create")),
        at_most(0.15),
    )
    for name in SERVERS:
        result.add(f"pairs.{name}", f"create + start: CPU of {name}", "ms", cpu(name, "create", "start"))


def _small_source(context: Context) -> Path:
    path = context.folder / "small-source"
    path.write_bytes(bytes(1000))
    return path


@contextmanager
def _bare_api(test_stack: TestStack, core: int | None) -> Iterator[tuple[str, int]]:
    """Start the bare API; yield its URL and process ID."""
    with psycopg.connect(test_stack.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE bench_rows (id uuid PRIMARY KEY, data jsonb NOT NULL)")
    with listen(0, echo=lambda _: None) as listening:
        command = [
            *pinning(core),
            sys.executable,
            "-m",
            "bench.contenders.bare_api",
            "--socket",
            str(listening.fileno()),
        ]
        # The stack's processes run in its home, where the package ``bench`` is not importable.
        own = {"PYTHONPATH": str(ROOT)}
        with test_stack.spawned("bare-api", command, own, pass_fds=[listening.fileno()]) as child:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            _wait_until_ready(url)
            yield url, child.pid


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            httpx.get(f"{url}/openapi.json", timeout=2)
        except httpx.HTTPError:
            time.sleep(_POLL_SECONDS)
        else:
            return
    raise BenchError("the bare API did not start")


def _cores() -> tuple[int | None, set[int]]:
    """Return the core of the API and the cores of all other processes; a single core is shared."""
    all_ = sorted(os.sched_getaffinity(0))
    return (all_[0], set(all_[1:])) if len(all_) > 1 else (None, set(all_))


@contextmanager
def _confined_to(cores: set[int]) -> Iterator[None]:
    """Restrict this process, and the processes that it starts, to these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
