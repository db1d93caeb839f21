"""Is it keeping up? Waiting jobs and events, and what the workers do."""

from __future__ import annotations

from deploy.grafana.panels import Panel, Query, Row, Stacked
from deploy.grafana.queries import AMBER, BLUE, GREEN, PURPLE, RED, growth, quantiles

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
        Stacked(
            "Awaited uploads",
            "Checks per minute of the sources of jobs that start by themselves, by outcome. waiting: the upload is not "
            "there yet. refused: the job failed. unavailable: a dependency did not answer.",
            [Query(f"60 * {growth('pixelflow_source_checks_total', 'outcome')}", "{{outcome}}")],
            unit="suffix:/min",
            colors={"started": GREEN, "waiting": BLUE, "refused": RED, "ended": PURPLE, "unavailable": AMBER},
        ),
    ],
)
