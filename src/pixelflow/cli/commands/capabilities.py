"""``pixelflow capabilities``: shows what the installation behind the API can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.table import Table

from pixelflow.cli.credentials import find_session
from pixelflow.cli.errors import exit_on_error
from pixelflow.cli.output import cell, print_json, print_table, table
from pixelflow.client import Client
from pixelflow.contracts.installation import Installation


def capabilities(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")] = False
) -> None:
    """Show the operations, formats, limits and workers of the API."""
    with exit_on_error(), Client(session=find_session()) as client:
        found = client.capabilities()
    if as_json:
        print_json(found.model_dump(mode="json", by_alias=True, exclude_unset=True))
        return
    print(f"PixelFlow {found.release}, contract {found.contract}")
    for rows in (_operations(found), _formats(found), _limits(found), _workers(found)):
        print()
        print_table(rows)


def _operations(found: Installation) -> Table:
    rows = table("Operation", "Since", "What it does", right=("Since",))
    for each in found.operations:
        rows.add_row(cell(each.action), cell(each.since), cell(each.summary))
    return rows


def _formats(found: Installation) -> Table:
    rows = table("Format", "Reads", "Writes", "Longest side", "Options", right=("Longest side",))
    outputs = {each.format: each for each in found.output_formats}
    inputs = {each.format: each for each in found.input_formats}
    for name in sorted({*inputs, *outputs}):
        reads, writes = inputs.get(name), outputs.get(name)
        rows.add_row(
            cell(name),
            cell(_availability(reads.requires, reads.available) if reads else "no"),
            cell(_availability(writes.requires, writes.available) if writes else "no"),
            cell(f"{writes.max_side:,}".replace(",", " ") if writes else ""),
            cell(", ".join(writes.encoder.get("properties", {})) if writes else ""),
        )
    return rows


def _availability(requires: str | None, available: bool | None) -> str:
    if requires is None:
        return "yes"
    return f"with {requires}" if available else f"no worker has {requires}"


def _limits(found: Installation) -> Table:
    rows = table("Limit", "Value", right=("Value",))
    for name, limit in _numbers(found):
        rows.add_row(cell(name.replace("_", " ")), cell(f"{limit:,.12g}".replace(",", " ")))
    return rows


def _numbers(found: Installation) -> Iterator[tuple[str, int | float]]:
    for name, limit in found.limits.model_dump().items():
        if isinstance(limit, (int, float)):
            yield name, limit


def _workers(found: Installation) -> Table:
    rows = table(
        "Workers", "Slots", "Degraded", "Contract", "Optional", "libvips", "Release", right=("Workers", "Slots")
    )
    for each in found.workers:
        shown = (
            each.workers,
            each.slots,
            each.degraded,
            each.contract,
            " ".join(each.optional),
            each.libvips,
            each.release,
        )
        rows.add_row(*(cell("" if value is None else value) for value in shown))
    if not found.workers:
        rows.add_row(cell("none is live"))
    return rows
