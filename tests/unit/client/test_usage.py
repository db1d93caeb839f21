"""Operations on usage."""

from __future__ import annotations

from datetime import date
from urllib.parse import parse_qs, urlsplit

from tests.unit.client.conftest import Call
from tests.unit.client.stand_in import StandIn


def last_query(api: StandIn) -> dict[str, list[str]]:
    return parse_qs(urlsplit(api.seen[-1].path).query, keep_blank_values=True)


def test_usage_by_day_is_read_exactly(call: Call, api: StandIn) -> None:
    usage = call("get_usage_by_day", from_day=date(2026, 11, 23), to_day=date(2026, 11, 25))
    assert last_query(api) == {"from": ["2026-11-23"], "to": ["2026-11-25"], "group_by": ["day"]}
    assert (usage.from_day, usage.to_day) == (date(2026, 11, 23), date(2026, 11, 25))
    assert [row.jobs for row in usage.data] == [2, 0]
    assert usage.total.pixels_processed == 2**53 + 1


def test_omitted_parameters_are_not_sent(call: Call, api: StandIn) -> None:
    call("get_usage_by_day")
    assert last_query(api) == {"group_by": ["day"]}


def test_usage_by_user_is_paginated(call: Call, api: StandIn) -> None:
    first = call("get_usage_by_user", all_users=True, limit=1)
    assert last_query(api) == {"group_by": ["user"], "all_users": ["true"], "limit": ["1"]}
    second = call("get_usage_by_user", all_users=True, cursor=first.next_cursor)
    assert [row.user_id for page in (first, second) for row in page.data] == ["acme", "=zoe"]
    assert second.next_cursor is None


def test_the_usage_of_another_user_is_requested_by_id(call: Call, api: StandIn) -> None:
    assert call("get_usage_by_user", user_id="a&b c").user_id == "a&b c"
    assert last_query(api) == {"group_by": ["user"], "user_id": ["a&b c"]}
