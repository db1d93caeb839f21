"""``pixelflow explain``: what a pipeline would do with a photo. Needs no service; decodes no pixel."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.table import Table

from pixelflow.cli.distributions import SERVER
from pixelflow.cli.errors import exit_on_error
from pixelflow.cli.exit_codes import ExitCode
from pixelflow.cli.output import cell, echo_error, format_size, print_json, print_table, table
from pixelflow.cli.pipelines import steps_from_file
from pixelflow.client import InvalidRequestError
from pixelflow.contracts.explanation import ExplainedStep, Explanation
from pixelflow.contracts.explanation import explain as explain_pipeline
from pixelflow.contracts.field_errors import field_errors
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.errors import PixelflowError
from pixelflow.imaging.header import Header
from pixelflow.imaging.protocol import TransformLimits
from pixelflow.imaging.step import Step

_LIMITS = TransformLimits(max_source_pixels=10**9, max_output_pixels=10**9, max_output_bytes=10**9)
"""Wide: the plan is of interest, and the limits of a service are its own."""

_Photo = Annotated[Path, typer.Argument(help="Image file.", exists=True, dir_okay=False)]
_PipelineFile = Annotated[Path, typer.Option("--pipeline", help="JSON file with the steps.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, as `POST /v1/jobs?dry_run=true` returns it.")]


def explain(photo: _Photo, *, pipeline: _PipelineFile, as_json: _Json = False) -> None:
    """Show what a pipeline would do with a photo, without running it.

    Reads the header of the photo on this machine.
    """
    with exit_on_error():
        steps = _validated(steps_from_file(pipeline))
    with _exit_on_refusal():
        format_, header = _header(photo)
        explanation = explain_pipeline(steps, format_, header, _LIMITS)
    if as_json:
        print_json(explanation.model_dump(mode="json"))
    else:
        _print(explanation)


def _validated(steps: list[dict[str, object]]) -> list[Step]:
    raw = {"pipeline": steps}
    try:
        return CreateJobRequest.model_validate(raw).pipeline
    except ValidationError as error:
        rows = error.errors(include_url=False, include_input=False)
        raise InvalidRequestError("The pipeline is not valid", field_errors(rows, raw, CreateJobRequest)) from None


def _header(photo: Path) -> tuple[str, Header]:
    try:
        from pixelflow.imaging.runtime import prepare  # noqa: PLC0415 - slow to import, and part of a worker only
        from pixelflow.imaging.source import open_source  # noqa: PLC0415
    except ModuleNotFoundError as error:
        echo_error(f"This command needs the package {error.name}, which a worker has: pip install '{SERVER}[worker]'")
        raise typer.Exit(ExitCode.MISCONFIGURED) from None
    descriptor = os.open(photo, os.O_RDONLY)
    try:
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder))
            source = open_source(descriptor, _LIMITS)
    finally:
        os.close(descriptor)
    return source.format.name, source.header


@contextmanager
def _exit_on_refusal() -> Iterator[None]:
    try:
        yield
    except PixelflowError as error:
        echo_error(error)
        raise typer.Exit(ExitCode.FAILED) from None


def _print(explanation: Explanation) -> None:
    rows = table("Step", "Action", "Reads", "Pixels", "Output", "Note", right=("Pixels",))
    source = explanation.source
    note = f"reduced by {source.shrink:g} while decoded" if source.shrink > 1 else ""
    notes = ", ".join(filter(None, [note, "kept in memory" if explanation.source_shared else ""]))
    pixels = f"{source.decoded_width}×{source.decoded_height}"
    size = f"{source.width}×{source.height}" + (f"×{source.frames}" if source.frames > 1 else "")
    rows.add_row(cell("source"), cell("decode"), cell(f"{source.format} {size}"), cell(pixels), cell(""), cell(notes))
    for step in explanation.steps:
        frames = f"×{step.frames}" if step.frames > 1 else ""
        rows.add_row(
            cell(step.id),
            cell(step.action),
            cell(", ".join(step.reads)),
            cell(f"{step.width}×{step.height}{frames}"),
            cell(step.format or ""),
            cell(", ".join(_notes(step))),
        )
    for name in explanation.unused:
        rows.add_row(cell(name), *[cell("")] * 4, cell("leads to no output: does not run"))
    print_table(rows)
    print_table(_costs(explanation))


def _notes(step: ExplainedStep) -> Iterator[str]:
    if step.shared:
        yield "kept in memory"
    if step.bits > 8:  # noqa: PLR2004 - as all results unless an output asks for more
        yield f"{step.bits} bits per channel"


def _costs(explanation: Explanation) -> Table:
    rows = table("Cost", "", right=("",))
    rows.add_row(cell("pixels decoded"), cell(f"{explanation.decoded_pixels / 1e6:.2f} MP"))
    rows.add_row(cell("pixels of results"), cell(f"{explanation.result_pixels / 1e6:.2f} MP"))
    rows.add_row(cell("memory, at most"), cell(format_size(explanation.memory_bytes)))
    rows.add_row(cell("requires"), cell(", ".join(explanation.requires)))
    return rows
