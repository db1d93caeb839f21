"""What a job requires of a worker, and what a worker of this release is capable of.

A release that adds an operation, a format or an option raises ``CONTRACT`` and declares it in ``since``: older workers
then leave such jobs to newer ones. What depends on the installation of a worker has a name of its own, such as
``heic``: these are the optional capabilities. A worker also reports versions, such as ``libvips/8.18.2``, which no job
requires.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pixelflow import __version__
from pixelflow.imaging.fields import StrictModel
from pixelflow.imaging.format import Format
from pixelflow.imaging.formats.registry import INPUT_FORMATS, OUTPUT_FORMATS
from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.registry import OPERATIONS
from pixelflow.imaging.source_options import SourceOptions
from pixelflow.imaging.step import FIELDS_SINCE, Step

CONTRACT = 3
"""The newest contract that workers of this release support; they support all earlier ones too."""
_SOURCE_OPTIONS_SINCE = 2
"""The contract that introduced `imaging.source_options`."""
_SOURCE_TYPES_SINCE = {"job": 3, "bucket": 3}
"""The contracts that introduced types of sources."""
URL_SOURCES = "url_sources"
"""The optional capability of a worker that fetches sources by URL."""
_DESTINATION_SINCE = 3
"""The contract that introduced destinations."""


def required_capabilities(
    pipeline: Iterable[Step],
    source: SourceOptions | None = None,
    *,
    source_type: str = "s3_presigned",
    content_type: str | None = None,
    has_destination: bool = False,
    operations: Mapping[str, Operation[Any]] = OPERATIONS,
    formats: Mapping[str, Format] = OUTPUT_FORMATS,
    input_formats: Mapping[str, Format] = INPUT_FORMATS,
) -> tuple[str, ...]:
    """Return what a worker must be capable of to process this pipeline, in a fixed order.

    Args:
        pipeline: the steps of the job.
        source: how to read the source.
        source_type: how the worker gets the source.
        content_type: declared media type of the source.
        has_destination: whether the outputs are stored in a named bucket, too.
        operations: all operations by action.
        formats: all output formats by name.
        input_formats: all input formats by name.
    """
    declared = [each for each in input_formats.values() if each.is_declared_by(content_type)]
    contracts = {_SOURCE_OPTIONS_SINCE if source and source.are_set else 1, *(each.reads_since for each in declared)}
    contracts.add(_SOURCE_TYPES_SINCE.get(source_type, 1))
    contracts.add(_DESTINATION_SINCE if has_destination else 1)
    extras = {each.extra for each in declared if each.extra}
    if source_type == "url":
        extras.add(URL_SOURCES)
    for step in pipeline:
        operation = operations[step.action]
        contracts |= {operation.since, *_contracts_of_fields(step, {**FIELDS_SINCE, **type(step).fields_since})}
        extras.update(operation.requires(step))
        if step.format is not None:
            format_ = formats[step.format]
            contracts.add(format_.since)
            extras.update([format_.extra] if format_.extra else [])
    return f"contract/{max(contracts)}", *sorted(extras)


def is_optional(capability: str) -> bool:
    """Whether a capability depends on the installation of a worker, and is neither a contract nor a version."""
    return "/" not in capability


def worker_capabilities(extras: Iterable[str] = (), *, libvips: str | None = None) -> tuple[str, ...]:
    """Return what a worker of this release is capable of, and its versions.

    Args:
        extras: the optional capabilities that it has.
        libvips: the version of libvips.
    """
    versions = [f"libvips/{libvips}"] if libvips else []
    return *(f"contract/{number}" for number in range(1, CONTRACT + 1)), *sorted(extras), *versions, _RELEASE


_RELEASE = f"release/{__version__}"


class WorkerProfile(NamedTuple):
    """The capabilities of a worker, of any release."""

    contract: int
    """The newest contract that it supports; 0 if it names none."""
    extras: list[str]
    """Its optional capabilities, sorted."""
    libvips: str | None
    release: str | None

    @classmethod
    def of(cls, capabilities: Iterable[str]) -> WorkerProfile:
        """Read what a worker has registered; names of a newer release are ignored."""
        found: dict[str, list[str]] = {}
        for capability in capabilities:
            kind, _, value = capability.rpartition("/")
            found.setdefault(kind, []).append(value)
        contracts = [int(number) for number in found.get("contract", ()) if number.isdecimal()]
        libvips, release = (next(iter(found.get(kind, ())), None) for kind in ("libvips", "release"))
        return cls(max(contracts, default=0), sorted(found.get("", ())), libvips, release)


def _contracts_of_fields(model: StrictModel, fields_since: Mapping[str, int]) -> Iterator[int]:
    """Yield the contracts that introduced fields of a step or an object in it, for those not at their default."""
    for name, contract in fields_since.items():
        if getattr(model, name) != type(model).model_fields[name].default:
            yield contract
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, StrictModel):
            yield from _contracts_of_fields(value, value.fields_since)
