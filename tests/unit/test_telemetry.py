"""Logs tell no secret, however much they are asked to tell and however a terminal shows them."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
from pixelflow.adapters.objects import ObjectStorage
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


@pytest.fixture(scope="module", params=["console", "json"])
def told(request: pytest.FixtureRequest) -> str:
    """What a process that does all of it at level debug writes."""
    environment = {**ENVIRONMENT, "PIXELFLOW_LOG_FORMAT": request.param}
    command = [sys.executable, "-c", LOGGING + SIGNING + FAILING + ASKING]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout == ""
    return ended.stderr


def test_signing_a_url_logs_nothing_of_it_at_debug(told: str) -> None:
    assert "signed" in told
    assert "the-key" not in told
    assert "Signature" not in told
    assert "X-Amz" not in told


def test_a_traceback_shows_no_local_variable(told: str) -> None:
    assert told.count("ValueError: the reason") == 2
    assert SECRET not in told


def test_urls_that_a_library_asks_are_not_logged(told: str) -> None:
    assert "HTTP Request" not in told
