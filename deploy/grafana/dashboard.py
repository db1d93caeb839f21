"""The dashboard: four questions of an operator, and the panels that answer them. Run it to regenerate the JSON.

All controllers report the same gauges of the database, so queries use max(), never sum(). A query must never name an
instance or other details of one installation; the filter at the top of the page is for that.
"""

from __future__ import annotations

import json
from pathlib import Path

from deploy.grafana.panels import Dashboard, Json, Number, Panel, Query, Ranking, Row, Stacked

WRITTEN = Path(__file__).parent / "dashboards" / "pixelflow.json"

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


FIRING = 'ALERTS{alertname=~"PixelFlow.+",alertstate="firing"}'
NOTHING_FIRES = f'label_replace(absent({FIRING}) - 1, "alertname", "none", "", "")'
"""Shows 0 as "none": an empty panel could also mean that alerts are not evaluated."""

NOTHING_WAITS = 'label_replace(vector(0), "requirement", "none", "", "") unless on () pixelflow_queue_unclaimable_jobs'
"""Shows 0 as "none" while no job lacks a worker."""

# ── Is it healthy? ───────────────────────────────────────────────────────────────────────────────

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
    ],
)

# ── Is it keeping up? ────────────────────────────────────────────────────────────────────────────

KEEPING_UP = Row(
    "Is it keeping up?",
    [
        Panel(
            "Age of the oldest",
            "How long the oldest due job has waited for a worker, and the oldest due event for its delivery.",
            [
                Query("max(pixelflow_queue_oldest_seconds)", "job"),
                Query("max(pixelflow_webhook_oldest_seconds)", "event"),
            ],
            unit="s",
            thresholds={120: AMBER, 900: RED},
        ),
        Panel(
            "Wait by priority",
            "How long 95 of 100 jobs waited for a worker, by their priority, which orders the jobs of one user.",
            [
                Query(
                    "histogram_quantile(0.95, sum by (le, priority) "
                    "(rate(pixelflow_worker_job_wait_seconds_bucket[$__rate_interval])))",
                    "{{priority}}",
                )
            ],
            unit="s",
        ),
        Stacked(
            "Backlog",
            "Jobs that are queued or processing, and events waiting for their first or next delivery attempt.",
            [
                Query('max by (status) (pixelflow_jobs{status=~"queued|processing"})', "jobs {{status}}"),
                Query("max(pixelflow_webhook_events_pending)", "events pending"),
            ],
            unit="short",
        ),
        Panel(
            "Jobs in and out",
            "Messages sent to the queue and finished jobs, per second. If input exceeds output for long, add workers. "
            "A message that was lost and sent again counts twice.",
            [
                Query(growth("pixelflow_queue_jobs_enqueued_total"), "sent to the queue"),
                Query(growth("pixelflow_worker_jobs_total", labels='{status=~"succeeded|failed"}'), "ended"),
            ],
            unit="suffix:/s",
        ),
        Panel(
            "Slots",
            "Running transforms, and the total slots of all workers. If all are in use while jobs wait, add workers. "
            "The average is computed from the transforms that ended.",
            [
                Query("sum(pixelflow_worker_active_jobs)", "in use now"),
                Query(
                    growth("pixelflow_worker_stage_duration_seconds_sum", labels='{stage="transform"}'), "on average"
                ),
                Query("sum(pixelflow_worker_slots)", "total"),
            ],
            unit="short",
        ),
        Stacked(
            "Where a job's time goes",
            "Mean time of each stage. queue: from due to claimed; wait: for a slot.",
            [
                Query(
                    f"{growth('pixelflow_worker_stage_duration_seconds_sum', 'stage')} / "
                    f"{growth('pixelflow_worker_stage_duration_seconds_count', 'stage')}",
                    "{{stage}}",
                )
            ],
            unit="s",
        ),
        Panel(
            "Attempt duration",
            "From the claim to the end of the attempt, without the time in the queue.",
            quantiles("pixelflow_worker_job_duration_seconds"),
            unit="s",
        ),
    ],
)

# ── Who uses it? ─────────────────────────────────────────────────────────────────────────────────

USED_BY = Row(
    "Who uses it?",
    [
        Number(
            "Users",
            "Users who created a job within the last 24 hours.",
            [Query("max(pixelflow_usage_active_users)", "in 24 h")],
            unit="short",
            width=4,
        ),
        Ranking(
            "Most pixels",
            "Users with the most processed pixels in the last 24 hours; PIXELFLOW_METRICS_TOP_USERS sets how many.",
            [Query("sort_desc(max by (user_id) (pixelflow_usage_top_pixels_processed))", "{{user_id}}")],
            unit="short",
            width=10,
        ),
        Panel(
            "Requests by route",
            "Requests per second by route, without probes.",
            [Query(growth("pixelflow_api_requests_total", "method, route", CLIENTS), "{{method}} {{route}}")],
            unit="suffix:/s",
            width=10,
        ),
        Panel(
            "Over their limits",
            "Requests per minute rejected by the rate limit of their user or address.",
            [Query(f"60 * {growth('pixelflow_api_rate_limit_rejections_total', 'route')}", "{{route}}")],
            unit="suffix:/min",
        ),
        Panel(
            "Open streams",
            "Event streams and requests with `wait`. An API process refuses more than PIXELFLOW_API_MAX_STREAMS.",
            [Query("sum(pixelflow_api_streams)", "open")],
            unit="short",
        ),
        Stacked(
            "Outputs by format",
            "Outputs per second by format.",
            [Query(growth("pixelflow_worker_pipeline_outputs_total", "format"), "{{format}}")],
            unit="suffix:/s",
        ),
    ],
)

# ── What does it cost? ───────────────────────────────────────────────────────────────────────────

SUCCEEDED = gained("pixelflow_worker_jobs_total", '{status="succeeded"}')
TRANSFORMS = f"{gained('pixelflow_usage_compute_time_ms_total')} / 1000"
"""CPU seconds of children, which are not part of the processes' own CPU time."""
PROCESSES = (
    "sum(increase(process_cpu_seconds_total[$__range]) "
    "and on (instance, job) last_over_time(pixelflow_build_info[$__range]))"
)
"""Includes processes that have exited since."""
SLOT_SECONDS = "sum(sum_over_time(pixelflow_worker_slots[$__range:$__interval])) * $__interval_ms / 1000"
PER_JOB = f"/ ({SUCCEEDED} > 0)"

COSTS = Row(
    "What does it cost?",
    [
        Number(
            "Cost per 1000 jobs",
            "CPU cost of 1000 successful jobs at the price set above: used, by transforms and all PixelFlow processes; "
            "and provisioned, one core per slot. Postgres, Redis, storage and traffic are not included.",
            [
                Query(f"1000 * $price / 3600 * ({TRANSFORMS} + {PROCESSES}) {PER_JOB}", "used"),
                Query(
                    f"1000 * $price / 3600 * {SLOT_SECONDS} {PER_JOB}",
                    "provisioned",
                ),
            ],
            unit="short",
            decimals=4,
            height=6,
        ),
        Number(
            "CPU time per job",
            "Per successful job: of its transform, in the child; and of everything else, in all PixelFlow processes, "
            "including idle time.",
            [
                Query(f"{TRANSFORMS} {PER_JOB}", "transform"),
                Query(f"{PROCESSES} {PER_JOB}", "everything else"),
            ],
            unit="s",
            height=6,
        ),
        Number(
            "Totals",
            "Successful jobs, processed pixels, and bytes by which outputs are smaller than their sources.",
            [
                Query(SUCCEEDED, "jobs"),
                Query(gained("pixelflow_usage_pixels_processed_total"), "pixels"),
                Query(gained("pixelflow_usage_bytes_saved_total"), "bytes saved"),
            ],
            unit="short",
            height=6,
        ),
        Stacked(
            "CPU",
            "Cores in use by the processes of each role, and by the transforms of successful jobs.",
            [
                Query(f"sum by (role) ({of_role(f'rate(process_cpu_seconds_total{RATE})')})", "{{role}}"),
                Query(f"{growth('pixelflow_usage_compute_time_ms_total')} / 1000", "transforms"),
            ],
            unit="suffix: cores",
        ),
        Stacked(
            "Memory",
            "Resident memory of the processes of each role. Children are not included: at most "
            "PIXELFLOW_WORKER_CHILD_MEMORY_BYTES each.",
            [Query(f"sum by (role) ({of_role('process_resident_memory_bytes')})", "{{role}}")],
            unit="bytes",
        ),
        Panel(
            "Pixels per CPU second",
            "Processed pixels per CPU second of the transforms. It falls with more expensive steps or formats (AVIF, "
            "large sources), not with more jobs.",
            [
                Query(
                    f"{growth('pixelflow_usage_pixels_processed_total')} / "
                    f"({growth('pixelflow_usage_compute_time_ms_total')} / 1000)",
                    "pixels",
                )
            ],
            unit="short",
        ),
    ],
)

PRICE = "0.04"

VARIABLES: list[Json] = [
    {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
    {
        "name": "price",
        "label": "Price of a core for an hour",
        "type": "textbox",
        "query": PRICE,
        "current": {"text": PRICE, "value": PRICE},
    },
    {
        "name": "filters",
        "label": "Filter",
        "type": "adhoc",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
    },
]

DASHBOARD = Dashboard(
    uid="pixelflow",
    title="PixelFlow",
    description="Is it healthy, is it keeping up, who uses it, what does it cost?",
    rows=[HEALTHY, KEEPING_UP, USED_BY, COSTS],
    variables=VARIABLES,
)


def text() -> str:
    """Return the JSON file for Grafana."""
    return json.dumps(DASHBOARD.json(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    WRITTEN.write_text(text(), encoding="utf-8")
