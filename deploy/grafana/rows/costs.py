"""What does it cost? CPU, memory, and the price of jobs."""

from __future__ import annotations

from deploy.grafana.panels import Number, Panel, Query, Row, Stacked
from deploy.grafana.queries import RATE, gained, growth, of_role

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
