"""``python -m tests.plans``: fill two databases, one with a hundred times as many jobs, and compare the plans.

Starts its own servers. The exit status is 1 if a statement exceeds its bounds.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.rows import dict_row
from rich.console import Console
from rich.table import Table
from tests.acceptance.running import servers_alone
from tests.plans.explain import Plan
from tests.plans.fill import USERS, fill
from tests.plans.statements import Database, Hot, explained, hot_statements
from tests.support.databases import new_database

from pixelflow.adapters.postgres.migrate import migrate
from pixelflow.devstack.stack import Stack

SMALL, LARGE = 10_000, 1_000_000
WIDTH = 150
SLACK = 10
"""Pages; a statement that reads three may read six."""


def main() -> int:
    """Measure, print, and check the bounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=SMALL, help="jobs")
    parser.add_argument("--large", type=int, default=LARGE, help="jobs")
    options = parser.parse_args()
    console = Console(width=WIDTH)
    with servers_alone() as stack:
        few = _measured(stack, options.small, console)
        many = _measured(stack, options.large, console)
    console.print(_table(few, many, options.small, options.large))
    broken = [fault for hot, plan in many for fault in faults(hot, plan, dict_of(few)[hot.name])]
    for fault in broken:
        console.print(f"[red]{fault}[/red]")
    return 1 if broken else 0


Measured = list[tuple[Hot, Plan]]


def dict_of(measured: Measured) -> dict[str, Plan]:
    """By the name of the statement."""
    return {hot.name: plan for hot, plan in measured}


@contextmanager
def filled(stack: Stack, jobs: int, users: int = USERS) -> Iterator[Database]:
    """A database with that many jobs, and a connection like the service's."""
    with new_database(stack) as url:
        migrate(url)
        with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
            connection.execute("SET pixelflow.tenant_scope = 'everyone'")
            fill(connection, jobs=jobs, users=users)
            yield connection


def _measured(stack: Stack, jobs: int, console: Console) -> Measured:
    started = time.monotonic()
    with filled(stack, jobs) as database:
        console.print(f"{jobs:,} jobs filled in {time.monotonic() - started:.0f} s")
        return [(hot, asyncio.run(explained(database, hot))) for hot in hot_statements()]


def faults(hot: Hot, plan: Plan, before: Plan) -> list[str]:
    """Return the bounds that the statement exceeds."""
    unused = set(hot.indexes) - plan.indexes
    found = {
        f"reads all of {', '.join(plan.scanned)}": plan.scanned,
        f"does not use {', '.join(unused)}": unused,
        f"reads {plan.buffers} pages, more than {hot.buffers}": plan.buffers > hot.buffers,
        f"reads {plan.buffers} pages instead of {before.buffers}": plan.buffers > hot.growth * before.buffers + SLACK,
    }
    return [f"{hot.name}: {fault}" for fault, is_so in found.items() if is_so]


def _table(few: Measured, many: Measured, small: int, large: int) -> Table:
    table = Table("statement", "indexes", box=None, header_style="bold")
    for name in (f"pages, {small:,}", f"{large:,}", "growth", f"rows, {small:,}", f"{large:,}", "ms"):
        table.add_column(name, justify="right")
    for hot, plan in many:
        before = dict_of(few)[hot.name]
        growth = f"{plan.buffers / max(1, before.buffers):.2f}"
        counts = map(str, (before.buffers, plan.buffers, growth, before.rows, plan.rows))
        table.add_row(hot.name, ", ".join(sorted(plan.indexes)), *counts, f"{plan.milliseconds:.1f}")
    return table


if __name__ == "__main__":
    sys.exit(main())
