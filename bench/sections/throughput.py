"""Jobs per second from storage to storage, with all servers on the same cores, against bare pyvips on these cores."""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from tests.acceptance.running import Running

from bench.cases import PIPELINES, TITLES
from bench.figures import Result, at_least, ratios
from bench.jobs import Batch, Jobs
from bench.photos import ABOUT
from bench.processes import paused
from bench.sections.surroundings import Surroundings
from bench.side import Side, opened, python_side
from bench.stand import SERVERS, service

_ABOUT = (
    "Jobs that wait in the queue, from the first claim to the last end: fetched from storage, transformed, "
    "stored, finished in Postgres. Postgres, Valkey and the S3 server run on the same cores. Bare pyvips: one "
    "process per slot, file to file, the same operations. Creating and starting jobs is not in it."
)


def run(around: Surroundings) -> Result:
    """One slot, two slots, and as many processes of bare pyvips as slots."""
    result = Result("throughput", about=[_ABOUT, ABOUT, f"{len(os.sched_getaffinity(0))} cores."])
    with ExitStack() as stack:
        stand = stack.enter_context(service())
        result.versions = stand.versions()
        workers = {slots: stack.enter_context(stand.worker(slots=slots, name=f"worker-{slots}")) for slots in (1, 2)}
        bare = [stack.enter_context(opened(f"pyvips-{number}", python_side("bare"))) for number in range(2)]
        stage = _Stage(around, Jobs(stand), workers, bare)
        for case, count in around.counts.throughput_jobs.items():
            around.say(TITLES[case])
            _tell(result, case, stage.measure(case, count))
            _tell_cpu(result, case, stage.batches, count)
    return result


class _Stage:
    """Everybody who takes part; whoever's turn it is not stands still."""

    def __init__(self, around: Surroundings, jobs: Jobs, workers: dict[int, Running], bare: list[Side]) -> None:
        self._around = around
        self._jobs = jobs
        self._workers = workers
        self._bare = bare
        self.batches: dict[tuple[str, int], list[Batch]] = defaultdict(list)
        """By case and slots."""

    def measure(self, case: str, count: int) -> dict[str, list[float]]:
        """Pictures per second of each side, round by round."""
        self._round(case, max(2, count // 5))
        self.batches.clear()  # they were to warm up
        rounds = [self._round(case, count) for _ in range(self._around.counts.throughput_rounds)]
        return {side: [each[side] for each in rounds] for side in rounds[0]}

    def _round(self, case: str, count: int) -> dict[str, float]:
        self._around.check_time()
        found = {}
        for slots in (1, 2):
            found[f"bare_{slots}"] = self._run_bare(case, count, self._bare[:slots])
            found[f"slots_{slots}"] = self._run_jobs(case, count, slots)
        return found

    def _run_jobs(self, case: str, count: int, slots: int) -> float:
        other = self._workers[3 - slots]
        with paused(other.pid):
            batch = self._jobs.run_batch(self._workers[slots], PIPELINES[case], self._around.photos, count)
        self.batches[case, slots].append(batch)
        return count / batch.wall

    def _run_bare(self, case: str, count: int, sides: list[Side]) -> float:
        each = -(-count // len(sides))
        for side in sides:
            side.begin(case, self._around.photos, self._folder(side), each)
        costs = [side.finish() for side in sides]
        return each * len(sides) / max(cost.wall for cost in costs)

    def _folder(self, side: Side) -> Path:
        return self._around.folder / side.name


def _tell(result: Result, case: str, rates: dict[str, list[float]]) -> None:
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


def _tell_cpu(result: Result, case: str, batches: dict[tuple[str, int], list[Batch]], count: int) -> None:
    for name in SERVERS:
        used = [batch.servers[name] / count * 1000 for batch in batches[case, 2]]
        result.add(f"{case}.{name}", f"{TITLES[case]}: CPU of {name} per job", "ms", used)
    for slots in (1, 2):
        busy = [(batch.cpu + sum(batch.servers.values())) / batch.wall for batch in batches[case, slots]]
        title = f"{TITLES[case]}: cores that worker and servers keep busy, slots: {slots}"
        result.add(f"{case}.busy_{slots}", title, "cores", busy)
