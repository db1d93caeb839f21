"""Is it healthy? Alerts, processes, servers, outcomes and failures."""

from __future__ import annotations

from deploy.grafana.panels import Number, Panel, Query, Row, Stacked
from deploy.grafana.queries import AMBER, ANSWERED, BLUE, GREEN, PROMPT, PURPLE, RATE, RED, growth, quantiles

FIRING = 'ALERTS{alertname=~"PixelFlow.+",alertstate="firing"}'
NOTHING_FIRES = f'label_replace(absent({FIRING}) - 1, "alertname", "none", "", "")'
"""Shows 0 as "none": an empty panel could also mean that alerts are not evaluated."""

NOTHING_WAITS = 'label_replace(vector(0), "requirement", "none", "", "") unless on () pixelflow_queue_unclaimable_jobs'
"""Shows 0 as "none" while no job lacks a worker."""

HEALTHY = Row(
    "Is it healthy?",
    [
        Number(
            "Alerts",
            "Firing alerts of deploy/prometheus/alerts.yml. docs/operations.md has a section for each.",
            [Query(f"count by (alertname) ({FIRING}) or sum by (alertname) ({NOTHING_FIRES})", "{{alertname}}")],
            unit="short",
            height=5,
            thresholds={1: RED},
        ),
        Number(
            "Processes",
            "Processes that answer Prometheus, by role and version. Two versions: an upgrade is in progress.",
            [Query("count by (role, version) (pixelflow_build_info)", "{{role}} {{version}}")],
            unit="short",
            height=5,
        ),
        Number(
            "Servers",
            'Whether all processes can reach Postgres, Redis and object storage. "down": at least one can\'t.',
            [Query("min by (dependency) (pixelflow_dependency_up)", "{{dependency}}")],
            unit="short",
            height=5,
            base=RED,
            thresholds={1: GREEN},
            words={0: "down", 1: "up"},
        ),
        Number(
            "Degraded workers",
            "Workers that claim no jobs at present, by reason. The /readyz of a worker has its reasons.",
            [Query("sum by (reason) (pixelflow_worker_degraded)", "{{reason}}")],
            unit="short",
            height=5,
            base=GREEN,
            thresholds={1: RED},
        ),
        Number(
            "Jobs without a worker",
            "Queued jobs that no live worker can process, by a capability that they require.",
            [Query(f"max by (requirement) (pixelflow_queue_unclaimable_jobs) or {NOTHING_WAITS}", "{{requirement}}")],
            unit="short",
            height=5,
            base=GREEN,
            thresholds={1: RED},
        ),
        Number(
            "Confinement",
            "Whether each part of the confinement of transform children is in force on all workers. docs/security.md.",
            [Query("min by (part) (pixelflow_worker_confinement)", "{{part}}")],
            unit="short",
            height=5,
            base=RED,
            thresholds={1: GREEN},
            words={0: "missing", 1: "in force"},
        ),
        Stacked(
            "Attempts by outcome",
            "Ended attempts per second. retried: failed, with another attempt to follow. lost: the lease was lost. "
            "handed_back: released, because the worker was stopping.",
            [Query(growth("pixelflow_worker_jobs_total", "status"), "{{status}}")],
            unit="suffix:/s",
            colors={"succeeded": GREEN, "retried": AMBER, "failed": RED, "lost": PURPLE, "handed_back": BLUE},
        ),
        Panel(
            "Failures by code",
            "Failed attempts per minute, by error code. docs/pipeline.md explains each code and whether the image or "
            "the service is the cause.",
            [Query(f"60 * {growth('pixelflow_worker_failures_total', 'code')}", "{{code}}")],
            unit="suffix:/min",
        ),
        Stacked(
            "Webhooks",
            "Delivery attempts per minute, by outcome. exhausted and refused: the event is not delivered.",
            [Query(f"60 * {growth('pixelflow_webhook_deliveries_total', 'outcome')}", "{{outcome}}")],
            unit="suffix:/min",
            colors={"delivered": GREEN, "retried": AMBER, "exhausted": RED, "refused": PURPLE},
        ),
        Stacked(
            "API responses",
            "Requests per second by status class, without probes.",
            [
                Query(
                    "sum by (class) (label_replace("
                    f'rate(pixelflow_api_requests_total{ANSWERED}{RATE}), "class", "${{1}}xx", "status", "(.).."))',
                    "{{class}}",
                )
            ],
            unit="suffix:/s",
            colors={"2xx": GREEN, "3xx": BLUE, "4xx": AMBER, "5xx": RED},
        ),
        Panel(
            "API response time",
            "Response time, without probes and streams. Image bytes don't pass through the API, so it should be "
            "milliseconds.",
            quantiles("pixelflow_api_request_duration_seconds", PROMPT),
            unit="s",
            thresholds={1: AMBER},
        ),
        Panel(
            "Controller loops",
            "Time since the last successful tick of each loop, on any controller.",
            [Query("time() - max by (loop) (pixelflow_controller_last_round_timestamp_seconds)", "{{loop}}")],
            unit="s",
            thresholds={600: RED},
        ),
        Panel(
            "Storage credentials",
            "Time until the temporary credentials of object storage end, on the process where they end first, by their "
            "source. Each process replaces them ahead of their end. Empty with access keys that have no end.",
            [
                Query(
                    "min by (source) (pixelflow_storage_credentials_end_timestamp_seconds) - time()",
                    "{{source}}",
                )
            ],
            unit="s",
        ),
    ],
)
