"""What stands around the pixels: processor time of the worker and its children per job, against bare pyvips."""

from __future__ import annotations

from contextlib import ExitStack

from bench.cases import PIPELINES, TITLES
from bench.figures import Result, Target, at_most, differences, ratios
from bench.jobs import Jobs
from bench.photos import ABOUT
from bench.sections.surroundings import Surroundings
from bench.side import opened, python_side
from bench.stand import service

_AROUND: dict[str, Target] = {"jpeg_640": at_most(4.0)}
_RATIO: dict[str, Target] = {"webp_4": at_most(0.85)}
_THUMBNAIL = "thumbnail_640"
_ABOUT = (
    "Processor time per job of the worker and its children, which do jobs that wait in the queue, against a loop "
    "of pyvips in one process, from file to file, with the same operations and encoder settings: it shrinks on "
    "load as far as PixelFlow does, scales by Lanczos and turns upright; several outputs it makes one by one from "
    "the source. Beside it, libvips' own `thumbnail`, which shrinks less on load. Not in it: API, Postgres, "
    "Valkey, storage."
)


def run(around: Surroundings) -> Result:
    """Every case, one worker with two slots against one process of bare pyvips."""
    result = Result("pixels", about=[_ABOUT, ABOUT])
    with ExitStack() as stack:
        stand = stack.enter_context(service())
        result.versions = stand.versions()
        worker = stack.enter_context(stand.worker(slots=2))
        bare = stack.enter_context(opened("pyvips", python_side("bare")))
        jobs = Jobs(stand)
        for case, count in around.counts.pictures.items():
            around.say(TITLES[case])
            sides: dict[str, list[float]] = {"job": [], "bare": [], _THUMBNAIL: []}
            folder = around.folder / "bare"
            jobs.run_batch(worker, PIPELINES[case], around.photos, max(2, count // 5))
            bare.make(case, around.photos, folder, max(1, count // 5))
            for _ in range(around.counts.rounds):
                around.check_time()
                sides["bare"].append(bare.make(case, around.photos, folder, count).cpu / count * 1000)
                batch = jobs.run_batch(worker, PIPELINES[case], around.photos, count)
                sides["job"].append(batch.cpu / count * 1000)
                if case == "jpeg_640":
                    sides[_THUMBNAIL].append(bare.make(_THUMBNAIL, around.photos, folder, count).cpu / count * 1000)
            _tell(result, case, sides)
    return result


def _tell(result: Result, case: str, sides: dict[str, list[float]]) -> None:
    title, job, bare = TITLES[case], sides["job"], sides["bare"]
    result.add(f"{case}.job", f"{title}: a job's CPU", "ms", job)
    result.add(f"{case}.bare", f"{title}: bare pyvips, the same operations", "ms", bare)
    if sides[_THUMBNAIL]:
        result.add(f"{case}.thumbnail", f"{title}: bare pyvips, `thumbnail`", "ms", sides[_THUMBNAIL])
    result.add(f"{case}.around", f"{title}: CPU around the pixels", "ms", differences(job, bare), _AROUND.get(case))
    result.add(f"{case}.ratio", f"{title}: CPU against bare pyvips", "×", ratios(job, bare), _RATIO.get(case))
