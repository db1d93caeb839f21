"""``pixelflow submit``: photos in, outputs out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

FormatName = Literal["jpeg", "png", "webp", "avif"]
"""Spelt out, for this module is imported with every command and the contract is not."""
TIMEOUT_SECONDS = 600.0


def submit(
    *,
    photos: Annotated[
        list[Path],
        typer.Argument(metavar="PHOTO…", exists=True, dir_okay=False, readable=True, help="Pictures to send."),
    ],
    resize: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Width such as 640, or a box such as 640x480; fits inside, never enlarges."),
    ] = None,
    format_: Annotated[
        FormatName | None, typer.Option("--format", help="Of the output; left out: that of the photo.")
    ] = None,
    quality: Annotated[int | None, typer.Option(min=1, max=100, help="Of the encoder.")] = None,
    watermark: Annotated[str | None, typer.Option(metavar="TEXT", help="Draw this text over the picture.")] = None,
    pipeline: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="Instead of the four above: a JSON list of steps."
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until all jobs are over.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Download outputs here, as PHOTO-STEP.EXT, replacing those of an earlier run. Waits.",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for each job.")
    ] = TIMEOUT_SECONDS,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Send photos through a pipeline: create a job for each, upload it, start it.

    One output per photo, made as the options say; several with --pipeline.
    """
    from pixelflow.cli import submission  # noqa: PLC0415 - see the package's docstring

    options = (resize, format_, quality, watermark)
    if pipeline is not None and any(option is not None for option in options):
        raise typer.BadParameter("goes without --resize, --format, --quality and --watermark", param_hint="--pipeline")
    raise typer.Exit(
        submission.run(photos, pipeline or options, wait=wait, folder=_made(out), timeout=timeout, as_json=as_json)
    )


def _made(folder: Path | None) -> Path | None:
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise typer.BadParameter(f"{folder} can't be made: {error.strerror}", param_hint="--out") from error
    return folder
