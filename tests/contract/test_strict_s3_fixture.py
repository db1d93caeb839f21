"""The strict S3 server of the tests is strict: what it would let pass, no test of PixelFlow's URLs could find."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.support.signed_requests import Target, send
from tests.support.strict_s3 import StrictS3, start_strict_s3
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BODY = b"five!"
DECLARED = {"Content-Type": "image/jpeg", "Content-Length": str(len(BODY))}
SENT = {"Content-Type": "image/jpeg"}
REFUSED = {400, 403}


@pytest.fixture(scope="module")
def strict_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StrictS3]:
    with start_strict_s3(tmp_path_factory.mktemp("strict-s3")) as server:
        yield server


@pytest.fixture
def target(strict_s3: StrictS3) -> Target:
    return strict_s3.target


def test_what_was_signed_is_accepted_and_kept(target: Target) -> None:
    assert send("PUT", target.presign("PUT", "kept", headers=DECLARED), BODY, SENT).status == 200
    answer = send("GET", target.presign("GET", "kept"))
    assert (answer.status, answer.body, answer.content_type) == (200, BODY, "image/jpeg")


def test_a_download_may_ask_for_a_content_type(target: Target) -> None:
    assert send("PUT", target.presign("PUT", "typed", headers=DECLARED), BODY, SENT).status == 200
    answer = send("GET", target.presign("GET", "typed?response-content-type=image%2Fwebp"))
    assert (answer.status, answer.content_type) == (200, "image/webp")


def _other_signature(url: str) -> str:
    return url[:-1] + ("0" if url[-1] != "0" else "1")


@pytest.mark.parametrize(
    ("method", "change", "body", "headers"),
    [
        pytest.param("PUT", _other_signature, BODY, SENT, id="wrong signature"),
        pytest.param("PUT", lambda url: url.replace("/signed?", "/other?"), BODY, SENT, id="other key"),
        pytest.param("PUT", lambda url: url.replace("/strict/", "/other/"), BODY, SENT, id="other bucket"),
        pytest.param("PUT", lambda url: url.replace("Expires=60", "Expires=600"), BODY, SENT, id="longer life"),
        pytest.param("PUT", lambda url: url.partition("?")[0], BODY, SENT, id="no signature"),
        pytest.param("DELETE", str, BODY, SENT, id="other method"),
        pytest.param("PUT", str, BODY + b"!", SENT, id="other content length"),
        pytest.param("PUT", str, BODY, {"Content-Type": "image/png"}, id="other content type"),
        pytest.param("PUT", str, BODY, {}, id="no content type"),
    ],
)
def test_what_was_not_signed_is_refused(
    target: Target, method: str, change: Callable[[str], str], body: bytes, headers: dict[str, str]
) -> None:
    url = target.presign("PUT", "signed", headers=DECLARED)
    assert send(method, change(url), body, headers).status in REFUSED
    assert send("GET", target.presign("GET", "signed")).status == 404


@pytest.mark.parametrize(
    "stranger",
    [
        pytest.param({"secret_key": "guessed"}, id="other secret"),
        pytest.param({"access_key": "test:nobody"}, id="unknown user"),
        pytest.param({"region": "us-east-1"}, id="other region"),
    ],
)
def test_a_signature_of_somebody_else_is_refused(target: Target, stranger: dict[str, str]) -> None:
    url = dataclasses.replace(target, **stranger).presign("PUT", "stranger", headers=DECLARED)
    assert send("PUT", url, BODY, SENT).status in REFUSED
    assert send("GET", target.presign("GET", "stranger")).status == 404


def test_an_expired_url_is_refused(target: Target) -> None:
    assert send("PUT", target.presign("PUT", "late", headers=DECLARED, age=30, expires=60), BODY, SENT).status == 200
    assert send("GET", target.presign("GET", "late", age=30, expires=60)).status == 200
    assert send("GET", target.presign("GET", "late", age=90, expires=60)).status == 403
    assert send("PUT", target.presign("PUT", "late2", headers=DECLARED, age=90, expires=60), BODY, SENT).status == 403


CRASHING = """
import os, signal, sys
from pathlib import Path
from tests.support.strict_s3 import start_strict_s3
with start_strict_s3(Path(sys.argv[1])) as server:
    print(server.endpoint, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_server_is_gone_when_the_tests_crash(tmp_path: Path) -> None:
    crashed = subprocess.run(
        [sys.executable, "-c", CRASHING, str(tmp_path)], capture_output=True, text=True, check=False, timeout=300
    )
    assert crashed.returncode == -9
    eventually(lambda: not _answers(crashed.stdout.strip()))


def _answers(endpoint: str) -> bool:
    try:
        send("GET", endpoint)
    except ConnectionError:
        return False
    return True
