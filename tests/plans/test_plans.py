"""The measurement itself, on few jobs, and its detection of a bad plan. ``make plans`` measures a million jobs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.plans.__main__ import faults, filled
from tests.plans.explain import Plan
from tests.plans.statements import Database, Hot, explained, hot_statements

from pixelflow.adapters.postgres.database import EVERYONE, Connection
from pixelflow.devstack.stack import Stack

JOBS = 5000


@pytest.fixture(scope="module")
def database(stack: Stack) -> Iterator[Database]:
    with filled(stack, JOBS) as opened:
        yield opened


@pytest.mark.parametrize("hot", hot_statements(), ids=lambda hot: hot.name)
async def test_a_statement_reads_no_more_pages_than_its_bound_and_is_rolled_back(database: Database, hot: Hot) -> None:
    count = "SELECT count(*), sum(hashtext(jobs::text)::bigint) FROM jobs"
    before = database.execute(count).fetchone()
    plan = await explained(database, hot)
    assert 0 < plan.buffers <= hot.buffers
    assert database.execute(count).fetchone() == before


async def test_lists_of_a_user_who_has_nearly_all_jobs_read_no_table(stack: Stack) -> None:
    lists = [hot for hot in hot_statements() if hot.name.startswith("list by ")]
    with filled(stack, JOBS, users=1) as database:
        plans = {hot.name: await explained(database, hot) for hot in lists}
    assert {name: plan.scanned for name, plan in plans.items() if plan.scanned} == {}
    assert len(plans) == 5


def _list_with_generic_plan(connection: Connection) -> None:
    """One statement for pages with and without a cursor or a status, so one generic plan for all of them."""
    connection.execute(
        """SELECT * FROM jobs WHERE user_id = %(user_id)s AND (%(time)s::timestamptz IS NULL OR created_at < %(time)s)
           AND (%(status)s::text IS NULL OR status = %(status)s) ORDER BY created_at DESC, job_id DESC LIMIT 21""",
        {"user_id": "user-0", "time": None, "status": None},
    )


async def test_a_generic_plan_that_reads_all_rows_is_detected(database: Database) -> None:
    hot = Hot("list", _list_with_generic_plan, EVERYONE, lambda _: ((), {}), ["jobs_by_user"], 100)
    plan = await explained(database, hot)
    assert faults(hot, plan, Plan(buffers=30))
