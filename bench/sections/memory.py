"""What a child needs at most for large pictures, and whether any process grows over thousands of jobs."""

from __future__ import annotations

import statistics
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.acceptance.running import Running, children, process_of

from bench.cases import PIPELINES
from bench.figures import Result, at_most, spread
from bench.jobs import Jobs
from bench.photos import write_large
from bench.processes import peak_bytes
from bench.sections.surroundings import Surroundings
from bench.stand import SERVERS, Stand, service

_CASE = "jpeg_640"
_MEGABYTE = 1_000_000
_LARGE = 100
"""Megapixels of the picture that has a target."""
_TENTHS = 10
_WAVE = 50
"""Jobs that are queued at once."""
_SAMPLE_SECONDS = 0.1
_ABOUT = (
    "The peak is the largest resident memory (VmHWM) of a fresh child after one JPEG (baseline, as cameras write "
    "them) → 640 px. The soak: RSS of each process in the last tenth of the jobs against the second tenth, "
    "medians of samples; children are taken together, and are replaced after 1,000 jobs each."
)


def run(around: Surroundings) -> Result:
    """Large pictures first, then the soak."""
    result = Result("memory", about=[_ABOUT])
    with ExitStack() as stack:
        stand = stack.enter_context(service())
        result.versions = stand.versions()
        jobs = Jobs(stand)
        for megapixels in around.counts.memory_megapixels:
            around.say(f"{megapixels} MP")
            _peak(around, result, stand, jobs, megapixels)
        around.say(f"soak of {around.counts.soak_jobs} jobs")
        _soak(around, result, stand, jobs)
    return result


def _peak(around: Surroundings, result: Result, stand: Stand, jobs: Jobs, megapixels: int) -> None:
    around.check_time()
    source = write_large(around.folder / "large.jpg", megapixels)
    with stand.worker(slots=1) as worker:
        ids = jobs.create(PIPELINES[_CASE], [source], 1)
        jobs.start(ids)
        jobs.wait(ids, seconds=60)
        peaks = [peak_bytes(child) / _MEGABYTE for child in children(worker)]
    wanted = at_most(150) if megapixels == _LARGE else None
    result.add(
        f"peak.{megapixels}mp", f"{megapixels} MP baseline JPEG → 640 px: child's peak", "MB", [max(peaks)], wanted
    )


def _soak(around: Surroundings, result: Result, stand: Stand, jobs: Jobs) -> None:
    with stand.worker(slots=2) as worker, _sampling(stand, worker) as samples:
        for tenth in range(_TENTHS):
            around.check_time()
            samples.tenth = tenth
            left = around.counts.soak_jobs // _TENTHS
            while left > 0:
                ids = jobs.create(PIPELINES[_CASE], around.photos, min(_WAVE, left))
                jobs.start(ids)
                jobs.wait(ids, seconds=120)
                left -= len(ids)
    for name in samples.names:
        second, last = samples.of(name, 1), samples.of(name, _TENTHS - 1)
        result.add(f"soak.{name}.rss", f"soak: {name}, RSS in the last tenth", "MB", spread(last))
        growth = [value / statistics.median(second) for value in last]
        wanted = None if name in SERVERS else at_most(1.05)
        result.add(f"soak.{name}.growth", f"soak: {name}, last tenth against second", "×", spread(growth), wanted)


class _Samples:
    """Resident memory by process and tenth, in megabytes."""

    def __init__(self) -> None:
        self.tenth = 0
        self._found: dict[tuple[str, int], list[float]] = defaultdict(list)

    def take(self, named: dict[str, list[Running]]) -> None:
        for name, processes in named.items():
            for process in processes:
                self._found[name, self.tenth].append(process.resident_bytes / _MEGABYTE)

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self._found))

    def of(self, name: str, tenth: int) -> list[float]:
        return self._found[name, tenth]


@contextmanager
def _sampling(stand: Stand, worker: Running) -> Iterator[_Samples]:
    samples, stop = _Samples(), threading.Event()
    named = {name: [process_of(stand.stack, name)] for name in ("api", "controller", *SERVERS)}

    def sample() -> None:
        while not stop.wait(_SAMPLE_SECONDS):
            samples.take({**named, "worker": [worker], "child": children(worker)})

    thread = threading.Thread(target=sample, name="rss", daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()
