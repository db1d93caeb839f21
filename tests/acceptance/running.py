"""Starts services for single tests, and reads from ``/proc`` which processes run."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
from tests.support.databases import without_fsync
from tests.support.waiting import eventually

from pixelflow.adapters.postgres.migrate import migrate
from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.devstack.stack import Role, Stack
from pixelflow.devstack.up import pixelflow_roles

PIXELFLOW = [sys.executable, "-m", "pixelflow"]


@contextlib.contextmanager
def new_home() -> Iterator[Path]:
    """A home directory that servers can enter after they drop root; pytest's own directories are closed to them."""
    home = Path(tempfile.mkdtemp(prefix="pixelflow-test-"))
    home.chmod(0o755)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def servers_alone() -> Iterator[Stack]:
    """Postgres, Valkey and an S3 server, with the schema applied and no process of PixelFlow.

    Starting them takes 0.8 s of CPU, of which the migrations are 0.04 s: a template database would save nothing.
    """
    with new_home() as home, Stack.open(home, api_port=0, echo=lambda _: None) as stack:
        stack.start_servers()
        without_fsync(stack)
        migrate(database_url(stack))
        yield stack


def with_settings(role: Role, settings: Mapping[str, str]) -> Role:
    """The same process with these settings besides those of its stack."""
    env = shutil.which("env")
    assert env
    environment = [f"{name}={value}" for name, value in settings.items()]
    return dataclasses.replace(role, command=[env, *environment, *role.command])


def worker_role(stack: Stack, name: str) -> Role:
    """A further worker of the stack."""
    (worker,) = (role for role in pixelflow_roles(stack) if role.name == "worker")
    return dataclasses.replace(worker, name=name)


def start_processes(stack: Stack, settings: Mapping[str, str]) -> None:
    """Start PixelFlow's processes with these settings besides those of the stack."""
    stack.start_processes([with_settings(role, settings) for role in pixelflow_roles(stack)])


@contextlib.contextmanager
def started(stack: Stack, roles: Sequence[Role]) -> Iterator[None]:
    """Run further processes in a stack that several tests share."""
    try:
        stack.start_processes(roles)
        yield
    finally:
        stack._supervisor.stop_last(time.monotonic() + 30)


def named_buckets(stack: Stack, silent_url: str) -> dict[str, str]:
    """The setting that names, besides the stack's own, folders of its bucket, and a bucket of a silent server."""
    bucket = {
        "bucket": stack.environment["PIXELFLOW_S3_BUCKET"],
        "endpoint_url": stack.environment["PIXELFLOW_S3_ENDPOINT_URL"],
        "credentials": {
            "access_key_id": "PIXELFLOW_S3_ACCESS_KEY_ID",
            "secret_access_key": "PIXELFLOW_S3_SECRET_ACCESS_KEY",
        },
    }
    shop = {**bucket, "prefix": "cdn/", "public_base_url": "https://img.example/cdn"}
    archive = {**bucket, "prefix": "archive/", "users": []}
    originals = {**bucket, "prefix": "originals/", "outputs": False, "sources": True, "source_prefix": ""}
    own = json.loads(stack.environment["PIXELFLOW_BUCKETS"])
    silent = {**bucket, "bucket": "silent", "endpoint_url": silent_url, "sources": True, "per_user": False}
    named = {**own, "shop": shop, "archive": archive, "originals": originals, "silent": silent}
    return {"PIXELFLOW_BUCKETS": json.dumps(named)}


LOCAL_URL_SOURCES = {
    "PIXELFLOW_URL_SOURCES": "true",
    "PIXELFLOW_URL_SOURCE_ALLOW_CIDRS": "127.0.0.0/8",
    "PIXELFLOW_URL_SOURCE_ALLOW_HTTP": "true",
}
"""Settings by which workers fetch sources from servers of tests."""


STREAMS_PER_USER = 5
"""Of the service that tests share."""


@contextlib.contextmanager
def service_with(settings: dict[str, str]) -> Iterator[Stack]:
    """A complete PixelFlow with these settings, besides the one that tests share."""
    with servers_alone() as stack:
        start_processes(stack, settings)
        yield stack


def database_url(stack: Stack) -> str:
    """URL of the stack's database."""
    return stack.environment["PIXELFLOW_DATABASE_URL"]


@contextlib.contextmanager
def client_of(stack: Stack) -> Iterator[httpx.Client]:
    """A client of the stack's API, with a new API key."""
    key = issue_key(database_url(stack), user_id="user", name="test")
    with httpx.Client(base_url=stack.api_url, headers={"Authorization": f"Bearer {key}"}, timeout=30) as client:
        yield client


def usage_rows(url: str, job_ids: list[str]) -> dict[str, int]:
    """Number of rows in ``usage_logs`` by job."""
    with psycopg.connect(url, options="-c pixelflow.tenant_scope=everyone") as connection:
        rows = connection.execute(
            "SELECT job_id::text, count(*) FROM usage_logs WHERE job_id = ANY(%s::uuid[]) GROUP BY job_id", (job_ids,)
        ).fetchall()
    return dict(rows)


@dataclass(frozen=True)
class Running:
    """A process."""

    pid: int
    parent: int
    started: int
    """Clock ticks since boot; identifies a process together with ``pid``, which the kernel reuses."""
    command: tuple[str, ...]

    @property
    def alive(self) -> bool:
        """Whether this process still runs; a zombie counts as ended, since it holds nothing."""
        found = _process(Path(f"/proc/{self.pid}"))
        return found is not None and found.started == self.started

    @property
    def dead_children_faults(self) -> int:
        """Page faults of its children that ended and were waited for: grows with each child (proc(5), cminflt)."""
        return int(_stat(Path(f"/proc/{self.pid}"))[8])

    @property
    def cpu_ticks(self) -> int:
        """CPU time it has used, in clock ticks."""
        fields = _stat(Path(f"/proc/{self.pid}"))
        return int(fields[11]) + int(fields[12])

    @property
    def resident_bytes(self) -> int:
        """Resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) * 1024


def descendants(pid: int) -> list[Running]:
    """All running processes below ``pid``."""
    processes = [found for path in Path("/proc").glob("[0-9]*") if (found := _process(path))]
    family, below = {pid}, []
    for process in sorted(processes, key=lambda each: each.started):
        if process.parent in family:
            family.add(process.pid)
            below.append(process)
    return below


def children(process: Running) -> list[Running]:
    """Its running children."""
    return [each for each in descendants(process.pid) if each.parent == process.pid]


def transform_children(worker: Running) -> list[Running]:
    """The transform children of a worker: those that its template has forked."""
    return [child for template in children(worker) for child in children(template)]


def process_of(stack: Stack, name: str) -> Running:
    """The stack's process of this name: ``api``, ``worker``, ``valkey`` and so on."""
    pid = next(each.child.pid for group in stack._supervisor._groups for each in group if each.child.name == name)
    found = _process(Path(f"/proc/{pid}"))
    assert found
    return found


@contextlib.contextmanager
def paused(pid: int) -> Iterator[None]:
    """Pause a process with all its threads, which do not stop at once; it is always resumed on exit."""
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: _is_stopped(pid))
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _is_stopped(pid: int) -> bool:
    try:
        return all(_stat(thread)[0] == "T" for thread in Path(f"/proc/{pid}/task").iterdir())
    except OSError:  # a thread has just ended
        return False


@contextlib.contextmanager
def worker_paused(stack: Stack) -> Iterator[None]:
    """Pause the stack's worker: started jobs stay queued."""
    with paused(process_of(stack, "worker").pid):
        yield


@contextlib.contextmanager
def leading_controller_paused(stack: Stack) -> Iterator[None]:
    """Pause the stack's controller, and let another one count metrics at once instead of after the lease."""
    with paused(process_of(stack, "controller").pid):
        with psycopg.connect(database_url(stack), options="-c pixelflow.tenant_scope=everyone") as connection:
            connection.execute("DELETE FROM controller_leases")
        yield


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    """Poll until the condition holds; ``seconds`` are those of a fast machine."""
    eventually(condition, seconds)


def _process(path: Path) -> Running | None:
    try:
        fields = _stat(path)
        command = tuple((path / "cmdline").read_text(errors="replace").split("\0")[:-1])
    except OSError:
        return None
    return None if fields[0] in "ZX" else Running(int(path.name), int(fields[1]), int(fields[19]), command)


def _stat(path: Path) -> list[str]:
    """Return the fields of ``stat`` (proc(5)) from the third on."""
    return (path / "stat").read_text(errors="replace").rpartition(")")[2].split()
