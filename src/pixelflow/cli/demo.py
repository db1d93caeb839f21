"""``pixelflow demo``: one real job on the whole service, from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    *,
    photo: Annotated[
        Path, typer.Argument(metavar="PHOTO", exists=True, dir_okay=False, readable=True, help="A picture of yours.")
    ] = Path("examples/photo.jpg"),
    out: Annotated[Path, typer.Option(metavar="DIR", file_okay=False, help="Where the outputs go.")] = Path(
        "demo-output"
    ),
) -> None:
    """Start the service in a temporary home, run a photo through five outputs, show them, stop it."""
    from pixelflow.cli import demonstration  # noqa: PLC0415 - see the package's docstring

    raise typer.Exit(demonstration.run(photo, out))
