"""Section ``users``: what users see with photos like theirs, and what each process pays for it."""

from __future__ import annotations

import random
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tests.acceptance.running import Running

from bench.cases import PIPELINES
from bench.contender import Contender, python_contender, start_contender
from bench.context import Context
from bench.figures import Result, at_most, late_spread, ratios
from bench.jobs import Jobs, since
from bench.sources import ABOUT, user_photos
from bench.stack import TestStack, service

_PIPELINE = PIPELINES["jpeg_640"]
_SERVICE = ("api", "worker", "children")
_LONGEST_PAUSE = 0.05
"""Seconds of the random pause between jobs, so that jobs are not synchronized with polling loops."""
_POLL_SECONDS = 0.01
_MEGABYTE = 1_000_000
_SEED = 10
_DESCRIPTION = (
    "One 640 px JPEG of each photo, by a worker with two slots. Alone: one job after the other; the time of the create "
    "request, plus the time from sending the start request to the job's `finished_at`; the upload in between is not "
    "included. Two at a time: a client starts created jobs so that two are always on their way, and polls the database "
    "every 5 ms. CPU by the kernel's clocks, of each process, per job: of the API for create and start, of the others "
    "from the first start to the last end. Bare pyvips is one process from file to file with "
    "`thumbnail` and `jpegsave` in the same round, once as it is, once with conversion from the photo's profile to "
    "sRGB, as PixelFlow does. The worker's CPU by size: a batch of queued jobs for each photo; the line is fitted by "
    "least squares in each round."
)


def run(context: Context) -> Result:
    """Run the photos alone, two at a time, and one photo at a time."""
    result = Result("users", about=[_DESCRIPTION, ABOUT])
    context.echo("preparing photos")
    photos = user_photos(context.counts.user_photos)
    with ExitStack() as stack:
        test_stack = stack.enter_context(service())
        result.versions = test_stack.versions()
        worker = stack.enter_context(test_stack.worker(slots=2))
        bare = stack.enter_context(start_contender("pyvips", python_contender("bare")))
        users = _Users(context, test_stack, worker, bare, photos)
        context.echo("alone")
        _add_alone(result, users.alone())
        context.echo("two at a time")
        _add_pairs(result, users.pairs())
        context.echo("by size")
        _add_sizes(result, photos, users.sizes())
    return result


@dataclass
class _Pairs:
    """Rounds of jobs, two at a time."""

    rates: list[float] = field(default_factory=list)
    """Jobs per second."""
    cpu: list[dict[str, float]] = field(default_factory=list)
    """Milliseconds per job, by process; ``thumbnail`` and ``managed`` are those of bare pyvips."""


class _Users:
    def __init__(
        self, context: Context, test_stack: TestStack, worker: Running, bare: Contender, photos: list[Path]
    ) -> None:
        self._context = context
        self._test_stack = test_stack
        self._worker = worker
        self._bare = bare
        self._photos = photos
        self._jobs = Jobs(test_stack)

    def alone(self) -> list[list[float]]:
        """Milliseconds of each job, by round."""
        chance = random.Random(_SEED)  # noqa: S311  # pauses, not secrets
        self._alone_round(chance)  # warm-up
        return [self._alone_round(chance) for _ in range(self._context.counts.users_rounds)]

    def _alone_round(self, chance: random.Random) -> list[float]:
        self._context.check_time()
        found = []
        for photo in self._photos:
            time.sleep(chance.uniform(0, _LONGEST_PAUSE))
            found.append(self._jobs.run_alone(_PIPELINE, photo)[1])
        return found

    def pairs(self) -> _Pairs:
        """Run all photos, two at a time, and bare pyvips."""
        pairs = _Pairs()
        self._pairs_round(_Pairs())  # warm-up
        for _ in range(self._context.counts.users_rounds):
            self._pairs_round(pairs)
        return pairs

    def _pairs_round(self, pairs: _Pairs) -> None:
        self._context.check_time()
        count, folder = self._context.counts.users_jobs, self._context.folder / "bare"
        bare = {
            name: self._bare.make(case, self._photos, folder, count).cpu
            for name, case in (("thumbnail", "thumbnail_640"), ("managed", "thumbnail_640_managed"))
        }
        before = self._test_stack.cpu(self._worker)
        ids = self._jobs.create_empty(_PIPELINE, self._photos, count)
        created = since(before, self._test_stack.cpu(self._worker))
        self._jobs.upload(ids, self._photos)
        before = self._test_stack.cpu(self._worker)
        pairs.rates.append(count / self._jobs.run_in_flight(ids, 2))
        used = since(before, self._test_stack.cpu(self._worker)) | bare
        used["api"] += created["api"]
        pairs.cpu.append({name: cpu / count * 1000 for name, cpu in used.items()})

    def sizes(self) -> list[list[float]]:
        """Milliseconds of the worker's own CPU per job, by round and photo."""
        return [self._sizes_round() for _ in range(self._context.counts.users_size_rounds)]

    def _sizes_round(self) -> list[float]:
        found, count = [], self._context.counts.users_size_jobs
        for photo in self._photos:
            self._context.check_time()
            batch = self._jobs.run_batch(self._worker, _PIPELINE, [photo], count, poll=_POLL_SECONDS)
            found.append(batch.processes["worker"] / count * 1000)
        return found


def _add_alone(result: Result, rounds: list[list[float]]) -> None:
    title = "alone: create, and start → succeeded"
    result.add("alone.p50", f"{title}, p50", "ms", [statistics.median(each) for each in rounds], at_most(70))
    result.add("alone.p99", f"{title}, p99", "ms", late_spread([job for each in rounds for job in each]))


def _add_pairs(result: Result, pairs: _Pairs) -> None:
    def cpu(*names: str) -> list[float]:
        return [sum(each[name] for name in names) for each in pairs.cpu]

    result.add("pairs", "two at a time", "jobs/s", pairs.rates)
    whole, against = cpu(*_SERVICE), "API, worker and children: CPU per job, against bare pyvips"
    result.add("ratio", f"{against} `thumbnail`", "×", ratios(whole, cpu("thumbnail")), at_most(1.12))
    result.add("ratio.managed", f"{against} with its colors converted", "×", ratios(whole, cpu("managed")))
    result.add("cpu.service", "CPU per job: API, worker and children", "ms", whole)
    bare = {"thumbnail": "bare pyvips `thumbnail`", "managed": "bare pyvips with its colors converted"}
    for name in pairs.cpu[0]:
        result.add(f"cpu.{name}", f"CPU per job: {bare.get(name, name)}", "ms", cpu(name))


def _add_sizes(result: Result, photos: list[Path], rounds: list[list[float]]) -> None:
    megabytes = [photo.stat().st_size / _MEGABYTE for photo in photos]
    fits = [fit_line(megabytes, each) for each in rounds]
    title = "CPU of the worker itself"
    result.add("worker.base", f"{title}: for each job", "ms", [base for base, _ in fits], at_most(3))
    result.add("worker.per_mb", f"{title}: and for each MB of source", "ms", [slope for _, slope in fits], at_most(1))
    off = [
        abs(base + slope * size - cpu)
        for (base, slope), each in zip(fits, rounds, strict=True)
        for size, cpu in zip(megabytes, each, strict=True)
    ]
    result.add("worker.off", f"{title}: distance of a photo from this line", "ms", off)
    for index, (photo, size) in enumerate(zip(photos, megabytes, strict=True)):
        name = f"{photo.stem}, {size:.2f} MB"
        result.add(f"worker.{photo.stem}", f"{title}: {name}", "ms", [each[index] for each in rounds])


def fit_line(x: list[float], y: list[float]) -> tuple[float, float]:
    """Fit ``y = a + b × x`` by least squares; return ``a`` and ``b``."""
    slope, base = np.polyfit(x, y, 1)
    return float(base), float(slope)
