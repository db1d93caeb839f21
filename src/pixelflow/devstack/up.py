"""``pixelflow up``, from the first check of the home to the last process's end.

What it starts after the servers is handed in: it never reaches into the database itself.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from pixelflow.devstack.home import CREDENTIALS, default_home
from pixelflow.devstack.stack import DEFAULT_API_PORT, DEFAULT_METRICS_PORT, Role, Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def pixelflow_roles(stack: Stack) -> list[Role]:
    """The processes that make a PixelFlow, each in an interpreter of its own."""
    python = [sys.executable, "-m", "pixelflow"]
    return [
        Role("api", [*python, "api"], ready_url=f"{stack.api_url}/readyz"),
        Role("controller", [*python, "controller"]),
        Role("worker", [*python, "worker"]),
    ]


def run(
    home: Path | None = None,
    *,
    api_port: int = DEFAULT_API_PORT,
    metrics_port: int | None = DEFAULT_METRICS_PORT,
    say: Callable[[str], None],
    check: Callable[[Mapping[str, str]], object],
    migrate: Callable[[Mapping[str, str]], None],
    seed: Callable[[Mapping[str, str]], str],
    roles: Callable[[Stack], Sequence[Role]] = pixelflow_roles,
) -> None:
    """Run the whole stack in the foreground until SIGINT, SIGTERM or SIGHUP, then end it in order.

    Args:
        home: where everything is kept; :func:`default_home` if None.
        api_port: what the API should listen on; the next free one is taken, and said, if it is busy; 0 takes any.
        metrics_port: where the API should tell its metrics, and the others after it, as :meth:`Stack.open` has it.
        say: told, in sentences, what a person should know; without secrets.
        check: refuses, by an exception of its own, settings with which no process would start; nothing runs yet.
        migrate: brings the database up to date; given the settings of the stack.
        seed: makes an API key and returns it whole; called when the home has none yet.
        roles: the processes to start beside the servers.

    Raises:
        StackError: something can't be started; what had been started is ended.
    """
    with (
        contextlib.suppress(KeyboardInterrupt),
        _signals_interrupting(),
        Stack.open(home or default_home(), api_port=api_port, metrics_port=metrics_port, say=say) as stack,
    ):
        check(stack.environment)
        say(f"Starting Postgres, Valkey, an S3 server and PixelFlow in {stack.home.path} …")
        _start(stack, migrate, seed, roles(stack))
        for line in _greeting(stack):
            say(line)
        stack.watch()
    say("Stopped.")


def _start(
    stack: Stack,
    migrate: Callable[[Mapping[str, str]], None],
    seed: Callable[[Mapping[str, str]], str],
    roles: Sequence[Role],
) -> None:
    kept = {} if stack.is_new else stack.home.read(CREDENTIALS)
    stack.start_servers()
    migrate(stack.environment)
    api_key = kept.get("api_key") or seed(stack.environment)
    stack.home.write(CREDENTIALS, {"api_url": stack.api_url, "api_key": api_key})
    stack.start_processes(roles)


def _greeting(stack: Stack) -> list[str]:
    home = stack.home.path
    return [
        f"PixelFlow is ready: {stack.api_url}",
        f"  {'documents':<10} {stack.api_url}/docs (the page needs the internet), {stack.api_url}/openapi.json",
        *(f"  {name:<10} {where}" for name, where in stack.addresses.items()),
        *(f"  {'metrics':<10} {url} ({role})" for role, url in stack.metrics_urls.items()),
        f"  {'data':<10} {home}",
        f"  {'logs':<10} {home / 'logs'}",
        f"  {'API key':<10} {home / CREDENTIALS}",
        "Ctrl-C stops everything; the data stays.",
    ]


@contextlib.contextmanager
def _signals_interrupting() -> Iterator[None]:
    """Let the first of the signals raise KeyboardInterrupt, and let none disturb the ending after it."""
    before = {number: signal.signal(number, _interrupt) for number in END_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    for number in END_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
