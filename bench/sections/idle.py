"""Section ``idle``: what every process costs while there is nothing to do."""

from __future__ import annotations

import time
from contextlib import ExitStack

from bench.cases import PIPELINES
from bench.context import Context
from bench.figures import Result, at_most
from bench.jobs import Jobs, since
from bench.stack import ROLES, SERVERS, service

_SETTLE_SECONDS = 3.0
_DESCRIPTION = (
    "CPU time of every process over some seconds without requests and jobs, in percent of one core, some seconds after "
    "one job has ended. The worker is counted with its children."
)


def run(context: Context) -> Result:
    """Run one job, then wait."""
    result = Result("idle", about=[_DESCRIPTION])
    windows = []
    with ExitStack() as stack:
        test_stack = stack.enter_context(service())
        result.versions = test_stack.versions()
        worker = stack.enter_context(test_stack.worker(slots=2))
        jobs = Jobs(test_stack)
        ids = jobs.create(PIPELINES["jpeg_640"], context.photos, 1)
        jobs.start(ids)
        jobs.wait(ids, seconds=60)
        context.echo("nothing to do")
        time.sleep(min(_SETTLE_SECONDS, context.counts.idle_seconds))
        for _ in range(context.counts.idle_windows):
            context.check_time()
            before, began = test_stack.cpu(worker), time.perf_counter()
            time.sleep(context.counts.idle_seconds)
            used, seconds = since(before, test_stack.cpu(worker)), time.perf_counter() - began
            windows.append({name: cpu / seconds * 100 for name, cpu in used.items()})
    _add_figures(result, windows)
    return result


def _add_figures(result: Result, windows: list[dict[str, float]]) -> None:
    own = ("worker", "children", *ROLES)
    together = [sum(each[name] for name in own) for each in windows]
    stores = [sum(each[name] for name in SERVERS) for each in windows]
    result.add("pixelflow", "idle: worker, controller and API", "% of a core", together, at_most(2))
    result.add("stores", "idle: Postgres, Valkey and the S3 server", "% of a core", stores, at_most(1.5))
    for name in windows[0]:
        result.add(name, f"idle: {name}", "% of a core", [each[name] for each in windows])
