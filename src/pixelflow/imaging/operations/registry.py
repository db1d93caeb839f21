"""All operations, by action. Loads no pixel code. No other module may refer to an action by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pixelflow.imaging.discovery import declared
from pixelflow.imaging.operation import Operation
from pixelflow.imaging.step import Step

OPERATIONS: Mapping[str, Operation[Any]] = {
    operation.action: operation for operation in declared("pixelflow.imaging.operations", "OPERATION")
}


def operation_of(step: Step) -> Operation[Any]:
    """The operation of a step."""
    return OPERATIONS[step.action]
