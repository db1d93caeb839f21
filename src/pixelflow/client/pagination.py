"""Iteration over the pages of a list, shared by both clients. Does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from pixelflow.client.models import Operation, Paginator

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Page(Protocol[T_co]):
    """A page of a list, and where the next one begins."""

    @property
    def data(self) -> Sequence[T_co]:
        """The items of the page."""

    @property
    def next_cursor(self) -> str | None:
        """The cursor of the next page; None on the last one."""


def pages(fetch: Callable[[str | None], Operation[Page[T]]]) -> Paginator[T]:
    """Yield an operation for each page, which ``fetch`` returns for its cursor; the first page has None."""
    cursor = None
    more = True

    def next_page() -> Operation[Sequence[T]]:
        nonlocal cursor, more
        page = yield from fetch(cursor)
        cursor = page.next_cursor
        more = cursor is not None
        return page.data

    while more:
        yield next_page()
