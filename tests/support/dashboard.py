"""The dashboard's panels, and their queries with Grafana's variables filled in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards" / "pixelflow.json"
PRICE = "0.04"

Json = dict[str, Any]


@dataclass(frozen=True)
class PanelQuery:
    """A query of a panel."""

    expression: str
    """With variables."""
    legend: str

    def filled(self, *, rate: str, whole: str) -> str:
        """Return the expression for Prometheus.

        Args:
            rate: the interval of rates, such as ``1m``.
            whole: the time range of the page, such as ``3h``.
        """
        values = {
            "$__rate_interval": rate,
            "$__range": whole,
            "$__interval_ms": "1000",
            "$__interval": "1s",
            "$price": PRICE,
        }
        expression = self.expression
        for name, value in values.items():
            expression = expression.replace(name, value)
        return expression

    def named(self, labels: Mapping[str, str]) -> str:
        """Return the name in the legend of a series with these labels."""
        name = self.legend
        for label, value in labels.items():
            name = name.replace(f"{{{{{label}}}}}", value)
        return name


@dataclass(frozen=True)
class Shown:
    """A panel."""

    row: str
    json: Json

    @property
    def title(self) -> str:
        """The panel's title."""
        return str(self.json["title"])

    @property
    def queries(self) -> list[PanelQuery]:
        """The panel's queries."""
        return [PanelQuery(target["expr"], target["legendFormat"]) for target in self.json["targets"]]


def read() -> Json:
    """Read the dashboard's JSON file."""
    content: Json = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def panels() -> list[Shown]:
    """Return all panels except row headings, in order."""
    row, found = "", []
    for panel in read()["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        else:
            found.append(Shown(row, panel))
    return found
