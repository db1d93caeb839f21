"""Section ``throughput``: jobs per second, with all servers on the same cores, compared with bare pyvips."""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from tests.acceptance.running import Running, paused

from bench.cases import PIPELINES, TITLES
from bench.contender import Contender, python_contender, start_contender
from bench.context import Context
from bench.figures import Result, at_least, ratios
from bench.jobs import Batch, Jobs
from bench.photos import ABOUT
from bench.stack import SERVERS, service

_DESCRIPTION = (
    "Queued jobs, from the first claim to the last end: fetched from storage, transformed, stored, and finished in "
    "Postgres. Postgres, Valkey and the S3 server run on the same cores. Bare pyvips: one process per slot, file to "
    "file, the same operations. Creating and starting jobs is not included."
)


def run(context: Context) -> Result:
    """Measure one slot and two slots, and as many processes of bare pyvips."""
    result = Result("throughput", about=[_DESCRIPTION, ABOUT, f"{len(os.sched_getaffinity(0))} cores."])
    with ExitStack() as stack:
        test_stack = stack.enter_context(service())
        result.versions = test_stack.versions()
        workers = {
            slots: stack.enter_context(test_stack.worker(slots=slots, name=f"worker-{slots}")) for slots in (1, 2)
        }
        bare = [
            stack.enter_context(start_contender(f"pyvips-{number}", python_contender("bare"))) for number in range(2)
        ]
        rounds = _Rounds(context, Jobs(test_stack), workers, bare)
        for case, count in context.counts.throughput_jobs.items():
            context.echo(TITLES[case])
            _add_figures(result, case, rounds.measure(case, count))
            _add_cpu_figures(result, case, rounds.batches, count)
    return result


class _Rounds:
    """Runs workers and bare pyvips in turn; the workers that are not measured are paused."""

    def __init__(self, context: Context, jobs: Jobs, workers: dict[int, Running], bare: list[Contender]) -> None:
        self._context = context
        self._jobs = jobs
        self._workers = workers
        self._bare = bare
        self.batches: dict[tuple[str, int], list[Batch]] = defaultdict(list)
        """By case and number of slots."""

    def measure(self, case: str, count: int) -> dict[str, list[float]]:
        """Pictures per second of each contender, round by round."""
        self._round(case, max(2, count // 5))
        self.batches.clear()  # warm-up
        rounds = [self._round(case, count) for _ in range(self._context.counts.throughput_rounds)]
        return {contender: [each[contender] for each in rounds] for contender in rounds[0]}

    def _round(self, case: str, count: int) -> dict[str, float]:
        self._context.check_time()
        found = {}
        for slots in (1, 2):
            found[f"bare_{slots}"] = self._run_bare(case, count, self._bare[:slots])
            found[f"slots_{slots}"] = self._run_jobs(case, count, slots)
        return found

    def _run_jobs(self, case: str, count: int, slots: int) -> float:
        other = self._workers[3 - slots]
        with paused(other.pid):
            batch = self._jobs.run_batch(self._workers[slots], PIPELINES[case], self._context.photos, count)
        self.batches[case, slots].append(batch)
        return count / batch.wall

    def _run_bare(self, case: str, count: int, contenders: list[Contender]) -> float:
        each = -(-count // len(contenders))
        for contender in contenders:
            contender.begin(case, self._context.photos, self._folder(contender), each)
        costs = [contender.finish() for contender in contenders]
        return each * len(contenders) / max(cost.wall for cost in costs)

    def _folder(self, contender: Contender) -> Path:
        return self._context.folder / contender.name


def _add_figures(result: Result, case: str, rates: dict[str, list[float]]) -> None:
    title = TITLES[case]
    for slots in (1, 2):
        plural = "slot" if slots == 1 else "slots"
        result.add(f"{case}.slots_{slots}", f"{title}: {slots} {plural}", "jobs/s", rates[f"slots_{slots}"])
        bare = f"{title}: bare pyvips, {slots} process{'es' if slots > 1 else ''}"
        result.add(f"{case}.bare_{slots}", bare, "pictures/s", rates[f"bare_{slots}"])
    against_one = ratios(rates["slots_2"], rates["slots_1"])
    result.add(f"{case}.two_against_one", f"{title}: two slots against one", "×", against_one, at_least(1.8))
    against_bare = ratios(rates["slots_2"], rates["bare_2"])
    wanted = at_least(0.65) if case == "jpeg_640" else None
    result.add(f"{case}.against_bare", f"{title}: two slots against bare pyvips", "×", against_bare, wanted)


def _add_cpu_figures(result: Result, case: str, batches: dict[tuple[str, int], list[Batch]], count: int) -> None:
    for name in SERVERS:
        used = [batch.servers[name] / count * 1000 for batch in batches[case, 2]]
        result.add(f"{case}.{name}", f"{TITLES[case]}: CPU of {name} per job", "ms", used)
    for slots in (1, 2):
        busy = [(batch.cpu + sum(batch.servers.values())) / batch.wall for batch in batches[case, slots]]
        title = f"{TITLES[case]}: cores that worker and servers keep busy, slots: {slots}"
        result.add(f"{case}.busy_{slots}", title, "cores", busy)
