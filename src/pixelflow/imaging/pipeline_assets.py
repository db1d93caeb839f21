"""The user's assets that a pipeline refers to. Pure: knows no asset's content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pixelflow.imaging.operation import value_at
from pixelflow.imaging.operations.registry import operation_of
from pixelflow.imaging.step import Step

MAX_ASSETS = 8
"""Different assets in one pipeline."""


class AssetUse(NamedTuple):
    """A place in a pipeline that refers to an asset."""

    pointer: str
    """JSON Pointer from the pipeline."""
    reference: str
    """Name or ID of the asset."""


def asset_uses(pipeline: Sequence[Step]) -> list[AssetUse]:
    """Return every reference to an asset, in document order."""
    return [
        AssetUse("/".join(["", str(index), *path]), str(reference))
        for index, step in enumerate(pipeline)
        for path in operation_of(step).asset_fields
        if (reference := value_at(step, path)) is not None
    ]


def pipeline_assets(pipeline: Sequence[Step]) -> tuple[str, ...]:
    """Return the assets that the pipeline refers to, each once, in the order of their first use."""
    return tuple(dict.fromkeys(use.reference for use in asset_uses(pipeline)))
