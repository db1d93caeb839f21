"""Watermark: draw a text or a picture over an image."""

from pixelflow.imaging.geometry import Size
from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.watermark.model import Watermark

_BYTES_PER_PIXEL = 6
_STYLED_BYTES_PER_PIXEL = 16
_TILE_BYTES_PER_PIXEL = 16


def _memory(size: Size, step: Watermark) -> int:
    mark = step.watermark
    styled = mark.stroke or mark.shadow or mark.box
    bytes_ = _STYLED_BYTES_PER_PIXEL if styled else _BYTES_PER_PIXEL
    return size.pixels * max(bytes_, _TILE_BYTES_PER_PIXEL if mark.tile else 0)


OPERATION = Operation(
    model=Watermark,
    summary="Draw a text or a picture over the image",
    examples=(
        {"action": "watermark", "watermark": {"text": "© Acme", "size": "14%"}},
        {"action": "watermark", "watermark": {"text": "PROOF", "tile": True, "rotation": -30, "bold": True}},
        {"action": "watermark", "watermark": {"image": {"step": "other"}, "gravity": "northwest", "opacity": 0.9}},
        {
            "action": "watermark",
            "watermark": {
                "text": "Osprey, on a branch of a dead pine 🦅",
                "size": "11%",
                "max_width": "60%",
                "align": "left",
                "line_height": 1.1,
                "opacity": 1,
                "gravity": "southwest",
                "box": {"color": "#00305090", "padding": "4%", "radius": "5%"},
            },
        },
        {
            "action": "watermark",
            "watermark": {
                "text": "SALE",
                "size": "40%",
                "bold": True,
                "color": "#ffd400",
                "opacity": 1,
                "gravity": "center",
                "rotation": -10,
                "stroke": {"width": "2%", "color": "#a00000"},
                "shadow": {"x": "3%", "y": "3%", "blur": "2%"},
            },
        },
    ),
    memory=_memory,
    step_fields=(("watermark", "image", "step"),),
    asset_fields=(("watermark", "image", "asset"),),
)
