"""Clients for a whole session: creating one takes longer than most requests."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from tests.acceptance.running import client_of

from pixelflow.devstack.stack import Stack


@pytest.fixture(scope="session")
def somebody(service: Stack) -> Iterator[httpx.Client]:
    """A client of a user whom several tests share."""
    with client_of(service) as client:
        yield client


@pytest.fixture(scope="session")
def nobody(service: Stack) -> Iterator[httpx.Client]:
    """A client without an API key."""
    with httpx.Client(base_url=service.api_url, timeout=30) as client:
        yield client
