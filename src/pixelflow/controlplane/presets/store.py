"""SQL of presets. Every function is restricted to the presets of ``user_id``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from pixelflow.adapters.postgres.database import AsyncConnection

_COLUMNS = "name, version, description, parameters, pipeline, created_at"


@dataclass(frozen=True)
class PresetRow:
    """A version of a preset."""

    name: str
    version: int
    description: str | None
    parameters: dict[str, Any]
    pipeline: list[dict[str, Any]]
    created_at: datetime


@dataclass(frozen=True)
class PresetCounts:
    """How many presets a user has, and how many versions the preset of one name."""

    presets: int
    """Those of other names."""
    deleted: int
    versions: int


async def lock(connection: AsyncConnection, *, user_id: str) -> None:
    """Keep other transactions from adding versions for this user. Must run in a transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('presets:' || %s, 0))", (user_id,))


async def count(connection: AsyncConnection, *, user_id: str, name: str) -> PresetCounts:
    """Count the user's presets, and the versions of ``name``."""
    cursor = await connection.execute(
        """
        SELECT count(*) FILTER (WHERE deleted_at IS NULL AND name <> %(name)s) AS presets,
               count(*) FILTER (WHERE deleted_at IS NOT NULL AND name <> %(name)s) AS deleted,
               (SELECT count(*) FROM preset_versions WHERE user_id = %(user_id)s AND name = %(name)s) AS versions
        FROM presets WHERE user_id = %(user_id)s
        """,
        {"user_id": user_id, "name": name},
    )
    row = await cursor.fetchone()
    assert row  # noqa: S101  # for the type checker: an aggregate returns one
    return PresetCounts(**row)


async def insert_version(
    connection: AsyncConnection,
    *,
    user_id: str,
    name: str,
    description: str | None,
    parameters: dict[str, Any],
    pipeline: list[dict[str, Any]],
) -> PresetRow:
    """Add a version to the preset, which may be new or deleted. Call :func:`lock` before."""
    cursor = await connection.execute(
        f"""
        WITH preset AS (
            INSERT INTO presets AS kept (user_id, name, last_version) VALUES (%(user_id)s, %(name)s, 1)
            ON CONFLICT (user_id, name) DO UPDATE SET last_version = kept.last_version + 1, deleted_at = NULL
            RETURNING last_version
        )
        INSERT INTO preset_versions (user_id, name, version, description, parameters, pipeline)
        SELECT %(user_id)s, %(name)s, last_version, %(description)s, %(parameters)s, %(pipeline)s FROM preset
        RETURNING {_COLUMNS}
        """,  # noqa: S608 - fixed columns
        {
            "user_id": user_id,
            "name": name,
            "description": description,
            "parameters": Jsonb(parameters),
            "pipeline": Jsonb(pipeline),
        },
    )
    row = await cursor.fetchone()
    assert row  # noqa: S101  # for the type checker: the statement always returns one
    return PresetRow(**row)


async def find(connection: AsyncConnection, *, user_id: str, name: str) -> PresetRow | None:
    """Return the latest version of the preset."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM preset_versions WHERE user_id = %s AND name = %s ORDER BY version DESC LIMIT 1",  # noqa: S608
        (user_id, name),
    )
    row = await cursor.fetchone()
    return PresetRow(**row) if row else None


async def find_version(connection: AsyncConnection, *, user_id: str, name: str, version: int) -> PresetRow | None:
    """Return one version of the preset."""
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM preset_versions WHERE user_id = %s AND name = %s AND version = %s",  # noqa: S608
        (user_id, name, version),
    )
    row = await cursor.fetchone()
    return PresetRow(**row) if row else None


async def list_versions(connection: AsyncConnection, *, user_id: str, name: str) -> list[dict[str, Any]]:
    """Return version, description and creation time of each version, newest first. Their number is limited."""
    cursor = await connection.execute(
        """
        SELECT version, description, created_at FROM preset_versions WHERE user_id = %s AND name = %s
        ORDER BY version DESC
        """,
        (user_id, name),
    )
    return await cursor.fetchall()


async def list_latest(connection: AsyncConnection, *, user_id: str) -> list[dict[str, Any]]:
    """Return the latest version of each of the user's presets without its pipeline, by name."""
    cursor = await connection.execute(
        """
        SELECT name, version, description, parameters, created_at
        FROM presets JOIN preset_versions USING (user_id, name)
        WHERE user_id = %s AND version = last_version AND deleted_at IS NULL ORDER BY name
        """,
        (user_id,),
    )
    return await cursor.fetchall()


async def delete(connection: AsyncConnection, *, user_id: str, name: str) -> bool:
    """Delete the preset with all versions; return whether it existed."""
    cursor = await connection.execute(
        """
        WITH deleted AS (
            UPDATE presets SET deleted_at = now()
            WHERE user_id = %(user_id)s AND name = %(name)s AND deleted_at IS NULL RETURNING name
        ), versions AS (
            DELETE FROM preset_versions
            WHERE user_id = %(user_id)s AND name = %(name)s AND EXISTS (SELECT FROM deleted)
        )
        SELECT name FROM deleted
        """,
        {"user_id": user_id, "name": name},
    )
    return await cursor.fetchone() is not None
