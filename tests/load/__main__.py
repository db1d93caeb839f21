"""Load one API with 30 users, of which one is hostile, in each of several ways; check that the others notice nothing.

For each way, the other users' 99th percentile is compared with that before the hostile user begins. The run takes about
two and a half minutes, on loopback alone, and leaves nothing behind.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

import psycopg
from rich.console import Console
from rich.table import Table
from tests.acceptance.running import database_url, service_with
from tests.load import belongings
from tests.load.hostile import CONNECTIONS, WAYS, Target
from tests.load.http1 import Address
from tests.load.others import Others, Window

from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.devstack.stack import Stack

OTHERS = 29
MAX_RATIO = 3.0
"""Of the others' 99th percentile to that without the hostile user."""
WARM_UP_SECONDS = 5.0
"""Until connections are open and pools are filled."""
QUIET_SECONDS = 25.0
HOSTILE_SECONDS = 10.0
PAUSE_SECONDS = 3.0
"""Between two ways."""
RISE_SECONDS = 1.0
"""From the start of the hostile process to the measurement."""
END_SECONDS = 30.0
"""For the hostile process to end by itself."""
SETTINGS = {
    "PIXELFLOW_RATE_LIMIT_ENABLED": "true",
    "PIXELFLOW_RATE_LIMIT_CAPACITY": "300",
    "PIXELFLOW_LOG_FORMAT": "json",
}
FOR_ALL_USERS = "-c pixelflow.tenant_scope=everyone"
HOSTILE = "hostile"
SHARED_SOURCE = "127.0.1.1"
HOSTILE_SOURCE = "127.0.2.1"


@dataclass(frozen=True)
class Result:
    """What the others saw of one way."""

    way: str
    seen: Window
    ratio: float
    """Of the 99th percentile to that before."""
    answers: dict[str, int]
    """The hostile user's responses by status."""

    @property
    def is_harmless(self) -> bool:
        """Whether the others noticed nothing."""
        return self.ratio <= MAX_RATIO and not self.seen.unexpected


def main() -> int:
    """Run all ways. The exit code is 1 if one was not harmless."""
    options = _options()
    console = Console(width=132)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console.print(f"{OTHERS} users and a hostile one with up to {CONNECTIONS} connections. Seed {options.seed}.")
    try:
        with service_with(SETTINGS) as stack, psycopg.connect(database_url(stack), options=FOR_ALL_USERS) as connection:
            target, users = _prepare(stack, connection)
            results = asyncio.run(_run(target, users, connection, options, console))
    except KeyboardInterrupt:
        console.print("Stopped. No process is left running.")
        return 130
    console.print(_table(results))
    for result in results:
        for what, count in result.seen.unexpected.items():
            console.print(f"[red]{result.way}: {count} unexpected responses: {what}[/]")
    return 0 if all(result.is_harmless for result in results) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--seed", type=int, default=2026, help="of the others' requests")
    parser.add_argument("--ways", type=_ways, default=list(WAYS), help=f"separated by commas, of {', '.join(WAYS)}")
    return parser.parse_args()


def _ways(text: str) -> list[str]:
    ways = text.split(",")
    if unknown := sorted(set(ways) - WAYS.keys()):
        raise argparse.ArgumentTypeError(f"no such way: {', '.join(unknown)}")
    return ways


def _prepare(stack: Stack, connection: psycopg.Connection) -> tuple[Target, list[tuple[Address, str]]]:
    """Make the users; return the hostile one's target and the others' addresses and keys."""
    place = urlsplit(stack.api_url)
    host, port = str(place.hostname), int(place.port or 80)
    url = database_url(stack)
    key = issue_key(url, user_id=HOSTILE, name="load")
    target = Target(host, port, HOSTILE_SOURCE, SHARED_SOURCE, key, belongings.give(connection, HOSTILE))
    return target, [
        (Address(host, port, f"127.0.1.{1 + n % 10}"), issue_key(url, user_id=f"user-{n}", name="load"))
        for n in range(OTHERS)
    ]


async def _run(
    target: Target,
    users: Sequence[tuple[Address, str]],
    connection: psycopg.Connection,
    options: argparse.Namespace,
    console: Console,
) -> list[Result]:
    async with Others(users, random.Random(options.seed)) as others:  # noqa: S311
        await others.watch(WARM_UP_SECONDS)
        quiet = await others.watch(QUIET_SECONDS)
        results = [Result("nothing", quiet, 1.0, {})]
        for way in options.ways:
            with belongings.locked(connection, target.locked_job):
                seen, answers = await _try(way, target, others)
            results.append(Result(way, seen, seen.p99 / quiet.p99, answers))
            console.print(f"{way}: 99 % within {_milliseconds(seen.p99)}, {_milliseconds(quiet.p99)} before")
            await others.watch(PAUSE_SECONDS)
    return results


async def _try(way: str, target: Target, others: Others) -> tuple[Window, dict[str, int]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.load.hostile", way, str(RISE_SECONDS + HOSTILE_SECONDS)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output = asyncio.create_task(process.communicate(json.dumps(asdict(target)).encode()))
        await asyncio.sleep(RISE_SECONDS)
        seen = await others.watch(HOSTILE_SECONDS)
        answers, _ = await asyncio.wait_for(output, END_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
    return seen, json.loads(answers)


def _table(results: Sequence[Result]) -> Table:
    table = Table(
        *("way", "p50", "p99", "ratio of p99", "requests", "responses to the hostile user"),
        title=f"Responses to the {OTHERS} others",
    )
    for result in results:
        answers = ", ".join(f"{status}: {count}" for status, count in sorted(result.answers.items()))
        mark = "" if result.is_harmless else " [red]![/]"
        table.add_row(
            result.way,
            _milliseconds(result.seen.p50),
            _milliseconds(result.seen.p99),
            f"{result.ratio:.1f}{mark}",
            str(len(result.seen.seconds)),
            answers,
        )
    return table


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


if __name__ == "__main__":
    sys.exit(main())
