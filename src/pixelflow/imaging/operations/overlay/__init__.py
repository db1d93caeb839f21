"""Overlay: draw another picture over an image."""

from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.overlay.geometry import memory
from pixelflow.imaging.operations.overlay.model import Overlay

OPERATION = Operation(
    model=Overlay,
    summary="Draw another picture over the image",
    examples=(
        {"action": "overlay", "image": {"step": "other"}, "width": "25%", "gravity": "southeast", "margin": "4%"},
        {"action": "overlay", "image": {"step": "other"}, "blend": "multiply", "opacity": 0.8},
        {"action": "overlay", "image": {"step": "other"}, "width": 12, "x": "10%", "y": 5, "rotation": -30},
        {"action": "overlay", "image": {"step": "other"}, "width": 64, "overflow": True, "blend": "soft-light"},
        {"action": "overlay", "image": {"step": "other"}, "height": "20%", "tile": True, "opacity": 0.5, "margin": 4},
    ),
    since=2,
    memory=memory,
    step_fields=(("image", "step"),),
    asset_fields=(("image", "asset"),),
)
