"""Colors that steps draw are those of sRGB, also in an output with a wide gamut."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from tests.unit.imaging.pictures import Pixels, Run

RED = "#e02010"
STEPS: list[dict[str, Any]] = [
    {"action": "background", "background": RED},
    {"action": "gradient", "stops": [{"color": RED}, {"color": RED}]},
    {"action": "tint", "shadows": RED, "midtones": "#20c030"},
    {"action": "redact", "fill": RED, "regions": [{"x": 2, "y": 3, "width": "50%", "height": "50%"}]},
    {"action": "watermark", "watermark": {"text": "■ 🍎", "color": RED, "opacity": 1, "size": "50%", "box": {}}},
    {"action": "overlay", "image": {"step": "source"}, "width": "40%", "blend": "over"},
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: str(step["action"]))
def test_a_color_is_the_same_in_display_p3(run: Run, tmp_path: Path, step: dict[str, Any]) -> None:
    _, x = np.mgrid[0:60, 0:80]
    shade, alpha = x // 10 % 2 * 255, np.where(x < 40, 255, 0)  # what is mixed depends on the space in which it is
    Image.fromarray(np.dstack([shade, shade, shade, alpha]).astype("u1")).save(tmp_path / "in.png")
    for space in ("srgb", "p3"):
        run(tmp_path / "in.png", {**step, "id": space, "color_space": space, "format": "png"})
    srgb, wide = _shown(tmp_path / "srgb.png"), _shown(tmp_path / "p3.png")
    visible = srgb[..., 3] > 0
    difference = np.abs(srgb.astype(int) - wide)[visible]
    assert np.percentile(difference, 90) <= 3
    assert difference.mean() < 1.5


def _shown(path: Path) -> Pixels:
    """The pixels in sRGB."""
    with Image.open(path) as image:
        profile, alpha = image.info.get("icc_profile"), image.convert("RGBA").getchannel("A")
        colors = image.convert("RGB")
    assert (profile is not None) == (path.stem == "p3")
    if profile is not None:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        converted = ImageCms.profileToProfile(colors, source, ImageCms.createProfile("sRGB"))
        assert converted is not None
        colors = converted
    return np.dstack([np.asarray(colors), np.asarray(alpha)])
