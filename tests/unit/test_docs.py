"""The documentation says what the code does: tables are made from it, links lead somewhere, examples are valid."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from tests.support import doc_tables

from pixelflow import errors
from pixelflow.adapters import wakeup
from pixelflow.cli.credentials import CLIENT_VARIABLES
from pixelflow.client import Client
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.states import TRANSITIONS
from pixelflow.contracts.messages import ProcessImage
from pixelflow.contracts.responses import Problem
from pixelflow.controlplane.api import examples
from pixelflow.controlplane.api.body_size import MAX_BODY_BYTES
from pixelflow.dataplane.worker import claims
from pixelflow.dataplane.worker.child_process import MAX_TRANSFORMS
from pixelflow.dataplane.worker.resources import DEFAULT_CHILD_MEMORY_BYTES
from pixelflow.imaging.fields import MAX_DIMENSION
from pixelflow.imaging.formats.registry import FORMATS
from pixelflow.imaging.pipeline import MAX_STEPS, Pipeline
from pixelflow.settings import PREFIX, Settings

ROOT = doc_tables.ROOT
DOCS = doc_tables.DOCS
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "examples" / "README.md"])
DECISIONS = sorted(path for path in (DOCS / "adr").glob("*.md") if path.name != "README.md")
REMEDY = "run `make schemas`"


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def json_blocks(page: Path) -> list[object]:
    blocks = re.findall(r"^```json\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [json.loads(block) for block in blocks]


# ── Made from the code ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", doc_tables.TABLES)
def test_the_tables_of_a_page_are_what_the_code_says(page: str) -> None:
    assert text_of(page) == doc_tables.renewed(page, text_of(page)), REMEDY


def test_the_example_of_the_environment_is_what_the_settings_say() -> None:
    assert doc_tables.ENV_EXAMPLE.read_text(encoding="utf-8") == doc_tables.env_example(), REMEDY


def test_the_example_of_the_environment_filled_in_makes_the_defaults() -> None:
    lines = doc_tables.ENV_EXAMPLE.read_text(encoding="utf-8").splitlines()
    said = dict(line.removeprefix("# ").split("=", 1) for line in lines if re.match(rf"(# )?{PREFIX}[A-Z0-9_]+=", line))
    required = {
        f"{PREFIX}DATABASE_URL": "postgresql://h/d",
        f"{PREFIX}REDIS_URL": "redis://h",
        f"{PREFIX}S3_ENDPOINT_URL": "http://h",
        f"{PREFIX}S3_BUCKET": "b",
        f"{PREFIX}S3_ACCESS_KEY_ID": "k",
        f"{PREFIX}S3_SECRET_ACCESS_KEY": "s",
    }
    always = {name for name, field in Settings.model_fields.items() if field.is_required()}
    with_keys = {"s3_access_key_id", "s3_secret_access_key"}
    assert always | with_keys == {name.removeprefix(PREFIX).lower() for name in required}
    values = {name.removeprefix(PREFIX).lower(): value for name, value in {**said, **required}.items() if value}
    defaults = {name.removeprefix(PREFIX).lower(): value for name, value in required.items()}
    assert Settings.model_validate(values) == Settings.model_validate(defaults)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described_in_a_table(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description
    assert f"| `{PREFIX}{name.upper()}` |" in text_of("configuration.md")


# ── Everything is there ──────────────────────────────────────────────────────────────────────────


def leaves(root: type[errors.PixelflowError]) -> list[type[errors.PixelflowError]]:
    return [leaf for child in root.__subclasses__() for leaf in leaves(child)] or [root]


RAISED = [*leaves(errors.PixelflowError), errors.TargetUnreachableError]
"""That one is raised itself, too."""


def page_of(error: type[errors.PixelflowError]) -> str:
    if issubclass(error, errors.TargetError):
        return "webhooks.md"
    return "pipeline.md" if issubclass(error, errors.JobError) else "http-api.md"


@pytest.mark.parametrize("error", RAISED, ids=lambda error: error.__name__)
def test_every_error_is_documented_where_it_can_be_met(error: type[errors.PixelflowError]) -> None:
    page = page_of(error)
    assert re.search(rf"^\| .*`{error.code}`[^|]* \| .*{re.escape(error.title)}", text_of(page), re.MULTILINE)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_documented(name: str) -> None:
    assert f"`{name}`" in text_of("formats.md")


def default_of(name: str) -> float:
    default = Settings.model_fields[name].default
    assert isinstance(default, int | float)
    return default


@pytest.mark.parametrize(
    ("page", "phrase"),
    [
        ("pipeline.md", f"list of one to {MAX_STEPS} steps"),
        ("pipeline.md", "| source | {:g} MB |".format(default_of("max_source_bytes") / 1e6)),
        ("pipeline.md", "× frames | {:g} megapixels |".format(default_of("max_source_pixels") / 1e6)),
        ("pipeline.md", "| result of a step | {:g} megapixels |".format(default_of("max_output_pixels") / 1e6)),
        ("pipeline.md", "| all outputs of a job | {:g} MB |".format(default_of("max_output_bytes") / 1e6)),
        ("pipeline.md", "elapsed and CPU | {:g} s |".format(default_of("job_timeout_seconds"))),
        ("pipeline.md", f"| memory of one transform | {DEFAULT_CHILD_MEMORY_BYTES / 1e9:g} GB |"),
        ("http-api.md", f"at most {MAX_BODY_BYTES / 2**10:g} KiB"),
        ("queue.md", f"every {claims.WAIT_SECONDS[0]:g} to {claims.WAIT_SECONDS[1]:g} s"),
        ("queue.md", f"every {claims.SIGN_OF_LIFE_SECONDS:g} s"),
        ("queue.md", f"{wakeup.SEND_TIMEOUT_SECONDS * 1000:g} ms without an answer"),
        ("architecture.md", f"replaced after {MAX_TRANSFORMS}"),
        ("security.md", f"after {MAX_TRANSFORMS} transforms"),
        ("security.md", "{} steps, {} pixels a side".format(MAX_STEPS, f"{MAX_DIMENSION:,}".replace(",", " "))),
    ],
)
def test_a_number_in_the_prose_is_the_one_in_the_code(page: str, phrase: str) -> None:
    assert phrase in " ".join(text_of(page).split())


# ── Logs ─────────────────────────────────────────────────────────────────────────────────────────


def events_logged() -> set[str]:
    """The first argument of every call of a logger in the code."""
    found: set[str] = set()
    for module in (ROOT / "src" / "pixelflow").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
                logger, event = ast.unparse(node.func.value), node.args[0] if node.args else None
                if (
                    re.search(r"(^|[._])log$", logger)
                    and isinstance(event, ast.Constant)
                    and isinstance(event.value, str)
                ):
                    found.add(event.value)
    return found


LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def test_every_event_that_is_logged_is_documented_and_no_other() -> None:
    rows = re.findall(r"^\| (`.*?`) \| (?:debug|info|warning|error|critical) \|", text_of("logs.md"), re.MULTILINE)
    documented = {event for row in rows for event in re.findall(r"`(.+?)`", row)}
    assert documented == events_logged()


# ── Security ─────────────────────────────────────────────────────────────────────────────────────


def test_each_measure_of_security_names_a_test() -> None:
    rows = re.findall(r"^\| attempt \|.*?\n\n", text_of("security.md"), re.MULTILINE | re.DOTALL)
    measures = [row for table in rows for row in table.splitlines()[2:] if row]
    assert len(measures) > 50
    assert [row for row in measures if not re.search(r"`(tests/|test_)", row)] == []


def test_the_tests_that_security_names_exist() -> None:
    tests = [*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "src").rglob("test_*.py")]
    names = {name for path in tests for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))}
    names |= {path.name for path in tests}
    named = re.findall(r"`(tests/[\w/.]+|test_[\w.]+)`", text_of("security.md"))
    assert [name for name in named if name not in names and not (ROOT / name).exists()] == []


# ── States ───────────────────────────────────────────────────────────────────────────────────────


def test_the_table_of_movers_lists_every_move_once() -> None:
    documented = []
    for befores, after in re.findall(r"^\| `([a-z, ]+) → ([a-z]+)` \|", text_of("state-machine.md"), re.MULTILINE):
        documented += [(before, after) for before in befores.split(", ")]
    assert sorted(documented) == sorted(
        (before.value, after.value) for before, afters in TRANSITIONS.items() for after in afters
    )


# ── Examples in the prose ────────────────────────────────────────────────────────────────────────


def test_the_pipelines_shown_are_valid() -> None:
    shown = json_blocks(DOCS / "pipeline.md")
    assert shown
    for pipeline in shown:
        TypeAdapter(Pipeline).validate_python(pipeline)


def test_the_problem_shown_is_one() -> None:
    _, shown = json_blocks(DOCS / "http-api.md")
    problem = Problem.model_validate(shown)
    assert (problem.code, problem.title) == (
        errors.ValidationFailedError.code,
        errors.ValidationFailedError.title,
    )


def test_the_job_shown_is_the_example_of_the_openapi_document() -> None:
    shown, _ = json_blocks(DOCS / "http-api.md")
    assert shown == examples.JOB


def test_the_message_shown_is_one() -> None:
    (shown,) = json_blocks(DOCS / "queue.md")
    assert ProcessImage.model_validate(shown).model_dump(mode="json", by_alias=True) == shown


def test_the_request_of_the_readme_is_valid() -> None:
    (shown,) = re.findall(r"<<JSON\n(.*?)^JSON$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    CreateJobRequest.model_validate_json(shown.replace('$(wc -c < "$photo")', "642618"))


# ── Links and decisions ──────────────────────────────────────────────────────────────────────────


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_to_a_decision_has_its_number(page: Path) -> None:
    named = re.findall(r"\[[^\]]*?\b(0\d{3})\]\([^)]*?(0\d{3})-[\w-]+\.md", page.read_text(encoding="utf-8"))
    assert [(text, target) for text, target in named if text != target] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_variable_that_is_named_exists(page: Path) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    known |= {*CLIENT_VARIABLES, PREFIX}
    known |= {f"PIXELFLOW_TEST_S3_{what}" for what in ("", "ENDPOINT")}
    assert set(re.findall(r"PIXELFLOW_[A-Z0-9_]*", page.read_text(encoding="utf-8"))) <= known


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_has_context_decision_and_consequences(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    number, title = re.findall(r"\A# (\d{4}) (.+)\n", text)[0]
    assert page.name.startswith(f"{number}-")
    assert f"| [{number}]({page.name}) | {title} |" in text_of("adr/README.md")


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_the_page_of_the_sdk_has_each_method_of_the_client() -> None:
    methods = {name for name, member in vars(Client).items() if callable(member) and not name.startswith("_")}
    assert methods - set(re.findall(r"`(\w+)`", text_of("python.md"))) == {"close"}
