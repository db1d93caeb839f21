"""Section ``memory``: peak memory of a child for large pictures, and memory growth of all processes over many jobs."""

from __future__ import annotations

import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.acceptance.running import Running, children, process_of

from bench.cases import PIPELINES
from bench.context import Context
from bench.figures import Result, at_most, spread
from bench.jobs import Jobs
from bench.photos import write_large
from bench.processes import peak_bytes
from bench.stack import SERVERS, TestStack, service

_CASE = "jpeg_640"
_MEGABYTE = 1_000_000
_LARGE = 100
"""Megapixels of the picture with a target."""
_TENTHS = 10
_WAVE = 50
"""Jobs that are queued together."""
_SAMPLE_SECONDS = 0.1
_DESCRIPTION = (
    "The peak is the largest resident memory (VmHWM) of a new child after one JPEG (baseline, as cameras write "
    "them) → 640 px. The soak compares the RSS of each process in the last tenth of the jobs with the second tenth, as "
    "medians of samples. All children are counted together; each is replaced after 1,000 jobs."
)


def run(context: Context) -> Result:
    """Measure large pictures, then run the soak."""
    result = Result("memory", about=[_DESCRIPTION])
    with ExitStack() as stack:
        test_stack = stack.enter_context(service())
        result.versions = test_stack.versions()
        jobs = Jobs(test_stack)
        for megapixels in context.counts.memory_megapixels:
            context.echo(f"{megapixels} MP")
            _peak(context, result, test_stack, jobs, megapixels)
        context.echo(f"soak of {context.counts.soak_jobs} jobs")
        _soak(context, result, test_stack, jobs)
    return result


def _peak(context: Context, result: Result, test_stack: TestStack, jobs: Jobs, megapixels: int) -> None:
    context.check_time()
    source = write_large(context.folder / "large.jpg", megapixels)
    with test_stack.worker(slots=1) as worker:
        ids = jobs.create(PIPELINES[_CASE], [source], 1)
        jobs.start(ids)
        jobs.wait(ids, seconds=60)
        peaks = [peak_bytes(child) / _MEGABYTE for child in children(worker)]
    wanted = at_most(150) if megapixels == _LARGE else None
    result.add(
        f"peak.{megapixels}mp", f"{megapixels} MP baseline JPEG → 640 px: child's peak", "MB", [max(peaks)], wanted
    )


def _soak(context: Context, result: Result, test_stack: TestStack, jobs: Jobs) -> None:
    with test_stack.worker(slots=2) as worker, _sampling(test_stack, worker) as samples:
        for tenth in range(_TENTHS):
            context.check_time()
            samples.tenth = tenth
            left = context.counts.soak_jobs // _TENTHS
            while left > 0:
                ids = jobs.create(PIPELINES[_CASE], context.photos, min(_WAVE, left))
                jobs.start(ids)
                jobs.wait(ids, seconds=120)
                left -= len(ids)
            samples.wait(tenth)
    for name in samples.names:
        second, last = samples.of(name, 1), samples.of(name, _TENTHS - 1)
        if not second or not last:  # a child ends after some idle seconds
            continue
        result.add(f"soak.{name}.rss", f"soak: {name}, RSS in the last tenth", "MB", spread(last))
        growth = [value / statistics.median(second) for value in last]
        wanted = None if name in SERVERS else at_most(1.05)
        result.add(f"soak.{name}.growth", f"soak: {name}, last tenth against second", "×", spread(growth), wanted)


class _Samples:
    """Resident memory in megabytes, by process and tenth of the run."""

    def __init__(self) -> None:
        self.tenth = 0
        self._found: dict[tuple[str, int], list[float]] = defaultdict(list)

    def take(self, named: dict[str, list[Running]]) -> None:
        for name, processes in named.items():
            for process in processes:
                self._found[name, self.tenth].append(process.resident_bytes / _MEGABYTE)

    def wait(self, tenth: int) -> None:
        """Wait until every process has a sample of this tenth, which may be shorter than a pause."""
        deadline = time.monotonic() + 10 * _SAMPLE_SECONDS
        while not all(self._found.get((name, tenth)) for name in self.names) and time.monotonic() < deadline:
            time.sleep(_SAMPLE_SECONDS / 4)

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in list(self._found)))

    def of(self, name: str, tenth: int) -> list[float]:
        return self._found.get((name, tenth), [])


@contextmanager
def _sampling(test_stack: TestStack, worker: Running) -> Iterator[_Samples]:
    samples, stop = _Samples(), threading.Event()
    named = {name: [process_of(test_stack.stack, name)] for name in ("api", "controller", *SERVERS)}

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
