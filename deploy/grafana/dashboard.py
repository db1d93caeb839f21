"""The dashboard: four questions of an operator, and the panels that answer each. Running it writes the JSON anew.

Several controllers tell the same of the database: their gauges are taken by max(), never added up. No query names an
instance or anything else of one installation; the filter at the top of the page can.
"""

from __future__ import annotations

import json
from pathlib import Path

from deploy.grafana.panels import Dashboard, Json, Number, Panel, Query, Ranking, Row, Stacked

WRITTEN = Path(__file__).parent / "dashboards" / "pixelflow.json"

RATE = "[$__rate_interval]"
CLIENTS = '{route!~"/healthz|/readyz"}'
"""Requests that are no probes."""
ANSWERED = '{route!~"/healthz|/readyz",status!="0"}'
"""Those whose client was still there."""
PROMPT = '{route!~"/healthz|/readyz|.*/events"}'
"""Of those the ones that should be quick: a stream of events lasts as long as its job."""
GREEN, AMBER, RED, BLUE, PURPLE = "green", "orange", "red", "blue", "purple"


def growth(metric: str, by: str = "", labels: str = "") -> str:
    """How much a counter grows in a second, all processes together."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{labels}{RATE}))"


def gained(metric: str, labels: str = "") -> str:
    """How much a counter grew in the time that the page shows, all processes together."""
    return f"sum(increase({metric}{labels}[$__range]))"


def quantiles(histogram: str, labels: str = "") -> list[Query]:
    """What half, 95 of 100 and 99 of 100 of the observations stay below."""
    buckets = f"sum by (le) (rate({histogram}_bucket{labels}{RATE}))"
    return [Query(f"histogram_quantile({part / 100}, {buckets})", f"p{part}") for part in (50, 95, 99)]


def of_role(metric: str) -> str:
    """What the client library tells of each process, with the role that the process has."""
    return f"{metric} * on (instance, job) group_left (role) pixelflow_build_info"


FIRING = 'ALERTS{alertname=~"PixelFlow.+",alertstate="firing"}'
NOTHING_FIRES = f'label_replace(absent({FIRING}) - 1, "alertname", "none", "", "")'
"""Says 0 by the name of «none»: an empty panel could as well mean that nobody looks."""

# ── Is it healthy? ───────────────────────────────────────────────────────────────────────────────

HEALTHY = Row(
    "Is it healthy?",
    [
        Number(
            "Alerts",
            "Alerts of deploy/prometheus/alerts.yml that fire. docs/operations.md has a section for each.",
            [Query(f"count by (alertname) ({FIRING}) or sum by (alertname) ({NOTHING_FIRES})", "{{alertname}}")],
            unit="short",
            height=5,
            thresholds={1: RED},
        ),
        Number(
            "Processes",
            "How many processes of each role and version answer Prometheus. Two versions: an upgrade is under way.",
            [Query("count by (role, version) (pixelflow_build_info)", "{{role}} {{version}}")],
            unit="short",
            height=5,
        ),
        Number(
            "Servers",
            "Whether every process reaches Postgres, Redis and object storage. «away»: at least one does not.",
            [Query("min by (dependency) (pixelflow_dependency_up)", "{{dependency}}")],
            unit="short",
            height=5,
            base=RED,
            thresholds={1: GREEN},
            words={0: "away", 1: "up"},
        ),
        Stacked(
            "How attempts end",
            "Attempts of workers that ended, per second. retried: failed, and tried again. lost: a lease was lost. "
            "handed_back: not worked on, because the worker was told to stop.",
            [Query(growth("pixelflow_worker_jobs_total", "status"), "{{status}}")],
            unit="suffix:/s",
            colors={"succeeded": GREEN, "retried": AMBER, "failed": RED, "lost": PURPLE, "handed_back": BLUE},
        ),
        Panel(
            "Why attempts fail",
            "Attempts that failed, per minute, by the error's code. docs/pipeline.md tells what each means, and "
            "whether the picture or the service is to blame.",
            [Query(f"60 * {growth('pixelflow_worker_failures_total', 'code')}", "{{code}}")],
            unit="suffix:/min",
        ),
        Stacked(
            "Webhooks",
            "Calls of receivers, per minute, by what came of them. exhausted and refused: that receiver is never told.",
            [Query(f"60 * {growth('pixelflow_webhook_deliveries_total', 'outcome')}", "{{outcome}}")],
            unit="suffix:/min",
            colors={"delivered": GREEN, "retried": AMBER, "exhausted": RED, "refused": PURPLE},
        ),
        Stacked(
            "Answers of the API",
            "Requests per second by the class of their status, probes left out.",
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
            "How long the API takes",
            "Time to the end of an answer, probes and streams left out. No picture passes through the API: it should "
            "be milliseconds.",
            quantiles("pixelflow_api_request_duration_seconds", PROMPT),
            unit="s",
            thresholds={1: AMBER},
        ),
        Panel(
            "Loops of the controllers",
            "How long ago any controller ended a round of each loop without an error.",
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
            "How long the oldest waits",
            "For how long the longest due job has waited for a worker, and the longest overdue event for its call.",
            [
                Query("max(pixelflow_queue_oldest_seconds)", "job"),
                Query("max(pixelflow_webhook_oldest_seconds)", "event"),
            ],
            unit="s",
            thresholds={120: AMBER, 900: RED},
        ),
        Stacked(
            "What waits and what is in hand",
            "Jobs that are queued or processing, and events that wait for their first call or their next.",
            [
                Query('max by (status) (pixelflow_jobs{status=~"queued|processing"})', "jobs {{status}}"),
                Query("max(pixelflow_webhook_events_pending)", "events pending"),
            ],
            unit="short",
        ),
        Panel(
            "In and out",
            "Messages sent to the queue and jobs that ended, per second. More in than out for long: add workers. "
            "A message that was lost and sent again counts twice.",
            [
                Query(growth("pixelflow_queue_jobs_enqueued_total"), "sent to the queue"),
                Query(growth("pixelflow_worker_jobs_total", labels='{status=~"succeeded|failed"}'), "ended"),
            ],
            unit="suffix:/s",
        ),
        Panel(
            "Slots",
            "Transforms under way, and how many may be at once in all workers. All in use while jobs wait: too few "
            "workers. On average: from the transforms that ended meanwhile.",
            [
                Query("sum(pixelflow_worker_active_jobs)", "in use now"),
                Query(
                    growth("pixelflow_worker_stage_duration_seconds_sum", labels='{stage="transform"}'), "on average"
                ),
                Query("sum(pixelflow_worker_slots)", "there are"),
            ],
            unit="short",
        ),
        Stacked(
            "Where a job's time goes",
            "Mean time of each stage. queue: from when it is due to its claim; wait: for a slot.",
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
            "How long attempts take",
            "From the claim to the end of the attempt; waiting in the queue is not in it.",
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
            "Who had most pixels made within the last 24 hours; PIXELFLOW_METRICS_TOP_USERS says how many are told.",
            [Query("sort_desc(max by (user_id) (pixelflow_usage_top_pixels_processed))", "{{user_id}}")],
            unit="short",
            width=10,
        ),
        Panel(
            "What they ask",
            "Requests per second by route, probes left out.",
            [Query(growth("pixelflow_api_requests_total", "method, route", CLIENTS), "{{method}} {{route}}")],
            unit="suffix:/s",
            width=10,
        ),
        Panel(
            "Over their limits",
            "Requests per minute that were refused because their user, or their address, had sent too many.",
            [Query(f"60 * {growth('pixelflow_api_rate_limit_rejections_total', 'route')}", "{{route}}")],
            unit="suffix:/min",
            width=12,
        ),
        Stacked(
            "What they get",
            "Outputs per second by format.",
            [Query(growth("pixelflow_worker_pipeline_outputs_total", "format"), "{{format}}")],
            unit="suffix:/s",
            width=12,
        ),
    ],
)

# ── What does it cost? ───────────────────────────────────────────────────────────────────────────

SUCCEEDED = gained("pixelflow_worker_jobs_total", '{status="succeeded"}')
TRANSFORMS = f"{gained('pixelflow_usage_compute_time_ms_total')} / 1000"
"""Processor time of children, in seconds. The processes themselves don't count it as theirs."""
PROCESSES = (
    "sum(increase(process_cpu_seconds_total[$__range]) "
    "and on (instance, job) last_over_time(pixelflow_build_info[$__range]))"
)
"""Those that have ended since count, too."""
SLOT_SECONDS = "sum(sum_over_time(pixelflow_worker_slots[$__range:$__interval])) * $__interval_ms / 1000"
PER_JOB = f"/ ({SUCCEEDED} > 0)"

COSTS = Row(
    "What does it cost?",
    [
        Number(
            "1000 jobs",
            "What 1000 jobs that succeeded cost in processor time, at the price that is set above: what was used, by "
            "transforms and all processes of PixelFlow; and what was kept ready, one core per slot. Postgres, Redis, "
            "storage and traffic come on top.",
            [
                Query(f"1000 * $price / 3600 * ({TRANSFORMS} + {PROCESSES}) {PER_JOB}", "used"),
                Query(
                    f"1000 * $price / 3600 * {SLOT_SECONDS} {PER_JOB}",
                    "kept ready",
                ),
            ],
            unit="short",
            decimals=4,
            height=6,
        ),
        Number(
            "Processor time of a job",
            "Per job that succeeded: of its transform, in the child; and of everything around it, in all processes of "
            "PixelFlow, idle times included.",
            [
                Query(f"{TRANSFORMS} {PER_JOB}", "transform"),
                Query(f"{PROCESSES} {PER_JOB}", "around it"),
            ],
            unit="s",
            height=6,
        ),
        Number(
            "What for",
            "Jobs that succeeded, pixels that they made, bytes by which their outputs are smaller than their sources.",
            [
                Query(SUCCEEDED, "jobs"),
                Query(gained("pixelflow_usage_pixels_processed_total"), "pixels"),
                Query(gained("pixelflow_usage_bytes_saved_total"), "bytes saved"),
            ],
            unit="short",
            height=6,
        ),
        Stacked(
            "Processor",
            "Cores in use: by each role's own processes, and by the transforms of jobs that succeeded.",
            [
                Query(f"sum by (role) ({of_role(f'rate(process_cpu_seconds_total{RATE})')})", "{{role}}"),
                Query(f"{growth('pixelflow_usage_compute_time_ms_total')} / 1000", "transforms"),
            ],
            unit="suffix: cores",
        ),
        Stacked(
            "Memory",
            "Resident memory of each role's own processes. Children come on top: at most "
            "PIXELFLOW_WORKER_CHILD_MEMORY_BYTES each.",
            [Query(f"sum by (role) ({of_role('process_resident_memory_bytes')})", "{{role}}")],
            unit="bytes",
        ),
        Panel(
            "Pixels for a second of processor",
            "Pixels made per second of the transforms' processor time. Falls when steps or formats become dearer "
            "(AVIF, large sources), not when there are more jobs.",
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
    """The file that Grafana reads."""
    return json.dumps(DASHBOARD.json(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    WRITTEN.write_text(text(), encoding="utf-8")
