"""The servers and processes that tests share: each worker of pytest-xdist starts its own, once, on free ports."""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Callable, Generator, Iterator
from uuid import uuid4

import httpx
import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from tests.acceptance.running import LOCAL_URL_SOURCES, STREAMS_PER_USER, named_buckets, servers_alone, start_processes
from tests.support.scheduling import ByFile, by_duration
from tests.support.waiting import DEADLINE_SECONDS
from xdist.remote import Producer

from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.devstack import supervisor
from pixelflow.devstack.stack import Stack
from pixelflow.settings import Settings


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    return ByFile(config, log)


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts commands in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # else processes of tests would ignore it, too
    # Clients of tests reach no other server: to load the authorities of the world would take each of them 30 ms.
    os.environ["SSL_CERT_FILE"] = str(config.rootpath / "tests" / "support" / "authority.pem")
    for wait in ("connect", "read", "write", "pool"):  # 5 s are not enough on a busy machine
        setattr(DEFAULT_TIMEOUT_CONFIG, wait, DEADLINE_SECONDS)
    supervisor.START_SECONDS = 300.0


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector: what is collected stays, and to look through it takes a third of the time.

    Since it stays, later collections leave it out.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: by_duration(item.nodeid.partition("::")[0]))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Postgres, Valkey and an S3 server, with the schema applied."""
    with servers_alone() as opened:
        yield opened


@pytest.fixture(scope="session")
def settings(stack: Stack) -> Settings:
    """The settings of a process that uses these servers."""
    values = {name.removeprefix("PIXELFLOW_").lower(): value for name, value in stack.environment.items()}
    return Settings.model_validate(values)


@pytest.fixture(scope="session")
def service(stack: Stack) -> Iterator[Stack]:
    """API, controller and one worker, with the servers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:  # connects, and sends nothing
        buckets = named_buckets(stack, f"http://127.0.0.1:{silent.getsockname()[1]}")
        limits = {"PIXELFLOW_API_MAX_STREAMS_PER_USER": str(STREAMS_PER_USER)}
        start_processes(stack, buckets | LOCAL_URL_SOURCES | limits)
        yield stack


@pytest.fixture
def new_client(service: Stack) -> Iterator[Callable[[], httpx.Client]]:
    """Creates clients of the running API, each with its own user."""
    clients: list[httpx.Client] = []

    def make() -> httpx.Client:
        service.check()
        user_id = f"user-{uuid4()}"
        key = issue_key(service.environment["PIXELFLOW_DATABASE_URL"], user_id=user_id, name="test")
        client = httpx.Client(base_url=service.api_url, headers={"Authorization": f"Bearer {key}"}, timeout=30)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(new_client: Callable[[], httpx.Client]) -> httpx.Client:
    """A client of the running API."""
    return new_client()
