"""A FastAPI route with one INSERT, and nothing else: what an API on this stack can't be faster than."""

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
"""As many as PixelFlow's API has."""


class Asked(BaseModel):
    """The body."""

    pipeline: list[dict[str, Any]]


class Made(BaseModel):
    """The answer."""

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


async def insert(asked: Asked, request: Request) -> Made:
    """Keep it."""
    made = Made(id=uuid4())
    async with request.state.pool.connection() as connection:
        await connection.execute("INSERT INTO bench_rows (id, data) VALUES (%s, %s)", (made.id, Jsonb(asked.pipeline)))
    return made


def main() -> None:
    """Serve on an inherited socket."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="descriptor that listens")
    app = FastAPI(lifespan=_lifespan)
    app.post("/rows", status_code=202)(insert)
    listening = socket.socket(fileno=parser.parse_args().socket)
    config = uvicorn.Config(app, http="h11", loop="asyncio", access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
