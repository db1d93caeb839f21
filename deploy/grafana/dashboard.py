"""The dashboard: four questions of an operator, and the panels that answer them. Run it to regenerate the JSON.

All controllers report the same gauges of the database, so queries use max(), never sum(). A query must never name an
instance or other details of one installation; the filter at the top of the page is for that.
"""

from __future__ import annotations

import json
from pathlib import Path

from deploy.grafana.panels import Dashboard, Json
from deploy.grafana.rows.costs import COSTS
from deploy.grafana.rows.healthy import HEALTHY
from deploy.grafana.rows.keeping_up import KEEPING_UP
from deploy.grafana.rows.used_by import USED_BY

WRITTEN = Path(__file__).parent / "dashboards" / "pixelflow.json"

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
