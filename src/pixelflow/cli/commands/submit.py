"""``pixelflow submit``: sends photos through a pipeline."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypedDict

import typer
from pydantic import BeforeValidator

from pixelflow.cli.batch import BatchOptions, run_batch
from pixelflow.cli.batch_results import print_results
from pixelflow.cli.chosen_preset import find_preset, parse_pairs
from pixelflow.cli.credentials import find_session
from pixelflow.cli.destination import DestinationFile, read_destination
from pixelflow.cli.errors import exit_on_error
from pixelflow.cli.job_sources import parse_place, parse_sources
from pixelflow.cli.manifest import FILE_NAME
from pixelflow.cli.output import echo
from pixelflow.cli.photos import Photo, find_photos, folder_of_outputs_among
from pixelflow.cli.pipelines import Step, steps_from_file, steps_from_options
from pixelflow.cli.sending import BatchItem
from pixelflow.client import BucketSource, UrlSource
from pixelflow.client.sources import ExistingSource
from pixelflow.contracts.jobs.states import Priority
from pixelflow.contracts.preset_templates import Scalar
from pixelflow.imaging.formats.registry import OUTPUT_FORMATS, OutputFormat, canonical_format
from pixelflow.imaging.source_options import MAX_DENSITY, MAX_FRAME, OnDamage, SourceOptions

TIMEOUT_SECONDS = 600.0


_Argument: TypeAlias = Path | UrlSource | BucketSource


def _photo(value: str) -> _Argument:
    """Parse an argument: a URL, or the path of a readable file."""
    if (place := parse_place(value)) is not None:
        return place
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
    work = _WorkOptions(resize, format_, quality, watermark, pipeline=pipeline, preset=preset, param=param or ())
    manifest = _manifest_file(photos or [], out, manifest, resume=resume)
    found = _find_photos(photos or [], from_job or [], out, manifest)
    with exit_on_error():
        options = BatchOptions(
            found,
            wait=wait or out is not None,
            folder=out,
            timeout=timeout,
            priority=priority,
            source=SourceOptions(frame=frame, density=density, on_damage=on_damage),
            webhook_url=webhook_url,
            destination=read_destination(destination),
            metadata=parse_pairs(metadata or [], "--metadata", "sku=A-17"),
            manifest=manifest,
            **work.of_batch(),
        )
        items = _run(options)
    raise typer.Exit(print_results(items, as_json=as_json))


@dataclass(frozen=True)
class _WorkOptions:
    """The options that say what to do with each photo: four of a single output, a file of steps, or a preset."""

    resize: str | None
    format_: OutputFormat | None
    quality: int | None
    watermark: str | None
    _: KW_ONLY
    pipeline: Path | None
    preset: str | None
    param: Sequence[str]

    def __post_init__(self) -> None:
        """Refuse options that exclude each other."""
        single = any(value is not None for value in (self.resize, self.format_, self.quality, self.watermark))
        if single and (self.pipeline is not None or self.preset is not None):
            raise typer.BadParameter(
                "can't be combined with --resize, --format, --quality or --watermark",
                param_hint="--pipeline" if self.pipeline else "--preset",
            )
        if self.preset is not None and self.pipeline is not None:
            raise typer.BadParameter("can't be combined with --pipeline", param_hint="--preset")
        if self.param and self.preset is None:
            raise typer.BadParameter("is only for --preset", param_hint="--param")

    def of_batch(self) -> _Work:
        """Return the steps, and the preset and its parameters if there is one, as arguments of BatchOptions."""
        if self.preset:
            chosen = find_preset(self.preset, self.param)
            return {"steps": chosen.steps, "preset": chosen.reference, "parameters": chosen.parameters}
        if self.pipeline:
            return {"steps": steps_from_file(self.pipeline), "preset": None, "parameters": {}}
        steps = steps_from_options(
            resize=self.resize, format_=self.format_, quality=self.quality, watermark=self.watermark
        )
        return {"steps": steps, "preset": None, "parameters": {}}


class _Work(TypedDict):
    steps: list[Step]
    preset: str | None
    parameters: Mapping[str, Scalar]


def _manifest_file(photos: Sequence[_Argument], out: Path | None, given: Path | None, *, resume: bool) -> Path | None:
    if not resume:
        if given is not None:
            raise typer.BadParameter("is only for --resume", param_hint="--manifest")
        return None
    if given is not None:
        return given
    folders = [photo for photo in photos if isinstance(photo, Path) and photo.is_dir()]
    return (out or (folders[0] if len(folders) == 1 else Path())) / FILE_NAME


def _find_photos(
    given: Sequence[_Argument], jobs: Sequence[str], out: Path | None, manifest: Path | None
) -> Sequence[Photo]:
    photos = [photo for photo in given if isinstance(photo, Path)]
    sources: list[ExistingSource] = [photo for photo in given if not isinstance(photo, Path)]
    sources += parse_sources(jobs, "--from-job")
    try:
        found = find_photos(photos, sources, out=out, manifest=manifest)
        searched = out and folder_of_outputs_among(found.photos, photos, out)
    except OSError as error:
        raise typer.BadParameter(f"can't read {error.filename}: {error.strerror}", param_hint="PHOTO") from error
    if searched:
        raise typer.BadParameter(f"outputs would become photos in {searched}; use a subdirectory", param_hint="--out")
    if found.others:
        first, count = found.others[0], len(found.others)
        what = f"{first} is no image" if count == 1 else f"{count} files are no images"
        echo(f"{what} of a known format" + (f", such as {first}" if count > 1 else ""))
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
    _create_folder(options.folder)
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
