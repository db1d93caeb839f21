"""What a job requires of a worker, and what a worker of this release is capable of.

A release that adds an operation, a format or an option raises ``CONTRACT`` and enters it in ``_INTRODUCED``: older
workers then leave such jobs to newer ones. What depends on the installation of a worker has a name of its own, such as
``heic``, in ``_OPTIONAL``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pixelflow.imaging.pipeline import Step

CONTRACT = 1
"""The newest contract that workers of this release support; they support all earlier ones too."""

_INTRODUCED: Mapping[str, int] = {}
"""The contract that introduced an action or a format, if it was not the first."""
_OPTIONAL: Mapping[str, str] = {}
"""The capability that an action or a format needs beyond its contract, by action or format."""


def required_capabilities(
    pipeline: Iterable[Step],
    *,
    introduced: Mapping[str, int] = _INTRODUCED,
    optional: Mapping[str, str] = _OPTIONAL,
) -> tuple[str, ...]:
    """Return what a worker must be capable of to process this pipeline, in a fixed order.

    Args:
        pipeline: the steps of the job.
        introduced: contracts by action or format.
        optional: named capabilities by action or format.
    """
    used = {str(name) for step in pipeline for name in (step.action, getattr(step, "format", None)) if name}
    contract = max((introduced.get(name, 1) for name in used), default=1)
    return f"contract/{contract}", *sorted({optional[name] for name in used if name in optional})


def worker_capabilities(extras: Iterable[str] = ()) -> tuple[str, ...]:
    """Return what a worker of this release is capable of; ``extras`` are the optional capabilities it has."""
    return *(f"contract/{number}" for number in range(1, CONTRACT + 1)), *sorted(extras)
