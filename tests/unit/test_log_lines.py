"""Log lines contain no secret, at any level and in any format, and every line is one record."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from tests.support.waiting import assert_cpu_within

from pixelflow.adapters.telemetry.redaction import redact

SECRET = "hush-hush-hush"
ENVIRONMENT = {
    "PIXELFLOW_DATABASE_URL": f"postgresql://user:{SECRET}@db:5432/pixelflow",
    "PIXELFLOW_REDIS_URL": f"redis://:{SECRET}@redis:6379/0",
    "PIXELFLOW_S3_ENDPOINT_URL": "http://s3:9000",
    "PIXELFLOW_S3_BUCKET": "pixelflow",
    "PIXELFLOW_S3_ACCESS_KEY_ID": "key",
    "PIXELFLOW_S3_SECRET_ACCESS_KEY": SECRET,
    "PIXELFLOW_LOG_LEVEL": "debug",
}
LOGGING = """
import logging
import structlog
from pixelflow import settings
from pixelflow.adapters.telemetry.logs import configure_logs
configure_logs(settings.load(), role="test")
"""
SIGNING = """
from pixelflow.adapters.storage.objects import ObjectStorage
ObjectStorage(settings.load()).sign_upload("the-key", content_length=1, content_type=None, seconds=60)
structlog.get_logger("pixelflow.test").debug("signed")
"""
FAILING = """
def fail(secret):
    raise ValueError("the reason")
try:
    fail("hush-hush" + "-hush")
except ValueError:
    structlog.get_logger("pixelflow.test").exception("failed")
    logging.getLogger("some.library").exception("failed too")
"""
ASKING = """
logging.getLogger("httpx").info("HTTP Request: PUT http://s3/key?X-Amz-Signature=1234")
"""


SIGNATURE = "5" * 64
URL = f"https://bucket.example/key?X-Amz-Credential=key%2F2026&X-Amz-Signature={SIGNATURE}&x=1"
LEAKING = f"""
try:
    raise OSError("could not PUT {URL} (connection reset)")
except OSError:
    structlog.get_logger("pixelflow.test").exception("leaked", tried=OSError("{URL}"), nested={{"url": ["{URL}"]}})
    logging.getLogger("some.library").exception("leaked too: %s", "{URL}")
"""
UNCAUGHT = """
import asyncio, gc, threading, warnings

class Unraisable:
    def __del__(self):
        raise ValueError("in a finalizer")

async def forgotten():
    raise ValueError("in a task")

async def main():
    task = asyncio.ensure_future(forgotten())
    await asyncio.sleep(0)
    del task
    gc.collect()

def work():
    raise ValueError("in a thread")

thread = threading.Thread(target=work, name="a-thread")
thread.start()
thread.join()
asyncio.run(main())
Unraisable()
warnings.warn("a warning", UserWarning)
structlog.get_logger("pixelflow.test").info("two\\nlines", path="/\\x1b[2J\\n")
raise ValueError("at the end")
"""


def written(script: str, form: str, *, fails: bool = False) -> str:
    """What a process that runs the script at level debug writes."""
    environment = {**ENVIRONMENT, "PIXELFLOW_LOG_FORMAT": form}
    command = [sys.executable, "-c", LOGGING + script]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (ended.returncode == 1) == fails, ended.stderr
    assert ended.stdout == ""
    return ended.stderr


@pytest.fixture(scope="module", params=["console", "json"])
def log(request: pytest.FixtureRequest) -> str:
    """What a process that does all of it writes."""
    return written(SIGNING + FAILING + ASKING, request.param)


def test_signing_a_url_logs_no_part_of_it_at_debug(log: str) -> None:
    assert "signed" in log
    assert "the-key" not in log
    assert "Signature" not in log
    assert "X-Amz" not in log


def test_a_traceback_shows_no_local_variable(log: str) -> None:
    assert log.count("ValueError: the reason") == 2
    assert SECRET not in log


def test_urls_that_a_library_requests_are_not_logged(log: str) -> None:
    assert "HTTP Request" not in log


# ── The last line of defence ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_presigned_url_in_an_error_message_is_redacted(form: str) -> None:
    log = written(LEAKING, form)
    assert log.count("https://bucket.example/key?[redacted]") == 5
    assert SIGNATURE not in log
    assert "X-Amz" not in log
    if form == "json":
        assert [json.loads(line)["event"].partition(":")[0] for line in log.splitlines()] == ["leaked", "leaked too"]


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (URL, "https://bucket.example/key?[redacted]"),
        ("GET /b/k?a=1&X-Amz-Signature=5555 HTTP/1.1", "GET /b/k?a=1&X-Amz-Signature=[redacted] HTTP/1.1"),
        ("see https://hooks.example/in?token=abc, twice", "see https://hooks.example/in?[redacted] twice"),
        ("postgresql://user:pass@h:5432/d", "postgresql://[redacted]@h:5432/d"),
        ("redis://:pass@h/0", "redis://[redacted]@h/0"),
        ("connection string: host=h password=pass port=1", "connection string: host=h password=[redacted] port=1"),
        ("Authorization: Bearer eyJh.eyJz.c2ln", "Authorization: Bearer [redacted]"),
        ("key pf_0123456789ab_abc-DEF_123!", "key pf_0123456789ab_[redacted]!"),
        ("'whsec_abc+/DEF='", "'whsec_[redacted]'"),
        ("AWS4-HMAC-SHA256 Credential=k, Signature=abc123", "AWS4-HMAC-SHA256 Credential=k, Signature=[redacted]"),
        ('{"a": "https://h/k?x=1", "b": "c"}', '{"a": "https://h/k?[redacted]", "b": "c"}'),
        ('{"a": "https://h/k?x=1\\nnext"}', '{"a": "https://h/k?[redacted]\\nnext"}'),
    ],
)
def test_only_secrets_are_redacted(line: str, left: str) -> None:
    assert redact(line) == left
    assert redact(left) == left, "once more changes nothing"


@pytest.mark.parametrize(
    "line",
    [
        "Started server process [12]",
        "Uvicorn running on http://127.0.0.1:8080 (Press CTRL+C to quit)",
        "what is it? nobody knows",
        "https://pixelflow.example/v1/jobs/0199-aa",
        "mail me@example.org: https://h/p",
        "the password is wrong",
    ],
)
def test_other_text_is_unchanged(line: str) -> None:
    assert redact(line) == line


@pytest.mark.parametrize("piece", ["://", "X-Amz-", "pf_a_", "pf_", "Bearer ", "://a@", "://?", "whsec_", "Signature="])
def test_redaction_of_a_hostile_line_takes_linear_time(piece: str) -> None:
    began = time.process_time()
    redact(piece * (100_000 // len(piece)) + "\n")
    assert_cpu_within(1, began)


# ── Every line is one ────────────────────────────────────────────────────────────────────────────


def test_uncaught_exceptions_and_warnings_are_log_lines() -> None:
    lines = [json.loads(line) for line in written(UNCAUGHT, "json", fails=True).splitlines()]
    assert all({"timestamp", "level", "logger", "role", "event"} <= line.keys() for line in lines)
    by_event = {line["event"].split("\n")[0]: line for line in lines}
    assert "in a thread" in by_event["uncaught exception: a thread ends"]["exception"]
    assert by_event["uncaught exception: a thread ends"]["thread"] == "a-thread"
    assert "in a task" in by_event["Task exception was never retrieved"]["exception"]
    assert "in a finalizer" in by_event["unraisable exception"]["exception"]
    assert "at the end" in by_event["uncaught exception: the process ends"]["exception"]
    assert [line["level"] for line in lines if "a warning" in line["event"]] == ["warning"]


def test_control_characters_are_escaped_on_a_terminal() -> None:
    assert "\x1b[2J" not in written(UNCAUGHT, "console", fails=True)
