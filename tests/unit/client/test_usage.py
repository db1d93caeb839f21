"""Usage on both clients."""

from __future__ import annotations

from datetime import date
from urllib.parse import parse_qs, urlsplit

from tests.unit.client.conftest import Call
from tests.unit.client.stand_in import StandIn


def asked(api: StandIn) -> dict[str, list[str]]:
    return parse_qs(urlsplit(api.seen[-1].path).query, keep_blank_values=True)


def test_usage_by_day_is_asked_for_as_it_is_and_read_exactly(call: Call, api: StandIn) -> None:
    usage = call("get_usage_by_day", from_day=date(2026, 11, 23), to_day=date(2026, 11, 25))
    assert asked(api) == {"from": ["2026-11-23"], "to": ["2026-11-25"], "group_by": ["day"]}
    assert (usage.from_day, usage.to_day) == (date(2026, 11, 23), date(2026, 11, 25))
    assert [row.jobs for row in usage.data] == [2, 0]
    assert usage.total.pixels_processed == 2**53 + 1


def test_what_is_left_out_is_left_to_the_api(call: Call, api: StandIn) -> None:
    call("get_usage_by_day")
    assert asked(api) == {"group_by": ["day"]}


def test_usage_of_users_comes_page_by_page(call: Call, api: StandIn) -> None:
    first = call("get_usage_by_user", all_users=True, limit=1)
    assert asked(api) == {"group_by": ["user"], "all_users": ["true"], "limit": ["1"]}
    second = call("get_usage_by_user", all_users=True, cursor=first.next_cursor)
    assert [row.user_id for page in (first, second) for row in page.data] == ["acme", "=zoe"]
    assert second.next_cursor is None


def test_somebody_elses_is_asked_for_by_their_id(call: Call, api: StandIn) -> None:
    assert call("get_usage_by_user", user_id="a&b c").user_id == "a&b c"
    assert asked(api) == {"group_by": ["user"], "user_id": ["a&b c"]}
