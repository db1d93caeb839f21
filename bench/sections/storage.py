"""Section ``storage``: jobs per second over storage at a distance, compared with storage on loopback."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from tests.acceptance.running import Running, paused

from bench.cases import PIPELINES, TITLES
from bench.context import Context
from bench.figures import Result, Target, at_least, ratios
from bench.jobs import Jobs
from bench.photos import ABOUT, ROOT
from bench.stack import TestStack, service
from pixelflow.devstack.ports import listen

ENDPOINT = "PIXELFLOW_S3_ENDPOINT_URL"
_ONE_WAY_MILLISECONDS = 25
_TARGETS: dict[str, Target] = {"six": at_least(0.9)}
_DESCRIPTION = (
    "Two workers with two slots each process queued jobs in turn; the other one is paused. One uses the S3 server on "
    "loopback, the other through a proxy that delivers every byte 25 ms later in each direction (a round trip of 50 "
    "ms, without a limit of bandwidth). From the first claim to the last end."
)


def run(context: Context) -> Result:
    """Alternate between the worker at the server and the worker at a distance."""
    result = Result("storage", about=[_DESCRIPTION, ABOUT])
    with ExitStack() as stack:
        test_stack = stack.enter_context(service())
        result.versions = test_stack.versions()
        url = stack.enter_context(_delayed_storage(test_stack))
        workers = {
            "loopback": stack.enter_context(test_stack.worker(slots=2, name="worker-loopback")),
            "delayed": stack.enter_context(test_stack.worker(slots=2, name="worker-delayed", settings={ENDPOINT: url})),
        }
        jobs = Jobs(test_stack)
        for case, count in context.counts.storage_jobs.items():
            context.echo(TITLES[case])
            rates = _rates(context, jobs, workers, case, count)
            _add_figures(result, case, rates)
    return result


def _rates(context: Context, jobs: Jobs, workers: dict[str, Running], case: str, count: int) -> dict[str, list[float]]:
    """Return the jobs per second of each worker, by round."""
    rates = defaultdict(list)
    for round_ in range(context.counts.storage_rounds + 1):
        context.check_time()
        is_measured = round_ > 0  # the first one warms up
        jobs_of_round = count if is_measured else max(1, count // 4)
        for name, worker in workers.items():
            (other,) = (each for each in workers.values() if each is not worker)
            with paused(other.pid):
                batch = jobs.run_batch(worker, PIPELINES[case], context.photos, jobs_of_round)
            if is_measured:
                rates[name].append(count / batch.wall)
    return rates


def _add_figures(result: Result, case: str, rates: dict[str, list[float]]) -> None:
    title = TITLES[case]
    result.add(f"{case}.loopback", f"{title}: storage on loopback", "jobs/s", rates["loopback"])
    result.add(f"{case}.delayed", f"{title}: storage at 50 ms", "jobs/s", rates["delayed"])
    against = ratios(rates["delayed"], rates["loopback"])
    result.add(f"{case}.ratio", f"{title}: storage at 50 ms against loopback", "×", against, _TARGETS.get(case))


@contextmanager
def _delayed_storage(test_stack: TestStack) -> Iterator[str]:
    """Run the proxy; yield the endpoint's URL."""
    server = urlsplit(test_stack.stack.environment[ENDPOINT])
    with listen(0, echo=lambda _: None) as listening:
        command = [sys.executable, "-m", "bench.delay", "--socket", str(listening.fileno())]
        command += ["--host", str(server.hostname), "--port", str(server.port)]
        command += ["--milliseconds", str(_ONE_WAY_MILLISECONDS)]
        own = {"PYTHONPATH": str(ROOT)}
        with test_stack.spawned("delay", command, own, pass_fds=[listening.fileno()]):
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
