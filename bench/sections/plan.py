"""Section ``plan``: the project's first two benchmarks, compared with Pillow and sharp, with a quality score."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from bench import quality
from bench.cases import TITLES
from bench.contender import Contender, Cost, python_contender, start_contender
from bench.contenders.pillow import FONT
from bench.context import Context
from bench.figures import Result, ratios
from bench.photos import write_gradient
from bench.sharp_install import sharp_command

OURS = "PixelFlow"
_OUTPUTS = {"gradient_jpeg": "small.jpg", "photo_jpeg": "small.jpg", "gradient_watermark": "marked.png"}
_WIDTH = 640
_SHARP = Path(__file__).parents[1] / "contenders" / "sharp.mjs"
_DESCRIPTION = (
    "CPU time per picture, file to file, of PixelFlow's engine, Pillow and sharp, each in one process with one thread. "
    "The score is the mean ΔE2000 and SSIM compared with a resize in floating point (a ΔE below 1 is not visible). "
    "JPEG artifacts dominate it, so the photo's resize is also scored alone, as PNG. The score of a watermark is the "
    "mean ΔE2000 outside of the text, which should be 0."
)


def run(context: Context) -> Result:
    """Run every case on every contender."""
    command, about_sharp = sharp_command(fetch=context.counts.fetch_sharp, script=_SHARP, font=FONT)
    result = Result("plan", about=[_DESCRIPTION, about_sharp])
    with ExitStack() as stack:
        contenders = [
            stack.enter_context(start_contender(OURS, python_contender("engine"))),
            stack.enter_context(start_contender("Pillow", python_contender("pillow"))),
            *([stack.enter_context(start_contender("sharp", command))] if command else []),
        ]
        sources = {
            "gradient_jpeg": write_gradient(context.folder / "gradient.png"),
            "gradient_watermark": context.folder / "gradient.png",
            "photo_jpeg": context.photos[0],
        }
        for case, source in sources.items():
            context.echo(TITLES[case])
            _measure(context, result, case, source, contenders)
        _score_resize(context, result, contenders)
    return result


def _measure(context: Context, result: Result, case: str, source: Path, contenders: list[Contender]) -> None:
    times = context.counts.plan_pictures[case]
    costs: dict[str, list[Cost]] = {contender.name: [] for contender in contenders}
    for contender in contenders:
        contender.make(case, [source], context.folder / contender.name, max(1, times // 5))
    for _ in range(context.counts.rounds):
        context.check_time()
        for contender in contenders:
            costs[contender.name].append(contender.make(case, [source], context.folder / contender.name, times))
    cpu = {name: [cost.cpu / times * 1000 for cost in found] for name, found in costs.items()}
    for contender in contenders:
        name = f"{case}.{contender.name.lower()}"
        result.add(f"{name}.cpu", f"{TITLES[case]}: {contender.name}, CPU", "ms", cpu[contender.name])
        _score(result, case, contender.name, source, context.folder / contender.name / _OUTPUTS[case])
    for other in contenders[1:]:
        title = f"{TITLES[case]}: {other.name}'s CPU against PixelFlow's"
        result.add(f"{case}.{other.name.lower()}.ratio", title, "×", ratios(cpu[other.name], cpu[OURS]))


def _score(result: Result, case: str, contender: str, source: Path, output: Path) -> None:
    name = f"{case}.{contender.lower()}"
    actual = quality.pixels_of(output)
    result.add(f"{name}.bytes", f"{TITLES[case]}: {contender}, size", "KB", [output.stat().st_size / 1000])
    if case == "gradient_watermark":
        upper = slice(0, actual.shape[0] // 2)  # the text is in the lower right corner
        found = quality.color_difference(actual[upper], quality.pixels_of(source)[upper]).mean()
        result.add(f"{name}.delta_e", f"{TITLES[case]}: {contender}, ΔE beside the text", "ΔE", [float(found)])
        return
    score = quality.score(actual, quality.reference_resize(source, _WIDTH))
    result.add(f"{name}.delta_e", f"{TITLES[case]}: {contender}, ΔE", "ΔE", [score.color_difference])
    result.add(f"{name}.ssim", f"{TITLES[case]}: {contender}, SSIM", "", [score.ssim])


def _score_resize(context: Context, result: Result, contenders: list[Contender]) -> None:
    reference = quality.reference_resize(context.photos[0], _WIDTH)
    for contender in contenders:
        contender.make("photo_png", context.photos[:1], context.folder / contender.name, 1)
        score = quality.score(quality.pixels_of(context.folder / contender.name / "small.png"), reference)
        title = f"3.2 MP photo → 640 px, the resize alone: {contender.name}"
        result.add(f"photo_png.{contender.name.lower()}.delta_e", f"{title}, ΔE", "ΔE", [score.color_difference])
        result.add(f"photo_png.{contender.name.lower()}.ssim", f"{title}, SSIM", "", [score.ssim])
