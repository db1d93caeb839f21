"""Build the images without a container engine, run them, and process jobs; nothing is left behind.

It executes the Dockerfiles in deploy/docker, instruction by instruction, in a clean Debian. It needs root, debootstrap,
and the package indexes that apt and pip are configured with. It listens only on loopback.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.acceptance.running import new_home
from tests.images import checks
from tests.images.base import apt_mirror, make_base
from tests.images.build import build
from tests.images.context import make_context
from tests.images.dockerfile import Stage, read
from tests.images.trial import Built, Trial

from pixelflow.contracts.jobs.responses import Job
from pixelflow.devstack.stack import Role, Stack

REPOSITORY = Path(__file__).parents[2]
PHOTO = REPOSITORY / "examples" / "photo.jpg"
UNUSABLE, INTERRUPTED = 2, 130


def main() -> int:
    """Build the images, test them and clean up."""
    options = _options()
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        print("This needs root and debootstrap (apt-get install debootstrap).", file=sys.stderr)
        return UNUSABLE
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    try:
        with TemporaryDirectory(prefix="pixelflow-images-") as folder:
            images = _build(Path(folder), options.base, options.mirror)
            _test(images, Path(folder))
    except KeyboardInterrupt:
        print("Stopped. Nothing is left running or mounted.")
        return INTERRUPTED
    print("All checks passed. Nothing is left running or mounted.")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.images", description=__doc__)
    parser.add_argument("--mirror", help="URL of a Debian mirror; default: the mirror that apt uses")
    parser.add_argument("--base", type=Path, help="folder in which to cache the base system")
    return parser.parse_args()


def _build(folder: Path, kept_base: Path | None, mirror: str | None) -> dict[str, Built]:
    stages = {name: read(REPOSITORY / "deploy" / "docker" / f"Dockerfile.{name}") for name in ("api", "worker")}
    base_image = checks.one_base(stage.base for each in stages.values() for stage in each)
    base = kept_base or folder / "base"
    if not base.exists():
        with _timed(f"Debian base system instead of {base_image}"):
            make_base(base_image, base, mirror or apt_mirror())
    make_context(REPOSITORY, folder / "context")
    images = {name: _image(name, each, base, folder) for name, each in stages.items()}
    checks.contents(images["api"].image.root, images["worker"].image.root)
    return images


def _image(name: str, stages: list[Stage], base: Path, folder: Path) -> Built:
    with _timed(f"Dockerfile.{name}"):
        return Built(build(stages, base=base, context=folder / "context", folder=folder / name), stages[-1])


@contextmanager
def _timed(what: str) -> Iterator[None]:
    print(f"{what} …", flush=True)
    began = time.monotonic()
    yield
    print(f"  {time.monotonic() - began:.0f} s")


def _test(images: dict[str, Built], folder: Path) -> None:
    (folder / "logs").mkdir()
    with new_home() as home, Stack.open(home, api_port=0, echo=lambda _: None) as stack:
        stack.start_servers()
        with closing(Trial(images, stack.environment_of, folder / "logs")) as trial:
            _use(trial, stack, folder)


def _use(trial: Trial, stack: Stack, folder: Path) -> None:
    print("Migration, API, controller and worker, read-only and unprivileged, with the servers of the dev stack …")
    trial.once("migrate")
    key = trial.once("keys", "create", "--user", "check").strip()
    for role in ("api", "controller", "worker"):
        trial.start(role)
    inside = _job(trial, key, folder)
    checks.pictures(inside, folder)
    _disturb(trial, key, folder)
    checks.ended_well("worker", trial.stop("worker"))
    stack.start_processes([Role("worker", [sys.executable, "-m", "pixelflow", "worker"], notifies=True)])
    checks.the_same(inside, _job(trial, key, folder))
    for role in ("api", "controller"):
        checks.ended_well(role, trial.stop(role))


def _job(trial: Trial, key: str, folder: Path) -> Job:
    return trial.job(key, PHOTO, folder)


def _disturb(trial: Trial, key: str, folder: Path) -> None:
    """Kill every child of the worker, which must continue."""
    children = trial.children("worker")
    checks.confined(children[-1])  # the newest: the template, which has no filter yet, forked it
    checks.bounded(trial.confine())
    for child in children:
        checks.kill(child)
    _job(trial, key, folder)
    checks.reaped(children)


if __name__ == "__main__":
    sys.exit(main())
