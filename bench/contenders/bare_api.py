"""Contender: a FastAPI route with a single INSERT, the upper bound for an API on this stack."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import uvicorn
from fastapi import FastAPI, Request
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel

CONNECTIONS = 10
"""As in PixelFlow's API."""


class Row(BaseModel):
    """The request body."""

    pipeline: list[dict[str, Any]]


class Inserted(BaseModel):
    """The response body."""

    id: UUID


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
    pool = AsyncConnectionPool(
        os.environ["PIXELFLOW_DATABASE_URL"],
        kwargs={"autocommit": True},
        min_size=1,
        max_size=CONNECTIONS,
        open=False,
    )
    async with pool:
        yield {"pool": pool}


async def insert(row: Row, request: Request) -> Inserted:
    """Insert a row."""
    inserted = Inserted(id=uuid4())
    async with request.state.pool.connection() as connection:
        await connection.execute(
            "INSERT INTO bench_rows (id, data) VALUES (%s, %s)", (inserted.id, Jsonb(row.pipeline))
        )
    return inserted


def main() -> None:
    """Serve on the inherited socket."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="descriptor of the listening socket")
    app = FastAPI(lifespan=_lifespan)
    app.post("/rows", status_code=202)(insert)
    listening = socket.socket(fileno=parser.parse_args().socket)
    config = uvicorn.Config(app, http="auto", loop="auto", access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
