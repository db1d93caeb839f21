"""Connections whose tenant scope and time limits are set in the transaction of each statement.

A statement is sent together with the one that sets them, in one round trip, and both are one transaction. The session
itself keeps no state, so a connection can serve any user next, and a pooler may divide sessions by transaction.
"""

from __future__ import annotations

import select
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NewType

import psycopg
from psycopg import pq
from psycopg.abc import Params, QueryNoTemplate
from psycopg.rows import DictRow

from pixelflow.errors import ResourceBusyError, StoreReadOnlyError, StoreUnavailableError

TenantScope = NewType("TenantScope", str)
IDLE_SECONDS = 10
"""The server ends a transaction of a process that is frozen or cut off, whose locks would stop other processes."""


@dataclass(frozen=True)
class TimeLimits:
    """How long a statement may take, in seconds."""

    statement_seconds: float
    lock_seconds: float
    """How long it waits for each lock, such as that of a row that another transaction changed."""

    @cached_property
    def values(self) -> tuple[str, str, str]:
        """The values of ``statement_timeout``, ``lock_timeout`` and ``idle_in_transaction_session_timeout``."""
        return f"{self.statement_seconds * 1000:.0f}", f"{self.lock_seconds * 1000:.0f}", f"{IDLE_SECONDS * 1000}"


_SET_LOCAL = b"""
    SELECT set_config('pixelflow.tenant_scope', $1, true), set_config('statement_timeout', $2, true),
           set_config('lock_timeout', $3, true), set_config('idle_in_transaction_session_timeout', $4, true)
"""


def local_settings(scope: TenantScope, limits: TimeLimits) -> list[bytes]:
    """The values of ``_SET_LOCAL``.

    Raises:
        ValueError: the scope contains a NUL, which would end it for libpq.
    """
    if "\0" in scope:
        raise ValueError("a tenant scope contains no NUL")
    return [value.encode() for value in (scope, *limits.values)]


class ScopedConnection(psycopg.AsyncConnection[DictRow]):
    """A connection in autocommit; ``local_settings`` apply to each of its transactions."""

    local_settings: Sequence[bytes] = ()

    async def execute(  # type: ignore[override]  # no templates
        self, query: QueryNoTemplate, params: Params | None = None, *, prepare: bool | None = None, binary: bool = False
    ) -> psycopg.AsyncCursor[DictRow]:
        """Execute a statement, in a transaction of its own unless one is open."""
        if self.pgconn.transaction_status != pq.TransactionStatus.IDLE:
            return await super().execute(query, params, prepare=prepare, binary=binary)
        async with self.pipeline() as pipeline:
            self._queue_settings(pipeline)
            return await super().execute(query, params, prepare=prepare, binary=binary)

    def _queue_settings(self, pipeline: psycopg.AsyncPipeline) -> None:
        """Queue the settings as psycopg queues its own commands, to be sent in one packet with the next statement.

        Not prepared: psycopg deallocates all prepared statements after a rollback.
        """
        pipeline.command_queue.append(partial(self.pgconn.send_query_params, _SET_LOCAL, self.local_settings))
        pipeline.result_queue.append(None)  # its result is only checked for an error

    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncIterator[psycopg.AsyncTransaction]:
        """Open a transaction, or a savepoint within one."""
        is_outermost = self.pgconn.transaction_status == pq.TransactionStatus.IDLE
        async with super().transaction(savepoint_name, force_rollback) as transaction:
            if is_outermost:
                async with self.pipeline() as pipeline:
                    self._queue_settings(pipeline)
            yield transaction


def looks_dead(descriptor: int) -> bool:
    """Whether an idle connection has data to read, such as the final message of a server that shut down."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def is_clean(connection: psycopg.AsyncConnection[DictRow] | psycopg.Connection[DictRow]) -> bool:
    """Whether no statement and no transaction is left on the connection, even if its last use was canceled."""
    server = connection.pgconn
    return (
        server.status == pq.ConnStatus.OK
        and server.transaction_status == pq.TransactionStatus.IDLE
        and server.pipeline_status == pq.PipelineStatus.OFF
    )


@contextmanager
def mapped_errors() -> Iterator[None]:
    """Map psycopg's connection errors to StoreUnavailableError; errors of statements are bugs and pass through."""
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise ResourceBusyError("Another request is changing this resource; try again shortly") from error
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise StoreReadOnlyError("The database accepts no changes at the moment; try again shortly") from error
    except (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout) as error:
        raise StoreUnavailableError("The database is not available; try again shortly") from error
