"""The retry schedule of webhooks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pixelflow.adapters.outbound_http import HttpResponse
from pixelflow.controlplane.webhooks.schedule import DELAYS, JITTER, decide
from pixelflow.errors import TargetError, TargetRefusedError, TargetTimeoutError, TargetUnreachableError

NOW = datetime(2027, 1, 1, 12, 0, tzinfo=UTC)


def answer(status: int, **headers: str) -> HttpResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status=status, headers=named, content=b"", truncated=False)


def seconds_after(result: HttpResponse | TargetError, *, attempts: int = 1, jitter: float = 0.5) -> float:
    decision = decide(result, attempts=attempts, now=NOW, jitter=jitter)
    assert decision.outcome == "retried"
    assert decision.delay is not None
    return decision.delay.total_seconds()


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
@pytest.mark.parametrize("attempts", [1, 8])
def test_any_2xx_is_delivered(status: int, attempts: int) -> None:
    assert decide(answer(status), attempts=attempts, now=NOW, jitter=0.5).outcome == "delivered"


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
def test_any_other_result_is_retried_by_the_schedule_until_exhausted(result: HttpResponse | TargetError) -> None:
    delays = [seconds_after(result, attempts=attempts) for attempts in range(1, 8)]
    assert delays == [5, 30, 120, 600, 3600, 21_600, 86_400]
    assert decide(result, attempts=8, now=NOW, jitter=0.5).outcome == "exhausted"


@pytest.mark.parametrize("result", [answer(410), TargetRefusedError("x")])
def test_410_and_a_refused_target_are_not_retried(result: HttpResponse | TargetError) -> None:
    assert decide(result, attempts=1, now=NOW, jitter=0.5).outcome == "refused"


@pytest.mark.parametrize("attempts", range(1, 8))
def test_jitter_varies_a_delay_by_at_most_ten_percent(attempts: int) -> None:
    delay = DELAYS[attempts - 1]
    assert seconds_after(answer(500), attempts=attempts, jitter=0) == pytest.approx(delay * (1 - JITTER))
    assert seconds_after(answer(500), attempts=attempts, jitter=1) == pytest.approx(delay * (1 + JITTER))


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
        ("١٢٠", 5),  # Unicode digits, not ASCII
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
def test_retry_after_delays_up_to_a_day_and_never_shortens(status: int, asked: str, seconds: float) -> None:
    assert seconds_after(answer(status, retry_after=asked)) == seconds
