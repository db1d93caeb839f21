"""The measuring itself, on few jobs: what it is for would be seen, and the lists are flat there already.

That all statements are flat is asked by ``make plans``, of a million jobs.
"""

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
async def test_a_statement_looks_at_no_more_than_its_bound_and_nothing_of_it_stays(
    database: Database, hot: Hot
) -> None:
    count = "SELECT count(*), sum(hashtext(jobs::text)::bigint) FROM jobs"
    before = database.execute(count).fetchone()
    plan = await explained(database, hot)
    assert 0 < plan.buffers <= hot.buffers
    assert database.execute(count).fetchone() == before


def _lists_as_it_was(connection: Connection) -> None:
    """One plan for all values: of a page of somebody's jobs, behind a time or from the start."""
    connection.execute(
        """SELECT * FROM jobs WHERE user_id = %(user_id)s AND (%(time)s::timestamptz IS NULL OR created_at < %(time)s)
           AND (%(status)s::text IS NULL OR status = %(status)s) ORDER BY created_at DESC, job_id DESC LIMIT 21""",
        {"user_id": "user-0", "time": None, "status": None},
    )


async def test_a_plan_for_all_values_that_reads_everything_is_seen(database: Database) -> None:
    hot = Hot("list", _lists_as_it_was, EVERYONE, lambda _: ((), {}), ["jobs_by_user"], 100)
    plan = await explained(database, hot)
    assert faults(hot, plan, Plan(buffers=30))
