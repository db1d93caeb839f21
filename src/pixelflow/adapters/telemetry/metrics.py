"""What the metrics of every role are made of: a registry for each process, what all of them tell, and what two share.

Every label has few values, whatever strangers send: routes by their template, known methods, codes of errors. Nothing
here holds a secret; users are named in one list of the controller's alone, of settable length.
"""

from __future__ import annotations

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, PlatformCollector, ProcessCollector

from pixelflow import __version__
from pixelflow.contracts.messages import QUEUE


def new_registry() -> CollectorRegistry:
    """A registry for one process, which tells of the process itself and of its Python, too."""
    # For the whole process, as the library has it: a second series beside each counter that says since when it counts.
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


class ProcessMetrics:
    """What every role tells."""

    def __init__(self, registry: CollectorRegistry, *, role: str) -> None:
        build = Gauge(
            "pixelflow_build_info",
            "Always 1; its labels say which release runs as what.",
            ["version", "role"],
            registry=registry,
        )
        build.labels(__version__, role).set(1)
        self._up = Gauge(
            "pixelflow_dependency_up",
            "Whether a server that this process needs answered when it was last asked, every few seconds: 1 yes, 0 no.",
            ["dependency"],
            registry=registry,
        )

    def dependency_judged(self, dependency: str, *, up: bool) -> None:
        """A server was asked whether it is there."""
        self._up.labels(dependency).set(up)


class EnqueuedMessages:
    """What whoever sends messages tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = Counter(
            "pixelflow_queue_jobs_enqueued_total",
            "Messages put on the queue, each for one job that is due: by an API when a job is started or retried, by a "
            "controller when the message is missing or another attempt is due.",
            ["queue"],
            registry=registry,
        )
        self._counter = counter.labels(QUEUE)

    def enqueued(self) -> None:
        """One message was sent."""
        self._counter.inc()
