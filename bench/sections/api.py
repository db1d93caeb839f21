"""Create and start per second of an API that has one core, against a bare FastAPI route with one INSERT."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psycopg
from tests.acceptance.running import process_of

from bench.cases import PIPELINES
from bench.figures import BenchError, Result, at_least, ratios
from bench.http_load import post_all, post_request
from bench.jobs import Jobs
from bench.photos import ROOT
from bench.processes import cpu_clock
from bench.sections.surroundings import Surroundings
from bench.stand import Stand, pinning, servers
from pixelflow.devstack.ports import listen

_START_SECONDS = 20.0
_POLL_SECONDS = 0.05
_BODY = {"pipeline": PIPELINES["jpeg_640"]}
_ABOUT = (
    "The API's process has a core for itself; Postgres, Valkey, the S3 server and the load share the others. A "
    "pair is one create and one start; the source is uploaded in between, outside the time. Against it, two "
    "requests to a FastAPI route that does one INSERT, by the same server, driver and load. No worker runs. Rate "
    "limits are on and wide."
)


def run(around: Surroundings) -> Result:
    """Round by round: so many pairs on ours, twice as many inserts on theirs."""
    result = Result("api", about=[_ABOUT])
    own, others = _cores()
    with ExitStack() as stack:
        stack.enter_context(_confined_to(others))
        stand = stack.enter_context(servers())
        result.versions = stand.versions()
        stand.start_roles(["api"], core=own)
        url, bare_pid = stack.enter_context(_bare_api(stand, own))
        around.say("create and start")
        _measure(around, result, stand, url, bare_pid)
    return result


def _measure(around: Surroundings, result: Result, stand: Stand, url: str, bare_pid: int) -> None:
    api_pid, jobs = process_of(stand.stack, "api").pid, Jobs(stand)
    _pairs(around, stand, jobs, api_pid, max(4, around.counts.api_pairs // 5))
    _inserts(url, bare_pid, max(8, around.counts.api_pairs // 5))
    ours, theirs = [], []
    for _ in range(around.counts.api_rounds):
        around.check_time()
        theirs.append(_inserts(url, bare_pid, 2 * around.counts.api_pairs))
        ours.append(_pairs(around, stand, jobs, api_pid, around.counts.api_pairs))
    pairs, inserts = [each[0] for each in ours], [each[0] for each in theirs]
    result.add("pairs", "create + start", "pairs/s", pairs)
    result.add("inserts", "two bare inserts", "pairs/s", inserts)
    result.add("ratio", "create + start, against two bare inserts", "×", ratios(pairs, inserts), at_least(0.45))
    result.add("pairs.cpu", "create + start: CPU of the API", "ms", [each[1] for each in ours])
    result.add("inserts.cpu", "two bare inserts: CPU of that API", "ms", [each[1] for each in theirs])
    result.add("create", "create alone", "requests/s", [each[2] for each in ours])
    result.add("start", "start alone", "requests/s", [each[3] for each in ours])


def _pairs(around: Surroundings, stand: Stand, jobs: Jobs, pid: int, count: int) -> tuple[float, float, float, float]:
    """Pairs per second, milliseconds of CPU per pair; creates and starts per second."""
    url = stand.api_url
    creates = [post_request(url, "/v1/jobs", _BODY, key=stand.key)] * count
    before = cpu_clock(pid)
    created = post_all(url, creates)
    cpu = cpu_clock(pid) - before
    ids = [body["job_id"] for body in created.bodies]
    jobs.upload(ids, [_small_source(around)])
    starts = [post_request(url, f"/v1/jobs/{job_id}/start", key=stand.key) for job_id in ids]
    before = cpu_clock(pid)
    started = post_all(url, starts)
    cpu += cpu_clock(pid) - before
    both = created.seconds + started.seconds
    return count / both, cpu / count * 1000, count / created.seconds, count / started.seconds


def _small_source(around: Surroundings) -> Path:
    path = around.folder / "small-source"
    if not path.exists():
        path.write_bytes(bytes(1000))
    return path


def _inserts(url: str, pid: int, count: int) -> tuple[float, float]:
    """Pairs per second, milliseconds of CPU per pair."""
    before = cpu_clock(pid)
    done = post_all(url, [post_request(url, "/rows", _BODY)] * count)
    cpu = cpu_clock(pid) - before
    return count / 2 / done.seconds, cpu / count * 2 * 1000


@contextmanager
def _bare_api(stand: Stand, core: int | None) -> Iterator[tuple[str, int]]:
    """Its address and process."""
    with psycopg.connect(stand.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE bench_rows (id uuid PRIMARY KEY, data jsonb NOT NULL)")
    with listen(0, say=lambda _: None) as listening:
        command = [*pinning(core), sys.executable, "-m", "bench.sides.bare_api", "--socket", str(listening.fileno())]
        # The stack's processes run in its home, where the benchmark is no package.
        own = {"PYTHONPATH": str(ROOT)}
        with stand.spawned("bare-api", command, own, inherits=[listening.fileno()]) as child:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            _wait_until_it_answers(url)
            yield url, child.pid


def _wait_until_it_answers(url: str) -> None:
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
    """The API's core, and everybody else's; where there is but one, all share it."""
    all_ = sorted(os.sched_getaffinity(0))
    return (all_[0], set(all_[1:])) if len(all_) > 1 else (None, set(all_))


@contextmanager
def _confined_to(cores: set[int]) -> Iterator[None]:
    """This process, and all that it starts meanwhile, on those cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
