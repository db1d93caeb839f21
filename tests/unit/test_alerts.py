"""Alerts: rules that promtool accepts, fire when they should, ask for what is there, and have a page to read."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from tests.support.prometheus import program

from pixelflow import errors
from pixelflow.dataplane.worker.metrics import WorkerMetrics
from pixelflow.errors import JobError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
OPERATIONS = ROOT / "docs" / "operations.md"

Rule = dict[str, Any]


def rules() -> list[Rule]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]
each_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: rule["alert"])


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(program("promtool")), *arguments]
    return subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=300)


def test_promtool_finds_nothing_wrong_with_the_rules() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_when_it_should_and_not_before() -> None:
    done = promtool("test", "rules", "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@each_alert
def test_an_alert_is_tested_firing(alert: Rule) -> None:
    assert f'alertname="{alert["alert"]}", alertstate="firing"' in (FOLDER / "alerts_test.yml").read_text()


@each_alert
def test_an_alert_says_whom_it_wakes_what_is_wrong_and_where_to_read_on(alert: Rule) -> None:
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert set(alert["annotations"]) == {"summary", "description", "runbook"}
    assert alert["annotations"]["runbook"] == f"docs/operations.md#{alert['alert'].lower()}"


def section_of(alert: Rule) -> str:
    text = OPERATIONS.read_text(encoding="utf-8")
    found = re.search(rf"^### {alert['alert']}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"docs/operations.md has no section {alert['alert']}"
    return found[1]


@each_alert
def test_an_alert_has_a_section_on_what_it_means_how_to_see_why_and_what_to_do(alert: Rule) -> None:
    section = section_of(alert)
    assert section.strip().startswith(f"*{alert['labels']['severity']}* · ")
    assert "\nSee" in section
    assert re.search(r"^(See and do|Do): ", section, re.MULTILINE)


def test_no_section_is_about_an_alert_that_is_gone() -> None:
    sections = re.findall(r"^### (PixelFlow\w+)$", OPERATIONS.read_text(encoding="utf-8"), re.MULTILINE)
    assert sections == [rule["alert"] for rule in ALERTS]


def leaves(root: type[errors.PixelflowError]) -> list[type[errors.PixelflowError]]:
    return [leaf for child in root.__subclasses__() for leaf in leaves(child)] or [root]


OF_THE_OWNER = {error.code for error in leaves(errors.SourceError)} | {
    "destination_exists",
    "destination_refused",
    "output_too_large",
    "step_failed",
}
"""What is wrong with a source, a pipeline or a destination."""
OF_THE_SERVICE = {error.code for error in leaves(JobError)} - OF_THE_OWNER


def test_a_code_whose_first_failure_counts_is_exported_before_there_is_one() -> None:
    registry = CollectorRegistry()
    WorkerMetrics(registry)
    matchers = [each for rule in ALERTS for each in re.findall(r'failures_total\{code=~?"([\w|]+)"', rule["expr"])]
    counted = {code for matcher in matchers for code in matcher.split("|")}
    assert {"attempts_exhausted", "decoder_crashed", "transform_crashed"} <= counted
    for code in counted:
        assert registry.get_sample_value("pixelflow_worker_failures_total", {"code": code}) == 0


def test_failures_are_distinguished_by_whose_they_are() -> None:
    written = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}
    for record, operator in (("of_sources:increase1h", "=~"), ("of_service:increase15m", "!~")):
        [codes] = re.findall(rf'code{operator}"([^"]+)"', written[f"pixelflow:worker_failures_{record}"])
        assert set(codes.split("|")) == OF_THE_OWNER
    assert {
        "transform_timeout",
        "out_of_memory",
        "transform_crashed",
        "decoder_crashed",
        "transform_postponed",
        "attempts_exhausted",
        "service_unavailable",
    } == OF_THE_SERVICE
