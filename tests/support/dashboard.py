"""The dashboard as Grafana would show it: its panels, and what they ask with the page's variables filled in."""

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
class Asked:
    """A query of a panel."""

    expression: str
    """With variables in it, as written."""
    legend: str

    def filled(self, *, rate: str, whole: str) -> str:
        """What Prometheus is sent.

        Args:
            rate: the interval that rates are taken over, such as ``1m``.
            whole: the time that the page shows, such as ``3h``.
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
        """What an answer with these labels is called in the legend."""
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
        """What stands over it."""
        return str(self.json["title"])

    @property
    def asked(self) -> list[Asked]:
        """What it asks."""
        return [Asked(target["expr"], target["legendFormat"]) for target in self.json["targets"]]


def read() -> Json:
    """The file."""
    content: Json = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def panels() -> list[Shown]:
    """All of them but the rows' headings, in order."""
    row, found = "", []
    for panel in read()["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        else:
            found.append(Shown(row, panel))
    return found
