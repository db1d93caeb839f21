"""Parts of queries that several panels share."""

from __future__ import annotations

from deploy.grafana.panels import Query

RATE = "[$__rate_interval]"
CLIENTS = '{route!~"/healthz|/readyz"}'
"""Requests except probes."""
ANSWERED = '{route!~"/healthz|/readyz",status!="0"}'
"""Except requests whose client disconnected."""
PROMPT = '{route!~"/healthz|/readyz|.*/events"}'
"""Except event streams, which last as long as their job."""
GREEN, AMBER, RED, BLUE, PURPLE = "green", "orange", "red", "blue", "purple"


def growth(metric: str, by: str = "", labels: str = "") -> str:
    """Return the per-second rate of a counter, summed over all processes."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{labels}{RATE}))"


def gained(metric: str, labels: str = "") -> str:
    """Return the increase of a counter in the time range of the page, summed over all processes."""
    return f"sum(increase({metric}{labels}[$__range]))"


def quantiles(histogram: str, labels: str = "") -> list[Query]:
    """Return queries for the 50th, 95th and 99th percentile."""
    buckets = f"sum by (le) (rate({histogram}_bucket{labels}{RATE}))"
    return [Query(f"histogram_quantile({part / 100}, {buckets})", f"p{part}") for part in (50, 95, 99)]


def of_role(metric: str) -> str:
    """Return a metric of the client library, joined with the role of the process."""
    return f"{metric} * on (instance, job) group_left (role) pixelflow_build_info"
