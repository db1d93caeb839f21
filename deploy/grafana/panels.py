"""Grafana's "classic" JSON model of a dashboard, which every version since 8 reads, including 12 and 13.

Independent of PixelFlow: the panels and their queries are in ``dashboard.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

COLUMNS = 24
"""Grafana's grid."""
SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
"""The Prometheus that is selected at the top of the page."""


@dataclass(frozen=True)
class Query:
    """A Prometheus query."""

    expr: str
    legend: str
    """Template of the series' names, such as ``{{role}}``."""


@dataclass(frozen=True)
class Panel:
    """A time series panel."""

    title: str
    description: str
    queries: Sequence[Query]
    unit: str
    """One of Grafana's: ``s``, ``bytes``, ``percentunit``, ``ops``, ``short`` and so on."""
    width: int = 8
    height: int = 8
    base: str = "green"
    """The color below all thresholds."""
    thresholds: Mapping[float, str] = field(default_factory=dict)
    """Value → the color from this value on."""
    colors: Mapping[str, str] = field(default_factory=dict)
    """Name in the legend → the fixed color of the series."""
    decimals: int | None = None
    """Number of decimals; None for Grafana's default."""

    kind = "timeseries"

    def json(self, number: int, left: int, top: int) -> Json:
        """Return Grafana's JSON.

        Args:
            number: unique ID of the panel.
            left: column, of :data:`COLUMNS`.
            top: row of the grid.
        """
        targets = [
            {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": query.expr, "legendFormat": query.legend}
            | self._asked()
            for place, query in enumerate(self.queries)
        ]
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": SOURCE,
            "gridPos": {"x": left, "y": top, "w": self.width, "h": self.height},
            "targets": targets,
            "fieldConfig": {"defaults": self._defaults(), "overrides": self._overrides()},
            "options": self._options(),
        }

    def _asked(self) -> Json:
        return {"range": True, "instant": False}

    def _defaults(self) -> Json:
        lines = {"mode": "line" if self.thresholds else "off"}
        look = {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "thresholdsStyle": lines}
        return {**self._figures(), "min": 0, "custom": look}

    def _overrides(self) -> list[Json]:
        return [
            {
                "matcher": {"id": "byName", "options": name},
                "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
            }
            for name, color in self.colors.items()
        ]

    def _figures(self) -> Json:
        steps: list[Json] = [{"value": None, "color": self.base}]
        steps += [{"value": value, "color": color} for value, color in self.thresholds.items()]
        shown = {"unit": self.unit, "thresholds": {"mode": "absolute", "steps": steps}}
        return shown if self.decimals is None else {**shown, "decimals": self.decimals}

    def _options(self) -> Json:
        legend = {
            "displayMode": "table",
            "placement": "bottom",
            "showLegend": True,
            "calcs": ["mean", "max", "lastNotNull"],
        }
        return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


@dataclass(frozen=True)
class Stacked(Panel):
    """A stacked time series panel."""

    def _defaults(self) -> Json:
        defaults = super()._defaults()
        defaults["custom"] |= {"fillOpacity": 60, "lineWidth": 0, "stacking": {"mode": "normal", "group": "A"}}
        return defaults


@dataclass(frozen=True)
class Number(Panel):
    """Current values in large figures."""

    words: Mapping[float, str] = field(default_factory=dict)
    """Value → text to show instead."""

    kind = "stat"

    def _asked(self) -> Json:
        return {"range": False, "instant": True}

    def _defaults(self) -> Json:
        mappings = [{"type": "value", "options": {f"{value:g}": {"text": word}}} for value, word in self.words.items()]
        return {**self._figures(), "mappings": mappings}

    def _options(self) -> Json:
        reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {
            "reduceOptions": reduce,
            "colorMode": "background" if self.thresholds else "none",
            "graphMode": "none",
            "textMode": "value_and_name",
        }


@dataclass(frozen=True)
class Ranking(Number):
    """A bar gauge, longest bar first."""

    kind = "bargauge"

    def _options(self) -> Json:
        reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {"reduceOptions": reduce, "orientation": "horizontal", "displayMode": "basic", "showUnfilled": False}


@dataclass(frozen=True)
class Row:
    """Panels under a heading, laid out from left to right with line breaks."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Dashboard:
    """A dashboard page."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[Json]

    def json(self) -> Json:
        """Return Grafana's JSON."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["pixelflow"],
            "schemaVersion": 39,
            "editable": True,
            "graphTooltip": 1,  # shared crosshair
            "time": {"from": "now-3h", "to": "now"},
            "timezone": "browser",
            "refresh": "30s",
            "templating": {"list": list(self.variables)},
            "panels": list(self._panels()),
        }

    def _panels(self) -> Iterator[Json]:
        number, top = 0, 0
        for row in self.rows:
            number += 1
            yield {"id": number, "type": "row", "title": row.title, "collapsed": False, "panels": []} | {
                "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1}
            }
            left, top, below = 0, top + 1, top + 1
            for panel in row.panels:
                if left + panel.width > COLUMNS:
                    left, top = 0, below
                number += 1
                yield panel.json(number, left, top)
                left, below = left + panel.width, max(below, top + panel.height)
            top = below
