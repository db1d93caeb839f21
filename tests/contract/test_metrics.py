"""The names and labels of the metrics. Dashboards and alerts are written against them: none is renamed by accident."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from tests.support.metric_list import METRICS, ROLES

SHARED = {
    "pixelflow_build_info": {"version", "role"},
    "pixelflow_dependency_up": {"dependency"},
    "pixelflow_storage_credentials_refreshes_total": {"source", "outcome"},
    "pixelflow_storage_credentials_end_timestamp_seconds": {"source"},
}
GOLDEN: dict[str, dict[str, set[str]]] = {
    "api": {
        **SHARED,
        "pixelflow_api_requests_total": {"method", "route", "status"},
        "pixelflow_api_request_duration_seconds": {"method", "route"},
        "pixelflow_api_connections": set(),
        "pixelflow_api_streams": set(),
        "pixelflow_api_user_wait_seconds": set(),
        "pixelflow_api_connections_closed_total": {"reason"},
        "pixelflow_api_rate_limit_rejections_total": {"route"},
        "pixelflow_api_rate_limit_unavailable_total": set(),
        "pixelflow_queue_jobs_enqueued_total": {"queue"},
    },
    "worker": {
        **SHARED,
        "pixelflow_worker_jobs_total": {"source_type", "status"},
        "pixelflow_worker_job_duration_seconds": {"source_type"},
        "pixelflow_worker_stage_duration_seconds": {"stage"},
        "pixelflow_worker_job_wait_seconds": {"priority"},
        "pixelflow_worker_active_jobs": set(),
        "pixelflow_worker_slots": set(),
        "pixelflow_worker_degraded": {"reason"},
        "pixelflow_worker_confinement": {"part"},
        "pixelflow_worker_pipeline_outputs_total": {"format"},
        "pixelflow_worker_failures_total": {"code"},
        "pixelflow_worker_children_started_total": set(),
        "pixelflow_usage_pixels_processed_total": set(),
        "pixelflow_usage_bytes_saved_total": set(),
        "pixelflow_usage_compute_time_ms_total": set(),
    },
    "controller": {
        **SHARED,
        "pixelflow_jobs": {"status"},
        "pixelflow_queue_oldest_seconds": set(),
        "pixelflow_queue_unclaimable_jobs": {"requirement"},
        "pixelflow_webhook_events_pending": set(),
        "pixelflow_webhook_oldest_seconds": set(),
        "pixelflow_webhook_deliveries_total": {"outcome"},
        "pixelflow_leases_expired_total": {"outcome"},
        "pixelflow_source_checks_total": {"outcome"},
        "pixelflow_usage_active_users": set(),
        "pixelflow_usage_top_pixels_processed": {"user_id"},
        "pixelflow_controller_rounds_total": {"loop", "outcome"},
        "pixelflow_controller_last_round_timestamp_seconds": {"loop"},
        "pixelflow_retention_removed_total": {"kind"},
    },
}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_these_metrics_with_these_labels(role: str) -> None:
    assert {metric.name: set(metric.labels) for metric in METRICS[role]} == GOLDEN[role]


@pytest.mark.parametrize("role", ROLES)
def test_every_metric_has_a_help_sentence(role: str) -> None:
    for metric in METRICS[role]:
        assert len(metric.help) > 20, metric.name
        assert metric.help.endswith("."), metric.name


@pytest.mark.parametrize("role", ROLES)
def test_only_the_bounded_top_list_names_users(role: str) -> None:
    named = {metric.name for metric in METRICS[role] if "user_id" in metric.labels}
    assert named <= {"pixelflow_usage_top_pixels_processed"}


@pytest.mark.parametrize("make", ROLES.values(), ids=ROLES)
def test_a_histogram_covers_milliseconds_to_its_maximum(
    make: Callable[[CollectorRegistry], object],
) -> None:
    registry = CollectorRegistry()
    make(registry)
    for collector in list(registry._collector_to_names):
        if isinstance(collector, MetricWrapperBase) and collector._type == "histogram":
            bounds: list[float] = list(collector._kwargs["buckets"])
            assert bounds[0] <= 0.005
            assert bounds[-1] >= 10
            assert all(high / low <= 3 for low, high in itertools.pairwise(bounds))
