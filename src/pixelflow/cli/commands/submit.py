"""``pixelflow submit``: sends photos through a pipeline."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from pydantic import BeforeValidator

from pixelflow.cli.batch import BatchOptions, run_batch
from pixelflow.cli.chosen_preset import find_preset, parse_pairs
from pixelflow.cli.credentials import find_session
from pixelflow.cli.destination import DestinationFile, read_destination
from pixelflow.cli.errors import echo_client_error, error_json, exit_code_of, exit_on_error
from pixelflow.cli.exit_codes import worst
from pixelflow.cli.job_sources import parse_sources
from pixelflow.cli.manifest import FILE_NAME, SentBefore
from pixelflow.cli.output import (
    cell,
    echo,
    format_change,
    format_pixels,
    format_size,
    print_json,
    print_table,
    printable,
    table,
)
from pixelflow.cli.photos import Photo, find_photos, folder_of_outputs_among
from pixelflow.cli.pipelines import steps_from_file, steps_from_options
from pixelflow.cli.sending import BatchItem
from pixelflow.client import BucketSource, UrlSource
from pixelflow.client.sources import ExistingSource
from pixelflow.contracts.jobs.responses import Output
from pixelflow.contracts.jobs.states import Priority
from pixelflow.imaging.formats.registry import OUTPUT_FORMATS, OutputFormat, canonical_format
from pixelflow.imaging.source_options import MAX_DENSITY, MAX_FRAME, OnDamage, SourceOptions

TIMEOUT_SECONDS = 600.0


_Argument: TypeAlias = Path | UrlSource | BucketSource


def _photo(value: str) -> _Argument:
    """Parse an argument: a URL, or the path of a readable file."""
    if value.lower().startswith(("https://", "http://")):
        return UrlSource(value)
    if value.lower().startswith("s3://"):
        bucket, _, key = value[len("s3://") :].partition("/")
        if not bucket or not key:
            raise typer.BadParameter(f"{value!r} must have a bucket and a key, such as s3://originals/photos/1.jpg.")
        return BucketSource(bucket, key)
    if "://" in value:
        raise typer.BadParameter(f"{value.partition('://')[0]!r} URLs can't be fetched, only https, http and s3.")
    path = Path(value)
    if not path.exists():
        raise typer.BadParameter(f"File {value!r} does not exist.")
    if not (path.is_file() or path.is_dir()):
        raise typer.BadParameter(f"{value!r} is not a file.")
    if not os.access(path, os.R_OK):
        raise typer.BadParameter(f"File {value!r} is not readable.")
    return path


_Photos = Annotated[
    list[Any] | None,  # of _Argument; typer knows no unions
    typer.Argument(
        metavar="PHOTO|DIR|URL",
        parser=_photo,
        help="Photos to process: files to upload, or URLs that the service fetches, if its operator enabled it; "
        "s3://BUCKET/KEY is an object in a bucket that the operator named. A directory stands for all images in it and "
        "in its subdirectories.",
    ),
]
_FromJob = Annotated[
    list[str] | None,
    typer.Option(
        metavar="JOB_ID[:STEP]",
        help="Process the source of an earlier job again, or the output of a step. Can be repeated.",
    ),
]
_Size = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Width (640) or bounding box (640x480) in pixels. Photos are never enlarged."),
]
_Format = Annotated[
    Annotated[OutputFormat, BeforeValidator(canonical_format)] | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help=f"Output format: {', '.join(OUTPUT_FORMATS)}. Default: the format of the photo.",
    ),
]
_Quality = Annotated[int | None, typer.Option(min=1, max=100, help="Quality of the encoder.")]
_Watermark = Annotated[str | None, typer.Option(metavar="TEXT", help="Draw this text over the photo.")]
_PipelineFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="JSON file with a list of pipeline steps, instead of the four options above.",
    ),
]
_Preset = Annotated[
    str | None,
    typer.Option(metavar="NAME[@VERSION]", help="Preset to use instead of a pipeline, such as avatar or avatar@3."),
]
_Parameters = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="Parameter of the preset. Repeat the option for several."),
]
_Priority = Annotated[Priority, typer.Option(help="Order among your own queued jobs.")]
_Frame = Annotated[
    int | None, typer.Option(min=0, max=MAX_FRAME, help="Frame of an animation or page of a document; 0 is the first.")
]
_Density = Annotated[
    int | None,
    typer.Option(min=1, max=MAX_DENSITY, help="Pixels per inch at which a document or a vector image is drawn."),
]
_OnDamage = Annotated[OnDamage, typer.Option(help="Fail if a photo is damaged, or use what can be decoded.")]
_WebhookUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="URL that receives a webhook when a job finishes.")
]
_Metadata = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Metadata of each job. Repeat the option for several keys. Default: filename=NAME of the photo.",
    ),
]
_Wait = Annotated[bool, typer.Option("--wait", help="Wait until all jobs are finished.")]
_OutputFolder = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        file_okay=False,
        help="Download outputs to this directory as PHOTO-STEP.EXT, replacing existing files. Implies --wait.",
    ),
]
_Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Keep a manifest of the photos, and continue where an earlier command with --resume stopped."
    ),
]
_ManifestFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        dir_okay=False,
        help=f"The manifest. Default: {FILE_NAME} in the directory of --out, otherwise in the one of the photos, "
        "otherwise in the current one.",
    ),
]
_Timeout = Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Maximum time to wait for each job.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]


def submit(
    *,
    photos: _Photos = None,
    from_job: _FromJob = None,
    resize: _Size = None,
    format_: _Format = None,
    quality: _Quality = None,
    watermark: _Watermark = None,
    pipeline: _PipelineFile = None,
    preset: _Preset = None,
    param: _Parameters = None,
    frame: _Frame = None,
    density: _Density = None,
    on_damage: _OnDamage = OnDamage.REFUSE,
    priority: _Priority = Priority.NORMAL,
    webhook_url: _WebhookUrl = None,
    destination: DestinationFile = None,
    metadata: _Metadata = None,
    wait: _Wait = False,
    out: _OutputFolder = None,
    resume: _Resume = False,
    manifest: _ManifestFile = None,
    timeout: _Timeout = TIMEOUT_SECONDS,
    as_json: _Json = False,
) -> None:
    """Create a job for each photo, upload the photo and start the job.

    The options --resize, --format, --quality and --watermark describe a single output per photo. Use --pipeline for
    several, or --preset for a pipeline that you saved. With --resume, the same command can be repeated until all photos
    are done: it sends none twice.
    """
    made_of_options = any(value is not None for value in (resize, format_, quality, watermark))
    _check_pipeline_options(made_of_options=made_of_options, pipeline=pipeline, preset=preset, param=param)
    if manifest is not None and not resume:
        raise typer.BadParameter("is only for --resume", param_hint="--manifest")
    found = _find_photos(photos or [], from_job or [], out)
    pairs = parse_pairs(metadata or [], "--metadata", "sku=A-17")
    _create_folder(out)
    with exit_on_error():
        chosen = find_preset(preset, param or []) if preset else None
        if chosen:
            steps = chosen.steps
        elif pipeline:
            steps = steps_from_file(pipeline)
        else:
            steps = steps_from_options(resize=resize, format_=format_, quality=quality, watermark=watermark)
        items = _run(
            BatchOptions(
                found,
                steps,
                wait=wait or out is not None,
                folder=out,
                timeout=timeout,
                priority=priority,
                source=SourceOptions(frame=frame, density=density, on_damage=on_damage),
                webhook_url=webhook_url,
                destination=read_destination(destination),
                metadata=pairs,
                preset=chosen.reference if chosen else None,
                parameters=chosen.parameters if chosen else {},
                manifest=(manifest or _default_manifest(photos or [], out)) if resume else None,
            )
        )
    _print_results(items, as_json=as_json)
    raise typer.Exit(worst(exit_code_of(item.error) for item in items if item.error is not None))


def _check_pipeline_options(
    *, made_of_options: bool, pipeline: Path | None, preset: str | None, param: Sequence[str] | None
) -> None:
    if made_of_options and (pipeline is not None or preset is not None):
        raise typer.BadParameter(
            "can't be combined with --resize, --format, --quality or --watermark",
            param_hint="--pipeline" if pipeline else "--preset",
        )
    if preset is not None and pipeline is not None:
        raise typer.BadParameter("can't be combined with --pipeline", param_hint="--preset")
    if param and preset is None:
        raise typer.BadParameter("is only for --preset", param_hint="--param")


def _default_manifest(photos: Sequence[_Argument], out: Path | None) -> Path:
    folders = [photo for photo in photos if isinstance(photo, Path) and photo.is_dir()]
    return (out or (folders[0] if len(folders) == 1 else Path())) / FILE_NAME


def _find_photos(given: Sequence[_Argument], jobs: Sequence[str], out: Path | None) -> Sequence[Photo]:
    photos = [photo for photo in given if isinstance(photo, Path)]
    sources: list[ExistingSource] = [photo for photo in given if not isinstance(photo, Path)]
    sources += parse_sources(jobs, "--from-job")
    try:
        found = find_photos(photos, sources, out=out)
        searched = out and folder_of_outputs_among(found.photos, photos, out)
    except OSError as error:
        raise typer.BadParameter(f"can't read {error.filename}: {error.strerror}", param_hint="PHOTO") from error
    if searched:
        raise typer.BadParameter(f"outputs would become photos in {searched}; use a subdirectory", param_hint="--out")
    if found.others:
        what = "1 file in the directories is no image" if found.others == 1 else f"{found.others} files are no images"
        echo(f"{what} of a known format")
    if not found.photos:
        raise typer.BadParameter("name at least one photo, or an earlier job with --from-job", param_hint="PHOTO")
    return found.photos


def _create_folder(folder: Path | None) -> None:
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise typer.BadParameter(f"can't create {folder}: {error.strerror}", param_hint="--out") from error


def _run(options: BatchOptions) -> list[BatchItem]:
    session = find_session()
    try:
        return run_batch(options, session)
    except KeyboardInterrupt:
        echo(
            "Started jobs keep running. List them with `pixelflow jobs list`, cancel them with `pixelflow jobs cancel`."
        )
        if options.manifest is not None:
            echo("The same command continues where this one stopped.")
        raise


# ── Output ───────────────────────────────────────────────────────────────────────────────────────


def _print_results(items: Sequence[BatchItem], *, as_json: bool) -> None:
    """Print results to stdout and errors to stderr."""
    if as_json:
        print_json({"jobs": [_item_json(item) for item in items]})
    elif any(item.job and item.job.outputs for item in items):
        _print_outputs(items)
    else:
        _print_started_jobs(items)
    _print_resumed(items)
    _print_warnings(items)
    _print_errors(items)
    if skipped := sum(item.skipped for item in items):
        echo(f"{skipped} more not sent")


def _print_outputs(items: Sequence[BatchItem]) -> None:
    rows = table(
        "Photo", "Output", "Pixels", "Before", "After", "Change", right=("Pixels", "Before", "After", "Change")
    )
    for item in items:
        before = item.job.source.bytes if item.job else None
        for output in item.job.outputs if item.job else ():
            rows.add_row(
                cell(item.photo.path),
                cell(item.files.get(output.step_id, f"{output.step_id} ({output.format})")),
                cell(format_pixels(output.width, output.height)),
                cell(format_size(before) if before else ""),
                cell(format_size(output.bytes)),
                cell(format_change(before, output.bytes)),
            )
    print_table(rows)


def _print_started_jobs(items: Sequence[BatchItem]) -> None:
    if started := [item for item in items if item.job_id and not item.error]:
        rows = table("Photo", "Job", "Status")
        for item in started:
            rows.add_row(cell(item.photo.path), cell(item.job_id), cell(item.status))
        print_table(rows)


def _print_resumed(items: Sequence[BatchItem]) -> None:
    """Say what the manifest had, and why photos in it were sent again."""
    notes = {
        SentBefore.SAME: "{} photos were sent before",
        SentBefore.OTHER_CONTENT: "{} photos have changed since they were sent: they were sent again",
        SentBefore.OTHER_PIPELINE: "{} photos were sent with another pipeline before: they were sent again",
    }
    counts = Counter(item.before for item in items)
    for before, note in notes.items():
        if counts[before]:
            echo(note.format(counts[before]))


def _print_warnings(items: Sequence[BatchItem]) -> None:
    for item in items:
        for warning in item.job.warnings if item.job else ():
            echo(f"{printable(item.photo.path)}: {warning.message} ({warning.code})")


def _print_errors(items: Sequence[BatchItem]) -> None:
    """Print each distinct error once: an error that is fatal for the batch often hits several photos."""
    by_message: dict[str, list[BatchItem]] = {}
    for item in items:
        if item.error is not None:
            by_message.setdefault(str(item.error), []).append(item)
    for group in by_message.values():
        first, error = group[0], group[0].error
        if error is not None:
            echo_client_error(error, first.photo.path if len(group) == 1 else f"{len(group)} photos")


def _item_json(item: BatchItem) -> dict[str, Any]:
    return {
        "photo": printable(item.photo.path),
        "job_id": str(item.job_id) if item.job_id else None,
        "status": str(item.status) if item.status else "not_sent",
        "sent_before": item.before.value,
        "source_bytes": item.job.source.bytes if item.job else None,
        "outputs": [_output_json(item, output) for output in (item.job.outputs if item.job else ())],
        "warnings": [warning.model_dump(mode="json") for warning in (item.job.warnings if item.job else ())],
        "error": error_json(item.error) if item.error else None,
    }


def _output_json(item: BatchItem, output: Output) -> dict[str, Any]:
    path = item.files.get(output.step_id)
    return output.model_dump(mode="json") | {"path": printable(path) if path else None}
