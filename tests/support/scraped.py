"""Samples of ``/metrics``, parsed with the Prometheus client library."""

from __future__ import annotations

import httpx
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pixelflow.devstack.stack import Stack

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.samples: Samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """Return the sample with this name and exactly these labels, or 0."""
        return self.samples.get((name, frozenset(labels.items())), 0.0)

    def has(self, name: str, **labels: str) -> bool:
        """Return whether there is such a sample."""
        return (name, frozenset(labels.items())) in self.samples

    def by(self, label: str, name: str) -> dict[str, float]:
        """Return the sums of the samples with this name, grouped by one label, without zeros."""
        sums: dict[str, float] = {}
        for (found, labels), value in self.samples.items():
            if found == name and value:
                of = dict(labels)[label]
                sums[of] = sums.get(of, 0.0) + value
        return sums

    @property
    def series(self) -> set[tuple[str, frozenset[tuple[str, str]]]]:
        """All time series."""
        return set(self.samples)


def scraped(registry: CollectorRegistry) -> Scrape:
    """Return the samples of a registry, as served over HTTP."""
    return Scrape(generate_latest(registry).decode())


def scrape(stack: Stack, role: str) -> Scrape:
    """Scrape one of the stack's processes."""
    answer = httpx.get(stack.metrics_urls[role], timeout=60)
    assert answer.status_code == 200
    return Scrape(answer.text)
