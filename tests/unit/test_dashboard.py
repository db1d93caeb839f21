"""The dashboard: made from its source, whole, readable, bound to no installation, and of metrics that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy.grafana import dashboard as source
from deploy.grafana.panels import COLUMNS
from tests.support import dashboard, promql
from tests.support.dashboard import Shown
from tests.support.metric_list import METRICS

ROOT = Path(__file__).parents[2]
PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"
PANELS = dashboard.panels()
TARGET = {"instance", "job"}
"""Labels that Prometheus adds to whatever it scrapes."""
OF_PROMETHEUS = {"le", "alertname", "alertstate"}

each_panel = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)


def test_the_file_is_what_its_source_makes() -> None:
    assert dashboard.FILE.read_text(encoding="utf-8") == source.text(), "run `make schemas`"


def test_the_rows_are_the_questions_of_an_operator() -> None:
    assert list(dict.fromkeys(panel.row for panel in PANELS)) == [
        "Is it healthy?",
        "Is it keeping up?",
        "Who uses it?",
        "What does it cost?",
    ]


def test_no_two_panels_have_the_same_id_or_title_or_place() -> None:
    everything = dashboard.read()["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    assert len({panel["title"] for panel in everything}) == len(everything)
    cells = [cell for panel in everything for cell in cells_of(panel["gridPos"])]
    assert len(cells) == len(set(cells))
    assert max(column for column, _ in cells) < COLUMNS


def cells_of(place: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    for column in range(place["x"], place["x"] + place["w"]):
        for line in range(place["y"], place["y"] + place["h"]):
            yield column, line


@each_panel
def test_a_panel_says_what_it_shows_in_which_unit_from_the_source_that_is_chosen(panel: Shown) -> None:
    assert panel.json["description"].endswith(".")
    assert panel.json["fieldConfig"]["defaults"]["unit"]
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert panel.json["datasource"] == chosen
    assert panel.queries
    assert all(target["datasource"] == chosen and target["legendFormat"] for target in panel.json["targets"])


@each_panel
def test_a_legend_uses_labels_that_the_query_leaves(panel: Shown) -> None:
    for query in panel.queries:
        assert set(re.findall(r"\{\{(\w+)\}\}", query.legend)) <= promql.groupings(query.expression)


@each_panel
def test_a_panel_names_no_installation(panel: Shown) -> None:
    for query in panel.queries:
        assert not re.search(r"\b(instance|job|namespace|pod|cluster)\s*(=|!)", query.expression)


def test_every_variable_that_is_used_is_declared_or_grafanas_own() -> None:
    declared = {variable["name"] for variable in dashboard.read()["templating"]["list"]}
    used = {name for panel in PANELS for each in panel.queries for name in re.findall(r"\$([a-z_]+)", each.expression)}
    assert used - {"__rate_interval", "__range", "__interval", "__interval_ms"} <= declared


def test_the_provisioned_source_and_folder_are_what_the_dashboard_expects() -> None:
    def content(path: str) -> Any:  # noqa: ANN401
        return yaml.safe_load((PROVISIONING / path).read_text(encoding="utf-8"))

    [prometheus] = content("datasources/prometheus.yml")["datasources"]
    [provider] = content("dashboards/pixelflow.yml")["providers"]
    [chooser] = [each for each in dashboard.read()["templating"]["list"] if each["type"] == "datasource"]
    assert (prometheus["type"], prometheus["isDefault"]) == (chooser["query"], True)
    assert (provider["type"], provider["options"]["path"]) == ("file", "/var/lib/grafana/dashboards")


# ── Metrics that exist ───────────────────────────────────────────────────────────────────────────


EXPORTED = {metric.name: set(metric.labels) for role in METRICS.values() for metric in role}
OF_THE_LIBRARY: dict[str, set[str]] = {"process_cpu_seconds_total": set(), "process_resident_memory_bytes": set()}


def expressions() -> list[str]:
    groups = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    rules = [rule["expr"] for group in groups for rule in group["rules"]]
    return [*rules, *(query.expression for panel in PANELS for query in panel.queries)]


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_and_label_that_is_used_is_exported_by_some_process(expression: str) -> None:
    asked = promql.metrics(expression)
    exported = EXPORTED | OF_THE_LIBRARY
    assert asked <= set(exported)
    for name, matched in promql.selectors(expression):
        assert matched <= exported[name] | TARGET | OF_PROMETHEUS, name
    made_here = set(re.findall(r'label_replace\(.*"(\w+)", "\$\{1\}', expression))
    assert (
        promql.groupings(expression)
        <= {label for name in asked for label in exported[name]} | TARGET | OF_PROMETHEUS | made_here
    )
