"""All PixelFlow metrics by role, read from the registries, for tests and documentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.controller.metrics import ControllerMetrics
from pixelflow.controlplane.stats.metrics import DatabaseMetrics
from pixelflow.dataplane.worker.metrics import WorkerMetrics

ROLES: dict[str, Callable[[CollectorRegistry], object]] = {
    "api": ApiMetrics,
    "worker": WorkerMetrics,
    "controller": ControllerMetrics,
}


@dataclass(frozen=True)
class Described:
    """A metric."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


def _described(collector: object) -> list[Described]:
    if isinstance(collector, MetricWrapperBase):
        (metric,) = collector.describe()
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        return [Described(name, metric.type, tuple(collector._labelnames), metric.documentation)]
    assert isinstance(collector, DatabaseMetrics)
    return [
        Described(metric.name, metric.type, tuple(metric._labelnames), metric.documentation)
        for metric in collector.describe()
    ]


def _of(make: Callable[[CollectorRegistry], object]) -> list[Described]:
    registry = CollectorRegistry()
    make(registry)
    return [row for collector in list(registry._collector_to_names) for row in _described(collector)]


METRICS = {role: _of(make) for role, make in ROLES.items()}
"""Role → its metrics, in the order of the code."""
