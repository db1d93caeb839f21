"""How the owner of a transfer ends it from another thread, and bounds the space for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

Interrupts: TypeAlias = Callable[[Callable[[], None]], AbstractContextManager[None]]
"""Registers a function that ends the transfer at once, while the context lasts. It may be called from any thread, at
any time and repeatedly, and at once if the transfer is no longer wanted when it is registered."""
Reserve: TypeAlias = Callable[[int], None]
"""Reserves space for a source of so many bytes before it is received; raises if there is not enough."""


def unlimited(_size: int) -> None:
    """There is space for any source."""


def never(_end: Callable[[], None]) -> AbstractContextManager[None]:
    """Nobody ends the transfer."""
    return nullcontext()
