"""``python -m tests.migration.record``: record this release's statements, once; all later schemas must support them."""

from __future__ import annotations

import asyncio
import sys

import psycopg
from psycopg.rows import dict_row
from tests.acceptance.running import database_url, servers_alone
from tests.migration import scenario
from tests.migration.recorder import Recorder
from tests.migration.recording import Recording, file_of, write

from pixelflow import __version__
from pixelflow.adapters.postgres.migrate import MIGRATIONS


def record(url: str) -> Recording:
    """Run the scenario on the empty database at ``url``, and return the statements that the stores send."""
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        recorder = Recorder(connection)
        asyncio.run(scenario.run(recorder))
    return Recording(__version__, sorted(path.name for path in MIGRATIONS.glob("*.sql")), recorder.statements)


def main() -> int:
    """Record; the exit status is 1 if this release has a recording already."""
    if file_of(__version__).exists():
        print(f"{__version__} has a recording, which never changes; a new release needs a new version", file=sys.stderr)  # noqa: T201
        return 1
    with servers_alone() as stack:
        recording = record(database_url(stack))
    write(recording)
    print(f"{len(recording.statements)} statements of {__version__}: {file_of(__version__)}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
