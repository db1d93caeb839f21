"""Section ``peers``: PixelFlow beside other image services that run at given addresses, with a score for each."""

from __future__ import annotations

import io
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, Self
from urllib.parse import urlsplit

from tests.acceptance.running import Running

from bench import quality
from bench.cases import PIPELINES, TITLES
from bench.contender import Contender as BareProcess
from bench.contender import python_contender, start_contender
from bench.context import Context
from bench.figures import BenchError, Result
from bench.jobs import Jobs, since
from bench.peers import PeerClient, Wanted, get_all
from bench.processes import listening_pid, tree_cpu
from bench.sources import ABOUT, user_photos
from bench.stack import TestStack, service

_SCORED = {"jpeg_640": ("small", "small.jpg"), "webp_4": ("w640", "w640.webp"), "avif_640": ("small", "small.avif")}
"""Case → the step and the file whose output is scored, all of them 640 px wide."""
_BARE = {"jpeg_640": "thumbnail_640_managed"}
"""Case → bare pyvips' case, if its name differs."""
_SERVICE = ("api", "worker", "children")
_DESCRIPTION = (
    "The same photos for all, from the same S3 server. A picture is one 640 px JPEG (quality 80), four WebP widths "
    "(quality 80), or one AVIF (quality 50). PixelFlow: create, and start → succeeded, from the bucket to the bucket; "
    "its CPU is that of API, worker and children. A service by address: from the request to the last byte of its "
    "response, which it does not store; it fetches the source by a presigned URL; four widths are four requests, one "
    "after the other; its CPU, if it listens on this machine, is that of the listening process and those below it. "
    "Bare pyvips: one process, from file to file, colors converted to sRGB. Contenders alternate, photo by photo "
    "alone, round by round two at a time. Scores compare the 640 px output of some photos with a "
    "resize in floating point, in sRGB."
)
_NO_PEERS = "No other service was given: PEERS=imgproxy=http://127.0.0.1:8081,imagor=…,thumbor=…"


class _Contender(Protocol):
    """A service that makes pictures of the photos, by their index."""

    @property
    def title(self) -> str:
        """The name in titles."""

    def alone(self, case: str, photo: int) -> float:
        """Make one picture; return the milliseconds."""

    def pairs(self, case: str, photos: Sequence[int]) -> tuple[float, float | None]:
        """Make pictures, two at a time; return the seconds, and the CPU seconds if known."""

    def output(self, case: str, photo: int) -> bytes:
        """Return the output that is scored."""


def run(context: Context) -> Result:
    """Alternate between PixelFlow, bare pyvips and the given services."""
    score = quality.ssimulacra2()
    notes = [*([] if context.peers else [_NO_PEERS]), *([] if score else [quality.NO_SSIMULACRA2])]
    result = Result("peers", about=[_DESCRIPTION, ABOUT, *notes])
    photos = user_photos(context.counts.user_photos)
    with ExitStack() as stack:
        test_stack = stack.enter_context(service())
        result.versions = test_stack.versions()
        worker = stack.enter_context(test_stack.worker(slots=2))
        bare = stack.enter_context(start_contender("pyvips", python_contender("bare")))
        jobs = Jobs(test_stack)
        names = [f"photo-{index}" for index in range(len(photos))]
        jobs.upload(names, photos)
        sources = [jobs.download_url(f"uploads/{name}/source") for name in names]
        contenders: dict[str, _Contender] = {
            "pixelflow": _PixelFlow(test_stack, worker, jobs, photos),
            "pyvips": _Bare(bare, photos, context.folder / "bare"),
            **{name: stack.enter_context(_Peer(name, url, sources)) for name, url in context.peers.items()},
        }
        for case in context.counts.peer_rounds:
            context.echo(TITLES[case])
            able = _able(result, contenders, case)
            _measure(context, result, able, case, len(photos))
            _add_scores(result, case, able, photos[: context.counts.peer_scores], score)
    return result


def _able(result: Result, contenders: dict[str, _Contender], case: str) -> dict[str, _Contender]:
    """Return the contenders that can make the case's outputs; the others are noted in the result.

    Raises:
        BenchError: one can't even make JPEG.
    """
    able = {}
    for name, contender in contenders.items():
        try:
            contender.output(case, 0)
        except BenchError as error:
            if case == "jpeg_640":
                raise
            result.about.append(f"{TITLES[case]}: {contender.title} is not measured, because {error}.")
        else:
            able[name] = contender
    return able


@dataclass(frozen=True)
class _PixelFlow:
    _test_stack: TestStack
    _worker: Running
    _jobs: Jobs
    _photos: Sequence[Path]
    title: str = "PixelFlow"

    def alone(self, case: str, photo: int) -> float:
        return self._jobs.run_alone(PIPELINES[case], self._photos[photo])[1]

    def pairs(self, case: str, photos: Sequence[int]) -> tuple[float, float | None]:
        before = self._test_stack.cpu(self._worker)
        sources = [self._photos[photo] for photo in photos]
        ids = self._jobs.create_empty(PIPELINES[case], sources, len(sources))
        creating = since(before, self._test_stack.cpu(self._worker))["api"]
        self._jobs.upload(ids, sources)
        before = self._test_stack.cpu(self._worker)
        seconds = self._jobs.run_in_flight(ids, 2)
        used = since(before, self._test_stack.cpu(self._worker))
        return seconds, creating + sum(used[name] for name in _SERVICE)

    def output(self, case: str, photo: int) -> bytes:
        job_id, _ = self._jobs.run_alone(PIPELINES[case], self._photos[photo])
        return self._jobs.outputs(job_id)[_SCORED[case][0]]


@dataclass(frozen=True)
class _Bare:
    _process: BareProcess
    _photos: Sequence[Path]
    _folder: Path
    title: str = "bare pyvips"

    def alone(self, case: str, photo: int) -> float:
        return self._process.make(_BARE.get(case, case), [self._photos[photo]], self._folder, 1).wall * 1000

    def pairs(self, case: str, photos: Sequence[int]) -> tuple[float, float | None]:
        sources = [self._photos[photo] for photo in photos]
        cost = self._process.make(_BARE.get(case, case), sources, self._folder, len(sources))
        return cost.wall, cost.cpu

    def output(self, case: str, photo: int) -> bytes:
        self.alone(case, photo)
        return (self._folder / _SCORED[case][1]).read_bytes()


@dataclass
class _Peer:
    title: str
    _url: str
    _sources: Sequence[str]
    _pid: int | None = field(init=False)

    def __post_init__(self) -> None:
        place = urlsplit(self._url)
        is_here = place.hostname in ("127.0.0.1", "localhost", "::1")
        self._pid = listening_pid(place.port or 80) if is_here else None

    @cached_property
    def _client(self) -> PeerClient:
        return PeerClient(self.title, self._url)

    def alone(self, case: str, photo: int) -> float:
        began = time.perf_counter()
        for wanted in wanted_by(case):
            self._client.get(self._sources[photo], wanted)
        return (time.perf_counter() - began) * 1000

    def pairs(self, case: str, photos: Sequence[int]) -> tuple[float, float | None]:
        requests = [(self._sources[photo], wanted) for photo in photos for wanted in wanted_by(case)]
        before, began = tree_cpu(self._pid) if self._pid else 0.0, time.perf_counter()
        get_all(self.title, self._url, requests, connections=2)
        seconds = time.perf_counter() - began
        return seconds, tree_cpu(self._pid) - before if self._pid else None

    def output(self, case: str, photo: int) -> bytes:
        (wanted,) = (each for each in wanted_by(case) if each.width == 640)
        return self._client.get(self._sources[photo], wanted)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.__exit__()


def wanted_by(case: str) -> list[Wanted]:
    """Return the pictures of a case's pipeline."""
    return [Wanted(step["width"], step["format"], step["quality"]) for step in PIPELINES[case]]


def _measure(context: Context, result: Result, contenders: dict[str, _Contender], case: str, photos: int) -> None:
    alone: dict[str, list[float]] = defaultdict(list)
    rates: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    for round_ in range(context.counts.peer_rounds[case] + 1):
        context.check_time()
        is_measured = round_ > 0  # the first one warms up
        chosen = range(photos) if is_measured else range(min(photos, 3))
        each = defaultdict(list)
        for photo in chosen:
            for name, contender in contenders.items():
                each[name].append(contender.alone(case, photo))
        for name, contender in contenders.items():
            seconds, used = contender.pairs(case, chosen)
            if is_measured:
                alone[name].append(statistics.median(each[name]))
                rates[name].append(len(chosen) / seconds)
                cpu[name] += [] if used is None else [used / len(chosen) * 1000]
    for name, contender in contenders.items():
        title = f"{TITLES[case]}: {contender.title}"
        many = "one at a time" if name == "pyvips" else "two at a time"
        result.add(f"{case}.{name}.alone", f"{title}, alone, p50", "ms", alone[name])
        result.add(f"{case}.{name}.pairs", f"{title}, {many}", "pictures/s", rates[name])
        if cpu[name]:
            result.add(f"{case}.{name}.cpu", f"{title}, CPU per picture", "ms", cpu[name])


def _add_scores(
    result: Result,
    case: str,
    contenders: dict[str, _Contender],
    photos: Sequence[Path],
    ssimulacra2: Callable[[quality.Pixels, quality.Pixels], float] | None,
) -> None:
    scores: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in contenders}
    for index, photo in enumerate(photos):
        references: dict[tuple[int, ...], quality.Pixels] = {}
        for name, contender in contenders.items():
            output = contender.output(case, index)
            actual = quality.pixels_of(io.BytesIO(output))
            height, width = actual.shape[:2]
            if (width, height) not in references:
                references[width, height] = quality.reference_resize(photo, width, height)
            reference = references[width, height]
            score = quality.score(actual, reference)
            scores[name]["delta_e"].append(score.color_difference)
            scores[name]["ssim"].append(score.ssim)
            scores[name]["bytes"].append(len(output) / 1000)
            if ssimulacra2:
                scores[name]["ssimulacra2"].append(ssimulacra2(actual, reference))
    units = {"delta_e": ("ΔE2000", "ΔE"), "ssim": ("SSIM", ""), "bytes": ("size of the 640 px output", "KB")}
    units["ssimulacra2"] = ("SSIMULACRA2", "")
    for name, contender in contenders.items():
        for kind, values in scores[name].items():
            title = f"{TITLES[case]}: {contender.title}, {units[kind][0]}"
            result.add(f"{case}.{name}.{kind}", title, units[kind][1], values)
