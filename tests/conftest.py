"""The real parts, for every test that needs them: started once, on free loopback ports, gone at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import httpx
import pytest
from tests.acceptance.running import servers_alone

from pixelflow.controlplane.keys.admin import issue_key
from pixelflow.devstack.stack import Stack
from pixelflow.devstack.up import pixelflow_roles
from pixelflow.settings import Settings


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The servers, migrated."""
    with servers_alone() as opened:
        yield opened


@pytest.fixture(scope="session")
def settings(stack: Stack) -> Settings:
    """The settings of a process beside those servers."""
    values = {name.removeprefix("PIXELFLOW_").lower(): value for name, value in stack.environment.items()}
    return Settings.model_validate(values)


@pytest.fixture(scope="session")
def service(stack: Stack) -> Stack:
    """The whole of PixelFlow: API, controller and a worker beside the servers."""
    stack.start_processes(pixelflow_roles(stack))
    return stack


@pytest.fixture
def new_client(service: Stack) -> Iterator[Callable[[], httpx.Client]]:
    """Makes clients of the running API, each of a user of its own."""
    clients: list[httpx.Client] = []

    def make() -> httpx.Client:
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
