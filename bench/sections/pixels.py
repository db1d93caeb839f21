"""Section ``pixels``: CPU time per job of the worker and its children, compared with bare pyvips."""

from __future__ import annotations

from contextlib import ExitStack

from bench.cases import PIPELINES, TITLES
from bench.contender import python_contender, start_contender
from bench.context import Context
from bench.figures import Result, Target, at_most, differences, ratios
from bench.jobs import Jobs
from bench.photos import ABOUT
from bench.stack import service

_AROUND: dict[str, Target] = {"jpeg_640": at_most(4.0)}
_RATIO: dict[str, Target] = {"webp_4": at_most(0.85)}
_THUMBNAIL = "thumbnail_640"
_DESCRIPTION = (
    "CPU time per job of the worker and its children, which process queued jobs, compared with a pyvips loop in one "
    "process, from file to file, with the same operations and encoder settings: it shrinks on load as far as PixelFlow "
    "does, resizes with Lanczos and rotates upright. It makes several outputs one by one from the source. For "
    "comparison, libvips' `thumbnail`, which shrinks less on load. API, Postgres, Valkey and storage are not included."
)


def run(context: Context) -> Result:
    """Run every case on a worker with two slots and on one process of bare pyvips."""
    result = Result("pixels", about=[_DESCRIPTION, ABOUT])
    with ExitStack() as stack:
        test_stack = stack.enter_context(service())
        result.versions = test_stack.versions()
        worker = stack.enter_context(test_stack.worker(slots=2))
        bare = stack.enter_context(start_contender("pyvips", python_contender("bare")))
        jobs = Jobs(test_stack)
        for case, count in context.counts.pictures.items():
            context.echo(TITLES[case])
            contenders: dict[str, list[float]] = {"job": [], "bare": [], _THUMBNAIL: []}
            folder = context.folder / "bare"
            jobs.run_batch(worker, PIPELINES[case], context.photos, max(2, count // 5))
            bare.make(case, context.photos, folder, max(1, count // 5))
            for _ in range(context.counts.rounds):
                context.check_time()
                contenders["bare"].append(bare.make(case, context.photos, folder, count).cpu / count * 1000)
                batch = jobs.run_batch(worker, PIPELINES[case], context.photos, count)
                contenders["job"].append(batch.cpu / count * 1000)
                if case == "jpeg_640":
                    contenders[_THUMBNAIL].append(
                        bare.make(_THUMBNAIL, context.photos, folder, count).cpu / count * 1000
                    )
            _add_figures(result, case, contenders)
    return result


def _add_figures(result: Result, case: str, contenders: dict[str, list[float]]) -> None:
    title, job, bare = TITLES[case], contenders["job"], contenders["bare"]
    result.add(f"{case}.job", f"{title}: a job's CPU", "ms", job)
    result.add(f"{case}.bare", f"{title}: bare pyvips, the same operations", "ms", bare)
    if contenders[_THUMBNAIL]:
        result.add(f"{case}.thumbnail", f"{title}: bare pyvips, `thumbnail`", "ms", contenders[_THUMBNAIL])
    result.add(f"{case}.around", f"{title}: CPU around the pixels", "ms", differences(job, bare), _AROUND.get(case))
    result.add(f"{case}.ratio", f"{title}: CPU against bare pyvips", "×", ratios(job, bare), _RATIO.get(case))
