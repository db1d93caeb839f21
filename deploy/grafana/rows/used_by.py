"""Who uses it? Users, routes, limits and formats."""

from __future__ import annotations

from deploy.grafana.panels import Number, Panel, Query, Ranking, Row, Stacked
from deploy.grafana.queries import CLIENTS, growth

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
