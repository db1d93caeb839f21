"""Generates the pages ``docs/operations/ACTION.md`` and their pictures, from the folders of the operations.

    python -m tests.support.operation_pages

writes them anew. A test holds the texts against what is made here; the pictures are looked at by people.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyvips
from tests.support import doc_tables, rendering

from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.registry import OPERATIONS
from pixelflow.imaging.protocol import TransformLimits

FOLDER = doc_tables.DOCS / "operations"
PHOTO = doc_tables.ROOT / "examples" / "photo.jpg"
_WIDTH = 400
"""Pixels of the picture before and after."""
_NAMES = ("before", "after")
_LIMITS = TransformLimits(max_source_pixels=10**8, max_output_pixels=10**8, max_output_bytes=10**9)


def text(operation: Operation[Any]) -> str:
    """Return the page of an operation."""
    action = operation.action
    prose = files(operation.package).joinpath("page.md").read_text(encoding="utf-8").strip()
    steps = [*_badge(operation.examples[0]), {"id": "example", **operation.examples[0]}]
    example = ",\n ".join(json.dumps(step, ensure_ascii=False) for step in steps)
    return f"""# {action}

{operation.summary}.

![Before and after]({action}.webp)

```json
[{example}]
```

{prose}

## Fields

Beside the fields of [every step](../pipeline.md#every-step):

{doc_tables.operation_tables(operation)}
"""


def draw(operation: Operation[Any], photo: Path) -> None:
    """Write the picture of an operation: the photo, and the result of the first example."""
    with tempfile.TemporaryDirectory() as folder:
        rendering.render(photo, picture_steps(operation), _LIMITS, Path(folder))
        before, after = (pyvips.Image.new_from_file(f"{folder}/{name}.png").copy_memory() for name in _NAMES)
    both = pyvips.Image.arrayjoin(
        [_on_checkers(image) for image in (before, after)], across=2, shim=16, background=[255, 255, 255]
    )
    both.webpsave(str(FOLDER / f"{operation.action}.webp"), Q=80, keep="none")


def picture_steps(operation: Operation[Any]) -> list[dict[str, Any]]:
    """Return steps that scale the photo down, prepare it, and then apply the first example."""
    small = {"id": "small", "action": "resize", "width": _WIDTH, "format": "png"}
    before = {**(operation.before or {"action": "convert"}), "id": _NAMES[0], "from": "small", "format": "png"}
    badge = _badge(operation.examples[0])
    return [small, before, *badge, {**operation.examples[0], "id": _NAMES[1], "from": _NAMES[0], "format": "png"}]


def _badge(example: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return steps that make a small picture, if the example reads the step ``other``."""
    if '"step": "other"' not in json.dumps(example):
        return []
    square = {"action": "resize", "width": 100, "height": 100, "fit": "cover", "gravity": "attention"}
    colored = {"action": "tint", "shadows": "#0b3d91", "highlights": "#fff4d6"}
    return [{"id": "square", **square, "output": False}, {"id": "other", "from": "square", **colored, "output": False}]


def _on_checkers(image: pyvips.Image) -> pyvips.Image:
    """Show transparency on a pattern of squares."""
    if not image.hasalpha():
        return image
    cells = pyvips.Image.black(16, 16).draw_rect([48], 0, 0, 8, 8, fill=True).draw_rect([48], 8, 8, 8, 8, fill=True)
    pattern = (255 - cells).replicate(image.width // 16 + 1, image.height // 16 + 1)
    pattern = pattern.crop(0, 0, image.width, image.height).bandjoin(
        [pattern.crop(0, 0, image.width, image.height)] * 2
    )
    return pattern.copy(interpretation="srgb").composite2(image, "over").cast("uchar")[0:3]


def main() -> None:
    """Write all pages and pictures."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        rendering.set_up_libvips(Path(folder) / "fonts")
        for action, operation in OPERATIONS.items():
            (FOLDER / f"{action}.md").write_text(text(operation), encoding="utf-8")
            draw(operation, PHOTO)


if __name__ == "__main__":
    main()
