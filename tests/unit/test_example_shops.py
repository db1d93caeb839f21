"""The backends of the example shops: what visitors may send."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
JOB = "0198f2c4-5c1e-7d3a-9b60-2f1d4c8e7a55"
REFUSED = [
    '{"bucket": "originals", "key": "contract.jpg"}',
    '{"url": "https://img.example/a.jpg"}',
    f'{{"job": "{JOB}"}}',
    f'{{"content_length": 9, "job": "{JOB}"}}',
    '{"content_length": "9"}',
    '{"content_length": true}',
    '{"content_length": 0}',
    '{"content_length": 20000001}',
    '{"content_length": 9, "content_type": "text/plain"}',
    '{"content_length": 9, "content_type": 9}',
    '"x"',
    "[1]",
    "",
    "{",
    "[" * 100_000,
]
"""Requests of a visitor that create no job."""
PHOTO = '{"content_length": 9, "content_type": "image/jpeg"}'

_ASK = {
    "shop_fastapi": """
import sys
from fastapi.testclient import TestClient
import shop_fastapi
visitor = TestClient(shop_fastapi.app, raise_server_exceptions=False)
""",
    "shop_django": """
import sys
from django.conf import settings
import shop_django
settings.configure(ROOT_URLCONF=shop_django, ALLOWED_HOSTS=["testserver"])
import django
from django.test import Client
django.setup()
class Visitor:
    def post(self, path, content):
        return Client(raise_request_exception=False).post(path, content, content_type="application/json")
visitor = Visitor()
""",
}
_POST = """
for body in [*sys.stdin.read().split("\\0"), 3_000_000 * "["]:
    answer = visitor.post("/photos", content=body)
    detail = answer.json().get("detail") if "json" in answer.headers["content-type"] else None
    print(answer.status_code, isinstance(detail, str))
"""


@pytest.fixture(scope="module", params=_ASK)
def answers(request: pytest.FixtureRequest) -> list[str]:
    """The status of each response, and whether its detail is a text that the page can show."""
    settings = {
        "PIXELFLOW_URL": "http://127.0.0.1:1",  # nothing listens
        "PIXELFLOW_API_KEY": "key",
        "PIXELFLOW_WEBHOOK_SECRET": "whsec_c2VjcmV0",
        "SHOP_URL": "http://shop.example",
        "PYTHONPATH": str(EXAMPLES),
    }
    done = subprocess.run(
        [sys.executable, "-c", _ASK[request.param] + _POST],
        input="\0".join([*REFUSED, PHOTO]),
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout.splitlines()


def test_a_visitor_declares_a_size_and_a_type_and_nothing_else(answers: list[str]) -> None:
    assert answers[:-2] == ["422 True"] * len(REFUSED)


def test_a_visitor_reads_why_a_photo_can_t_be_added_while_pixelflow_is_away(answers: list[str]) -> None:
    assert answers[-2] == "503 True"


def test_a_body_over_the_limit_is_refused(answers: list[str]) -> None:
    assert answers[-1].split()[0] in {"413", "400"}, "Django answers 400"
