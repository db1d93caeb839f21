"""Section ``engine``: CPU of the engine alone, photo by photo, against libvips' `thumbnail` and the same encoder."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import quality
from bench.cases import TITLES
from bench.contender import Contender, python_contender, start_contender
from bench.context import Context
from bench.figures import Result, Spread, Target, at_least, at_most, ratios, spread
from bench.sources import ENGINE_PROFILED, ENGINE_SOURCES, ENGINE_TRANSLUCENT, Source, cached

_SCORED = "photo_png"
_DESCRIPTION = (
    "CPU time, file to file, one process and one thread each: the engine, and libvips' `thumbnail` with the same "
    "encoder options (for the text mark: pyvips with the same operations). The contenders alternate, photo by photo; "
    "a sample is as many pictures as take 0.2 s. The ratio of a photo is the median of its rounds. Translucent PNGs "
    "are also compared with pyvips that does not truncate: it premultiplies, scales and divides in floats. "
    "The scores compare the resize alone, written as PNG, with a resize in floating point."
)


@dataclass(frozen=True)
class _Comparison:
    case: str
    bare: str
    sources: Sequence[Source]
    each: Target | None = None
    mean: Target | None = None
    group: str = ""
    """Begins the names of its figures, if the case alone would not tell them apart."""
    of: str = ""
    """The sources in words, if the case is compared with several kinds."""
    against: str = "bare pyvips"


_IN_FLOATS = ("translucent PNG", "pyvips in floats")
_COMPARISONS = (
    _Comparison("jpeg_640", "thumbnail_640", ENGINE_SOURCES, at_most(1.03), at_most(1.0)),
    _Comparison("jpeg_640", "thumbnail_640", ENGINE_PROFILED, group="srgb.", of="sRGB profile"),
    _Comparison("jpeg_640", "thumbnail_640", ENGINE_TRANSLUCENT, group="translucent.", of="translucent PNG"),
    _Comparison("jpeg_640", "floats_640", ENGINE_TRANSLUCENT, at_most(0.9), at_most(0.85), "exact.", *_IN_FLOATS),
    _Comparison("webp_640", "floats_webp_640", ENGINE_TRANSLUCENT, at_most(1.1), at_most(1.1), "exact.", *_IN_FLOATS),
    _Comparison("watermark", "watermark", ENGINE_SOURCES[::2], at_most(1.1), at_most(1.1)),
    _Comparison("avif_640", "thumbnail_avif_640", ENGINE_SOURCES[::2], at_most(1.1), at_most(1.1)),
)


def run(context: Context) -> Result:
    """Compare photo by photo, then score the resize."""
    result = Result("engine", about=[_DESCRIPTION])
    most = context.counts.user_photos
    with ExitStack() as stack:
        ours = stack.enter_context(start_contender("engine", python_contender("engine")))
        bare = stack.enter_context(start_contender("pyvips", python_contender("bare")))
        for comparison in _COMPARISONS:
            _compare(context, result, comparison, comparison.sources[:most], (ours, bare))
        _score(context, result, cached(ENGINE_SOURCES[:most]), (ours, bare))
    return result


def _compare(
    context: Context,
    result: Result,
    comparison: _Comparison,
    sources: Sequence[Source],
    contenders: tuple[Contender, Contender],
) -> None:
    case, group = comparison.case, comparison.group
    of = f", {comparison.of}" if comparison.of else ""
    context.echo(f"{TITLES[case]}{of}")
    found: list[list[float]] = []
    for source, path in zip(sources, cached(sources), strict=True):
        context.check_time()
        found.append(_ratios_of(context, comparison, path, contenders))
        title = f"{TITLES[case]}: {source.title}, engine against {comparison.against}"
        result.add(f"{case}.{group}{source.stem}", title, "×", found[-1])
    medians = [statistics.median(each) for each in found]
    title = f"{TITLES[case]}{of}: engine against {comparison.against}"
    by_round = spread([statistics.mean(each) for each in zip(*found, strict=True)])
    mean = Spread(statistics.mean(medians), by_round.low, by_round.high, by_round.samples)
    result.add(f"{case}.{group}mean", f"{title}, mean of photos", "×", mean, comparison.mean)
    result.add(f"{case}.{group}greatest", f"{title}, greatest", "×", [max(medians)], comparison.each)


def _ratios_of(
    context: Context, comparison: _Comparison, photo: Path, contenders: tuple[Contender, Contender]
) -> list[float]:
    """Return the ratio of each round."""
    cases = (comparison.case, comparison.bare)
    first = [_make(context, contender, case, photo, 1) for contender, case in zip(contenders, cases, strict=True)]
    times = max(1, math.ceil(context.counts.engine_seconds / max(first)))
    costs: tuple[list[float], list[float]] = ([], [])
    for _ in range(context.counts.rounds):
        for contender, case, found in zip(contenders, cases, costs, strict=True):
            found.append(_make(context, contender, case, photo, times))
    return ratios(*costs)


def _make(context: Context, contender: Contender, case: str, photo: Path, times: int) -> float:
    return contender.make(case, [photo], context.folder / contender.name, times).cpu


def _score(context: Context, result: Result, photos: Sequence[Path], contenders: Sequence[Contender]) -> None:
    ssimulacra2 = quality.ssimulacra2()
    if ssimulacra2 is None:
        result.about.append(quality.NO_SSIMULACRA2)
    for contender in contenders:
        title = f"the resize alone: {contender.name}"
        context.echo(title)
        deltas, scores = [], []
        for photo in photos:
            contender.make(_SCORED, [photo], context.folder / contender.name, 1)
            actual = quality.pixels_of(context.folder / contender.name / "small.png")
            # `thumbnail` rounds the height down, and the engine to the nearest.
            reference = quality.reference_resize(photo, actual.shape[1], actual.shape[0])
            deltas.append(quality.score(actual, reference).color_difference)
            scores += [ssimulacra2(actual, reference)] if ssimulacra2 else []
        result.add(f"resize.{contender.name}.delta_e", f"{title}, ΔE", "ΔE", deltas)
        if scores:
            is_ours = contender is contenders[0]
            median, least = (at_least(95.7), at_least(88.6)) if is_ours else (None, None)
            result.add(f"resize.{contender.name}.ssimulacra2", f"{title}, SSIMULACRA2", "", scores, median)
            result.add(f"resize.{contender.name}.least", f"{title}, least SSIMULACRA2", "", [min(scores)], least)
