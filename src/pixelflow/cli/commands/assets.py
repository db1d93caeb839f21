"""``pixelflow assets``: keeps pictures for pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pixelflow.cli.credentials import find_session
from pixelflow.cli.errors import exit_on_error
from pixelflow.cli.output import cell, echo, format_size, format_time, print_json, print_table, table
from pixelflow.client import Client

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]

app = typer.Typer(help="Add, list and delete assets: pictures for pipelines.", no_args_is_help=True)


@app.command()
def add(
    *,
    picture: Annotated[
        Path, typer.Argument(metavar="PICTURE", exists=True, dir_okay=False, readable=True, help="Image file.")
    ],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name in pipelines. Default: the file's name, such as logo.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Upload a picture, such as a logo, for use in pipelines."""
    with exit_on_error(), Client(session=find_session()) as client:
        asset = client.create_asset(picture, name=name)
    if as_json:
        print_json(asset.model_dump(mode="json"))
        return
    echo(f"Added {asset.name} ({asset.asset_id}).")


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List your assets, by name."""
    with exit_on_error(), Client(session=find_session()) as client:
        found = client.list_assets()
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    rows = table("Name", "Asset", "Status", "Size", "Created", right=("Size",))
    for asset in found.data:
        created = format_time(asset.created_at)
        rows.add_row(*map(cell, (asset.name, asset.asset_id, asset.status, format_size(asset.bytes), created)))
    print_table(rows)


@app.command()
def delete(
    asset: Annotated[str, typer.Argument(metavar="ASSET", help="Name or ID of the asset.")],
) -> None:
    """Delete an asset. Jobs in progress can still use it."""
    with exit_on_error(), Client(session=find_session()) as client:
        found = client.get_asset(asset)
        client.delete_asset(found.asset_id)
    echo(f"Deleted {found.name}.")
