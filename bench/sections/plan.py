"""The project's first two benchmarks, beside Pillow and sharp, with a score of what came out."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from bench import quality
from bench.cases import TITLES
from bench.figures import Result, ratios
from bench.photos import write_gradient
from bench.sections.surroundings import Surroundings
from bench.sharp_install import sharp_command
from bench.side import Cost, Side, opened, python_side
from bench.sides.pillow import FONT

OURS = "PixelFlow"
_OUTPUTS = {"gradient_jpeg": "small.jpg", "photo_jpeg": "small.jpg", "gradient_watermark": "marked.png"}
_WIDTH = 640
_SHARP = Path(__file__).parents[1] / "sides" / "sharp.mjs"
_ABOUT = (
    "PixelFlow's engine, Pillow and sharp, each alone in one process, one thread: processor time per picture, "
    "file to file. The score is the mean ΔE2000 and SSIM to a resize in floating point (below ΔE 1 nobody sees a "
    "difference); what JPEG adds to it hides the rest, so it is told of the photo's resize alone, too, as PNG. Of a "
    "watermark it is the mean ΔE2000 where there is no text, which should be 0."
)


def run(around: Surroundings) -> Result:
    """Every case on every side."""
    command, about_sharp = sharp_command(fetch=around.counts.fetch_sharp, script=_SHARP, font=FONT)
    result = Result("plan", about=[_ABOUT, about_sharp])
    with ExitStack() as stack:
        sides = [
            stack.enter_context(opened(OURS, python_side("engine"))),
            stack.enter_context(opened("Pillow", python_side("pillow"))),
            *([stack.enter_context(opened("sharp", command))] if command else []),
        ]
        sources = {
            "gradient_jpeg": write_gradient(around.folder / "gradient.png"),
            "gradient_watermark": around.folder / "gradient.png",
            "photo_jpeg": around.photos[0],
        }
        for case, source in sources.items():
            around.say(TITLES[case])
            _measure(around, result, case, source, sides)
        _score_resize(around, result, sides)
    return result


def _measure(around: Surroundings, result: Result, case: str, source: Path, sides: list[Side]) -> None:
    times = around.counts.plan_pictures[case]
    costs: dict[str, list[Cost]] = {side.name: [] for side in sides}
    for side in sides:
        side.make(case, [source], around.folder / side.name, max(1, times // 5))
    for _ in range(around.counts.rounds):
        around.check_time()
        for side in sides:
            costs[side.name].append(side.make(case, [source], around.folder / side.name, times))
    cpu = {name: [cost.cpu / times * 1000 for cost in found] for name, found in costs.items()}
    for side in sides:
        name = f"{case}.{side.name.lower()}"
        result.add(f"{name}.cpu", f"{TITLES[case]}: {side.name}, CPU", "ms", cpu[side.name])
        _score(result, case, side.name, source, around.folder / side.name / _OUTPUTS[case])
    for other in sides[1:]:
        title = f"{TITLES[case]}: {other.name}'s CPU against PixelFlow's"
        result.add(f"{case}.{other.name.lower()}.ratio", title, "×", ratios(cpu[other.name], cpu[OURS]))


def _score(result: Result, case: str, side: str, source: Path, output: Path) -> None:
    name = f"{case}.{side.lower()}"
    seen = quality.pixels_of(output)
    result.add(f"{name}.bytes", f"{TITLES[case]}: {side}, size", "KB", [output.stat().st_size / 1000])
    if case == "gradient_watermark":
        upper = slice(0, seen.shape[0] // 2)  # the text stands in the lower right corner
        found = quality.color_difference(seen[upper], quality.pixels_of(source)[upper]).mean()
        result.add(f"{name}.delta_e", f"{TITLES[case]}: {side}, ΔE beside the text", "ΔE", [float(found)])
        return
    score = quality.score(seen, quality.reference_resize(source, _WIDTH))
    result.add(f"{name}.delta_e", f"{TITLES[case]}: {side}, ΔE", "ΔE", [score.color_difference])
    result.add(f"{name}.ssim", f"{TITLES[case]}: {side}, SSIM", "", [score.likeness])


def _score_resize(around: Surroundings, result: Result, sides: list[Side]) -> None:
    meant = quality.reference_resize(around.photos[0], _WIDTH)
    for side in sides:
        side.make("photo_png", around.photos[:1], around.folder / side.name, 1)
        score = quality.score(quality.pixels_of(around.folder / side.name / "small.png"), meant)
        title = f"3.2 MP photo → 640 px, the resize alone: {side.name}"
        result.add(f"photo_png.{side.name.lower()}.delta_e", f"{title}, ΔE", "ΔE", [score.color_difference])
        result.add(f"photo_png.{side.name.lower()}.ssim", f"{title}, SSIM", "", [score.likeness])
