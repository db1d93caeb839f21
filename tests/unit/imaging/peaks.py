"""A program that measures the peak memory of random jobs, each in a process of its own, and prints it as JSON.

python -m tests.unit.imaging.peaks JOBS FOLDER
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from pixelflow.imaging.engine import Transform
from pixelflow.imaging.operations.registry import OPERATIONS
from pixelflow.imaging.protocol import TransformLimits, TransformRequest
from pixelflow.imaging.runtime import prepare

LIMITS = TransformLimits(max_source_pixels=10**8, max_output_pixels=10**8, max_output_bytes=10**9)
FORMATS = ["jpeg", "png", "webp", "avif"]
SOURCES: dict[str, dict[str, Any]] = {
    "plain.jpg": {},
    "progressive.jpg": {"progressive": True},
    "turned.jpg": {"exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"},
    "plain.png": {"compress_level": 1},
    "plain.webp": {"method": 0},
    "plain.avif": {"speed": 10},
    "alpha.png": {"compress_level": 1},
    "animated.webp": {"method": 0, "frames": 4},
}
OTHER = {"id": "other", "action": "resize", "width": 200, "output": False}
"""The step that examples of operations with two inputs read."""
EXAMPLES = [dict(example) for operation in OPERATIONS.values() for example in operation.examples]


def _in_child(work: Callable[[], None]) -> None:
    """Do the work in another process: memory that it frees here would be used again by the jobs, and not be counted."""
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    os.waitpid(pid, 0)


def _write_sources(folder: Path) -> None:
    for megapixels in (1, 6):
        side = int((megapixels * 1e6 / 1.5) ** 0.5)
        picture = Image.effect_mandelbrot((side * 3 // 2, side), (-2, -1.5, 1, 1.5), 20).convert("RGB")
        for name, options in SOURCES.items():
            _write(picture, folder / f"{megapixels}-{name}", **options)


def _write(picture: Image.Image, path: Path, *, frames: int = 1, **options: Any) -> None:  # noqa: ANN401 - of encoders
    if "alpha" in path.name:
        picture = picture.convert("RGBA")
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    if frames > 1:
        picture = picture.reduce(2)
        options |= {"save_all": True, "append_images": [picture.rotate(10 * place) for place in range(1, frames)]}
    picture.save(path, **options)


def _steps(chance: random.Random) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = [OTHER]
    for number in range(chance.choice([1, 1, 2, 4])):
        step = chance.choice([_resize, _example, _example])(chance)
        step["id"] = f"s{number}"
        step["from"] = chance.choice(["source", *(each["id"] for each in steps[1:])])
        step["format"] = chance.choice(FORMATS)
        step["output"] = chance.random() < 0.8
        steps.append(step)
    steps[-1]["output"] = True
    return steps


def _resize(chance: random.Random) -> dict[str, Any]:
    step = {"action": "resize", "width": chance.randrange(50, 3000), "enlarge": chance.random() < 0.3}
    if chance.random() < 0.4:
        step |= {"height": chance.randrange(50, 2000), "fit": chance.choice(["cover", "contain", "fill"])}
    return step | {"linear": chance.random() < 0.2}


def _example(chance: random.Random) -> dict[str, Any]:
    """An example of any operation, which may have been written for a small picture."""
    return dict(chance.choice(EXAMPLES))


def _measure(source: Path, steps: list[dict[str, Any]]) -> tuple[int, int]:
    """Run the job in a forked process; return the estimated and the measured growth of its resident memory."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        before = _status("VmRSS")
        request = TransformRequest.model_validate({"request_id": "0" * 16, "pipeline": steps, "limits": LIMITS})
        with source.open("rb") as file, tempfile.TemporaryFile() as output:
            transform = Transform(request, file.fileno())
            transform.run(output.fileno())
        os.write(writer, f"{transform.memory.peak} {_status('VmHWM') - before}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as result:
        estimated, grown = map(int, result.read().split())
    os.waitpid(pid, 0)
    return estimated, grown


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def main(jobs: int, folder: Path) -> None:
    """Measure that many jobs."""
    prepare(folder / "fonts")
    _in_child(lambda: _write_sources(folder))
    sources, chance = sorted(folder.glob("*-*.*")), random.Random(2026)  # noqa: S311
    for _ in range(jobs):
        source, steps = chance.choice(sources), _steps(chance)
        estimated, grown = _measure(source, steps)
        report = {"source": source.name, "steps": steps, "estimated": estimated, "grown": grown}
        sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
