"""``python -m tests.migration.record``: keep this release's tape, once; every schema from then on has to bear it."""

from __future__ import annotations

import asyncio
import sys

import psycopg
from psycopg.rows import dict_row
from tests.acceptance.running import database_url, servers_alone
from tests.migration import scenario
from tests.migration.recorder import Recorder
from tests.migration.tape import Tape, file_of, write

from pixelflow import __version__
from pixelflow.adapters.postgres.migrate import MIGRATIONS


def recorded(url: str) -> Tape:
    """The tape of the store as it is, played on the empty database at ``url``."""
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        recorder = Recorder(connection)
        asyncio.run(scenario.play(recorder))
    return Tape(__version__, sorted(path.name for path in MIGRATIONS.glob("*.sql")), recorder.steps)


def main() -> int:
    """Record; the exit status is 1 if this release has a tape already."""
    if file_of(__version__).exists():
        print(f"{__version__} has its tape, which never changes; a new release has a new version", file=sys.stderr)  # noqa: T201
        return 1
    with servers_alone() as stack:
        tape = recorded(database_url(stack))
    write(tape)
    print(f"{len(tape.steps)} statements of {__version__}: {file_of(__version__)}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
