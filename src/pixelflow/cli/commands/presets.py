"""``pixelflow presets``: keeps named, versioned pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from pixelflow.cli.chosen_preset import parse_pairs
from pixelflow.cli.commands.batches import print_refused
from pixelflow.cli.credentials import find_session
from pixelflow.cli.destination import DestinationFile, read_destination
from pixelflow.cli.errors import exit_on_error
from pixelflow.cli.exit_codes import ExitCode
from pixelflow.cli.output import cell, echo, format_time, print_json, print_table, table
from pixelflow.cli.pipelines import json_from_file
from pixelflow.client import Client, InvalidRequestError

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]
_MEMBERS = {"name", "description", "parameters", "pipeline"}

app = typer.Typer(help="Save, list, show, delete and run again presets: named pipelines.", no_args_is_help=True)


@app.command()
def save(
    *,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            readable=True,
            help="JSON file with a list of steps; or with `pipeline` and any of `name`, `parameters`, `description`.",
        ),
    ],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name. Default: the one in the file, or the file's name.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Save a pipeline as a preset. If the preset exists, this is its next version."""
    with exit_on_error(), Client(session=find_session()) as client:
        content = _content(file)
        saved = client.save_preset(
            name or content.get("name") or file.stem,
            content["pipeline"],
            parameters=content.get("parameters"),
            description=content.get("description"),
        )
    if as_json:
        print_json(saved.model_dump(mode="json", exclude_unset=True))
        return
    echo(f"Saved {saved.name}@{saved.version}.")


def _content(file: Path) -> dict[str, Any]:
    found = json_from_file(file)
    content = {"pipeline": found} if isinstance(found, list) else found
    if not isinstance(content, dict) or "pipeline" not in content or not set(content) <= _MEMBERS:
        raise InvalidRequestError(f"{file} must contain a list of steps, or an object with `pipeline` in it", ())
    steps, parameters = content["pipeline"], content.get("parameters") or {}
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise InvalidRequestError(f"`pipeline` in {file} must be a list of steps", ())
    if not isinstance(parameters, dict):
        raise InvalidRequestError(f"`parameters` in {file} must be an object", ())
    return content


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List your presets, by name."""
    with exit_on_error(), Client(session=find_session()) as client:
        found = client.list_presets()
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    rows = table("Name", "Version", "Parameters", "Saved", "Description", right=("Version",))
    for preset in found.data:
        saved, names = format_time(preset.created_at), ", ".join(preset.parameters)
        rows.add_row(*map(cell, (preset.name, preset.version, names, saved, preset.description or "")))
    print_table(rows)


@app.command()
def show(
    preset: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="Preset; without a version, the latest.")],
) -> None:
    """Print a preset as JSON. `presets save` reads it again."""
    with exit_on_error(), Client(session=find_session()) as client:
        found = client.get_preset(preset)
    content = found.model_dump(mode="json", include=_MEMBERS)
    print_json({name: value for name, value in content.items() if value})
    echo(f"Version {found.version} of {', '.join(str(each.version) for each in found.versions or ())}")


@app.command()
def delete(name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the preset.")]) -> None:
    """Delete a preset with all its versions. Jobs keep what they used."""
    with exit_on_error(), Client(session=find_session()) as client:
        client.delete_preset(name)
    echo(f"Deleted {name}.")


@app.command()
def rerun(
    *,
    preset: Annotated[
        str, typer.Argument(metavar="NAME[@VERSION]", help="Preset, or version of it, whose jobs are run again.")
    ],
    as_: Annotated[str, typer.Option("--as", metavar="NAME[@VERSION]", help="Preset that the new jobs use.")],
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Metadata of each job, added to that of the earlier one."),
    ] = None,
    destination: DestinationFile = None,
    batch: Annotated[
        UUID | None, typer.Option(metavar="BATCH_ID", help="Continue the batch of a command that was interrupted.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Process the sources of a preset's earlier jobs again, as a batch.

    Each job has the metadata and the parameters of the earlier one. Jobs that succeeded before the batch was created
    count. Sources that have expired are reported. The batch is closed after the last job.
    """
    pairs = parse_pairs(metadata or [], "--metadata", "sku=A-17")
    with exit_on_error(), Client(session=find_session()) as client:
        if batch is None:
            batch = client.create_batch(
                preset=as_, metadata=pairs, name=f"{preset} as {as_}", destination=read_destination(destination)
            ).batch_id
            echo(f"Batch {batch}. If this command is interrupted, continue it with --batch {batch}.")
        added = client.rerun_in_batch(
            batch, preset, close=True, on_page=lambda page: echo(f"{page.accepted} jobs added")
        )
    if as_json:
        print_json(added.model_dump(mode="json", exclude={"next_cursor"}))
    else:
        print(f"{batch}: {added.accepted} jobs. `pixelflow batches watch {batch}` waits for them.")
    print_refused(added.refused)
    raise typer.Exit(ExitCode.FAILED if added.refused else ExitCode.SUCCESS)
