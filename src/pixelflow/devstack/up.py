"""Implementation of ``pixelflow up``.

The caller passes in what runs after the servers' start. This module must never access the database itself.
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pixelflow.devstack.stack import DEFAULT_API_PORT, DEFAULT_METRICS_PORT, Role, Stack
from pixelflow.local_home import CREDENTIALS, default_home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def pixelflow_roles(stack: Stack) -> list[Role]:
    """Return the roles of a complete PixelFlow, each in its own interpreter."""
    python = [sys.executable, "-m", "pixelflow"]
    return [
        Role("api", [*python, "api"], ready_url=f"{stack.api_url}/readyz"),
        Role("controller", [*python, "controller"], notifies=True),
        Role("worker", [*python, "worker"], notifies=True),
    ]


def run(
    home: Path | None = None,
    *,
    api_port: int = DEFAULT_API_PORT,
    metrics_port: int | None = DEFAULT_METRICS_PORT,
    public_url: str | None = None,
    echo: Callable[[str], None],
    check: Callable[[Mapping[str, str]], object],
    migrate: Callable[[Mapping[str, str]], None],
    seed: Callable[[Mapping[str, str]], str],
    roles: Callable[[Stack], Sequence[Role]] = pixelflow_roles,
) -> None:
    """Run the stack in the foreground until SIGINT, SIGTERM or SIGHUP, then shut it down.

    Args:
        home: the directory of all data; :func:`default_home` if None.
        api_port: port of the API; the next free one if it is busy, which is reported; any free port if it is 0.
        metrics_port: port of the API's metrics, as in :meth:`Stack.open`.
        public_url: what the URLs of the bucket ``public`` begin with, as in :meth:`Stack.open`.
        echo: called with messages for the person at the terminal; they contain no secrets.
        check: raises an exception if the processes would refuse these settings; called before anything is started.
        migrate: applies database migrations; called with the settings of the stack.
        seed: creates an API key and returns it; called if the home has none yet.
        roles: the PixelFlow processes to start.

    Raises:
        StackError: a process can't be started, or exits again and again; all others are stopped.
    """
    with (
        contextlib.suppress(KeyboardInterrupt),
        _signals_as_keyboard_interrupt(),
        Stack.open(
            home or default_home(), api_port=api_port, metrics_port=metrics_port, public_url=public_url, echo=echo
        ) as stack,
    ):
        check(stack.environment)
        echo(f"Starting Postgres, Valkey, an S3 server and PixelFlow in {stack.home.path} …")
        _start(stack, migrate, seed, roles(stack))
        for line in _summary(stack):
            echo(line)
        stack.watch()
    echo("Stopped.")


def _start(
    stack: Stack,
    migrate: Callable[[Mapping[str, str]], None],
    seed: Callable[[Mapping[str, str]], str],
    roles: Sequence[Role],
) -> None:
    stored = {} if stack.is_new else stack.home.read_json(CREDENTIALS)
    stack.start_servers()
    migrate(stack.environment)
    api_key = stored.get("api_key") or seed(stack.environment)
    stack.home.write_json(CREDENTIALS, {"api_url": stack.api_url, "api_key": api_key})
    stack.start_processes(roles)


def _command() -> str:
    """How this program was called: a relative path, or a name on the PATH."""
    return sys.argv[0] if Path(sys.argv[0]).name == "pixelflow" else "pixelflow"


def _summary(stack: Stack) -> list[str]:
    home = stack.home.path
    variable = "" if home == default_home() else f"PIXELFLOW_HOME={shlex.quote(str(home))} "
    return [
        f"PixelFlow is ready: {stack.api_url}",
        f"  {'API docs':<11} {stack.api_url}/docs, {stack.api_url}/openapi.json",
        *(f"  {name:<11} {address}" for name, address in stack.addresses.items() if name != "api"),
        *([f"  {'public URLs':<11} {stack.public_url}/…"] if stack.public_url else []),
        *(f"  {'metrics':<11} {url} ({role})" for role, url in stack.metrics_urls.items()),
        f"  {'data':<11} {home}",
        f"  {'logs':<11} {home / 'logs'}",
        f"  {'credentials':<11} {home / CREDENTIALS}",
        f"Next, in another terminal: {variable}{shlex.quote(_command())} submit PHOTO --resize 640 --out outputs",
        "Press Ctrl-C to stop. The data is kept.",
    ]


@contextlib.contextmanager
def _signals_as_keyboard_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first stop signal, and ignore further ones during the shutdown."""
    before = {number: signal.signal(number, _interrupt) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
