"""What ``submit`` does, once its command line is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pixelflow.cli import batch
from pixelflow.cli.credentials import find_session
from pixelflow.cli.exit_codes import ExitCode
from pixelflow.cli.failures import reported
from pixelflow.cli.output import say
from pixelflow.cli.pipelines import Options, from_file, from_options
from pixelflow.cli.progress import watching
from pixelflow.cli.report import present


def run(
    photos: Sequence[Path],
    pipeline: Path | Options,
    *,
    wait: bool,
    folder: Path | None,
    timeout: float,
    as_json: bool,
) -> ExitCode:
    """Send ``photos`` through ``pipeline`` and show what became of them.

    Args:
        photos: paths of pictures.
        pipeline: a JSON file, or the options that make one.
        wait: until the jobs are over.
        folder: where outputs are downloaded to, which takes waiting; None leaves them where they are.
        timeout: seconds to wait for each job.
        as_json: for programs.
    """
    with reported():
        steps = from_file(pipeline) if isinstance(pipeline, Path) else from_options(*pipeline)
        order = batch.Order(photos, steps, wait=wait or folder is not None, folder=folder, timeout=timeout)
        session = find_session()
        try:
            with watching(photos) as progress:
                results = batch.run(order, session, progress)
        except KeyboardInterrupt:
            say("Jobs that were started go on: `pixelflow jobs list` shows them, `pixelflow jobs cancel` ends them")
            raise
    return present(results, as_json=as_json)
