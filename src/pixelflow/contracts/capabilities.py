"""What a job requires of a worker, and what a worker of this release is capable of.

A release that adds an operation, a format or an option raises ``CONTRACT`` and declares it in ``since``: older workers
then leave such jobs to newer ones. What depends on the installation of a worker has a name of its own, such as
``heic``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pixelflow.imaging.fields import StrictModel
from pixelflow.imaging.format import Format
from pixelflow.imaging.formats.registry import OUTPUT_FORMATS
from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.registry import OPERATIONS
from pixelflow.imaging.step import FIELDS_SINCE, Step

CONTRACT = 2
"""The newest contract that workers of this release support; they support all earlier ones too."""


def required_capabilities(
    pipeline: Iterable[Step],
    *,
    operations: Mapping[str, Operation[Any]] = OPERATIONS,
    formats: Mapping[str, Format] = OUTPUT_FORMATS,
) -> tuple[str, ...]:
    """Return what a worker must be capable of to process this pipeline, in a fixed order.

    Args:
        pipeline: the steps of the job.
        operations: all operations by action.
        formats: all output formats by name.
    """
    contracts, extras = {1}, set[str]()
    for step in pipeline:
        operation = operations[step.action]
        contracts |= {operation.since, *_contracts_of_fields(step, {**FIELDS_SINCE, **type(step).fields_since})}
        extras.update(operation.requires(step))
        if step.format is not None:
            format_ = formats[step.format]
            contracts.add(format_.since)
            extras.update([format_.extra] if format_.extra else [])
    return f"contract/{max(contracts)}", *sorted(extras)


def worker_capabilities(extras: Iterable[str] = ()) -> tuple[str, ...]:
    """Return what a worker of this release is capable of; ``extras`` are the optional capabilities it has."""
    return *(f"contract/{number}" for number in range(1, CONTRACT + 1)), *sorted(extras)


def _contracts_of_fields(model: StrictModel, fields_since: Mapping[str, int]) -> Iterator[int]:
    """Yield the contracts that introduced fields of a step or an object in it, for those not at their default."""
    for name, contract in fields_since.items():
        if getattr(model, name) != type(model).model_fields[name].default:
            yield contract
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, StrictModel):
            yield from _contracts_of_fields(value, value.fields_since)
