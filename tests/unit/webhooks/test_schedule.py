"""When an event is tried again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pixelflow.adapters.outbound_http import HttpResponse
from pixelflow.contracts.errors import TargetError, TargetRefusedError, TargetTimeoutError, TargetUnreachableError
from pixelflow.controlplane.webhooks.schedule import DELAYS, JITTER, decide

NOW = datetime(2027, 1, 1, 12, 0, tzinfo=UTC)


def answer(status: int, **headers: str) -> HttpResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status=status, headers=named, content=b"", truncated=False)


def seconds_after(result: HttpResponse | TargetError, *, tries: int = 1, jitter: float = 0.5) -> float:
    verdict = decide(result, tries=tries, now=NOW, jitter=jitter)
    assert verdict.outcome == "retried"
    assert verdict.delay is not None
    return verdict.delay.total_seconds()


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
@pytest.mark.parametrize("tries", [1, 8])
def test_any_2xx_is_a_delivery(status: int, tries: int) -> None:
    assert decide(answer(status), tries=tries, now=NOW, jitter=0.5).outcome == "delivered"


@pytest.mark.parametrize(
    "result",
    [
        answer(500),
        answer(199),
        answer(301),
        answer(308),
        answer(404),
        answer(429),
        TargetTimeoutError("x"),
        TargetUnreachableError("x"),
    ],
)
def test_anything_else_is_tried_again_as_documented_and_then_no_more(result: HttpResponse | TargetError) -> None:
    delays = [seconds_after(result, tries=tries) for tries in range(1, 8)]
    assert delays == [5, 30, 120, 600, 3600, 21_600, 86_400]
    assert decide(result, tries=8, now=NOW, jitter=0.5).outcome == "exhausted"


@pytest.mark.parametrize("result", [answer(410), TargetRefusedError("x")])
def test_gone_and_not_allowed_are_the_end(result: HttpResponse | TargetError) -> None:
    assert decide(result, tries=1, now=NOW, jitter=0.5).outcome == "refused"


@pytest.mark.parametrize("tries", range(1, 8))
def test_chance_moves_a_delay_by_a_tenth_at_most(tries: int) -> None:
    delay = DELAYS[tries - 1]
    assert seconds_after(answer(500), tries=tries, jitter=0) == pytest.approx(delay * (1 - JITTER))
    assert seconds_after(answer(500), tries=tries, jitter=1) == pytest.approx(delay * (1 + JITTER))


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("120", 120),
        ("0", 5),
        ("2", 5),
        ("999999999999999999999999", 86_400),
        ("-5", 5),
        ("soon", 5),
        ("", 5),
        ("١٢٠", 5),  # digits, but none of HTTP's
        ("1" * 5000, 86_400),
        (format_datetime(NOW + timedelta(minutes=10), usegmt=True), 600),
        (format_datetime(NOW - timedelta(minutes=10), usegmt=True), 5),
        (format_datetime(NOW + timedelta(days=10), usegmt=True), 86_400),
        ("Fri, 99 Foo 2027 12:00:00 GMT", 5),
        ("Fri, 01 Jan 2027 12:10:00", 5),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999999", 5),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 5),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 86_400),
    ],
)
@pytest.mark.parametrize("status", [503, 429, 302])
def test_retry_after_is_obeyed_up_to_a_day_and_never_hastens(status: int, asked: str, seconds: float) -> None:
    assert seconds_after(answer(status, retry_after=asked)) == seconds
