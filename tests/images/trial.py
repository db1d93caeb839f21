"""PixelFlow run from its images, with the servers of the dev stack."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.acceptance.running import Running, descendants
from tests.images.build import Image
from tests.images.dockerfile import Stage
from tests.images.enclosure import Container, Root
from tests.support.ports import free_port

from pixelflow.client import Client
from pixelflow.contracts.jobs.responses import Job
from pixelflow.devstack.ports import LOOPBACK

START_SECONDS = 60.0
PIPELINE: list[dict[str, Any]] = [
    {"id": "small", "action": "resize", "width": 640, "format": "webp"},
    {
        "id": "marked",
        "from": "small",
        "action": "watermark",
        "format": "png",
        # Scripts from several fonts.
        "watermark": {"text": "© Ünïcödé Ωμέγα Я 漢字 かな عربي עברית हिन्दी ไทย 🙂", "opacity": 1},
    },
]
IMAGES = {"api": "api", "controller": "api", "worker": "worker"}
"""Role → its image."""
_CONFINED = """
import pathlib
from pixelflow.dataplane.child import confinement
confinement.restrict_files()
for path in ("/usr/lib/os-release", "/etc/passwd"):
    try:
        pathlib.Path(path).read_bytes()
        print(path)
    except PermissionError:
        pass
"""
COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"


@dataclass(frozen=True)
class Built:
    """An image with its Dockerfile stage."""

    image: Image
    stage: Stage

    def root(self, settings: Mapping[str, str]) -> Root:
        """Return a root file system that is read-only except for the volumes, for the image's user."""
        uid, _, gid = self.stage.last("USER").text.partition(":")
        return Root(
            self.image.root,
            {**self.image.environment, **settings},
            self.image.folder,
            user=(int(uid), int(gid)),
            writable=[place for volume in self.stage.all("VOLUME") for place in volume.words],
            files={Path(f"/etc/{name}").resolve(): f"/etc/{name}" for name in ("hosts", "resolv.conf")},
        )

    def health_check(self, role: str) -> list[str]:
        """Return the health check of docker-compose.yml for this role, else that of the image."""
        service = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"][role]
        check = service.get("healthcheck", {}).get("test", ["CMD", *self.stage.health_check])
        return [str(part) for part in check[1:]]

    def command(self, *arguments: str) -> list[str]:
        """Return the entry point with these arguments, or the image's default ones."""
        return [*self.stage.last("ENTRYPOINT").json, *(arguments or self.stage.last("CMD").json)]


class Trial:
    """The containers of a test run."""

    def __init__(self, images: Mapping[str, Built], settings: Callable[[str], Mapping[str, str]], logs: Path) -> None:
        """Prepare the containers; ``settings`` returns those of a role, or of a command of the operator for ``""``."""
        self._images = images
        self._logs = logs
        self._settings = settings
        self._ports = {name: str(free_port()) for name in ("API", *IMAGES)}
        self._containers: dict[str, Container] = {}
        self.api_url = f"http://{LOOPBACK}:{self._ports['API']}"

    def once(self, *arguments: str) -> str:
        """Run a command in the API's image and return its output."""
        built = self._images["api"]
        return built.root(self._settings("")).run(built.command(*arguments))

    def confine(self) -> str:
        """Return which files a confined process in the worker's image can read."""
        built = self._images["worker"]
        return built.root(self._settings("worker")).run(["python", "-c", _CONFINED])

    def start(self, role: str) -> None:
        """Start a container, and wait until its health check succeeds.

        Raises:
            RuntimeError: it did not succeed in time.
        """
        built = self._images[IMAGES[role]]
        own = {
            "PIXELFLOW_API_PORT": self._ports["API"],
            "PIXELFLOW_METRICS_HOST": LOOPBACK,
            "PIXELFLOW_METRICS_PORT": self._ports[role],
        }
        root = built.root({**self._settings(role), **own})
        with self._log(role).open("ab") as log:
            self._containers[role] = root.start(built.command(role), log)
        deadline = time.monotonic() + START_SECONDS
        while not _succeeds(root, built.health_check(role)):
            if time.monotonic() > deadline or not self._containers[role].is_running:
                raise RuntimeError(f"{role} is not healthy:\n{self._log(role).read_text()[-4000:]}")

    def _log(self, role: str) -> Path:
        return self._logs / f"{role}.log"

    def job(self, key: str, photo: Path, folder: Path) -> Job:
        """Process a photo and download the outputs."""
        with Client(self.api_url, key) as client:
            job = client.process(photo, PIPELINE)
            for output in job.outputs:
                client.download(output, folder / f"{output.step_id}.{output.format}")
        return job

    def children(self, role: str) -> list[Running]:
        """Return the descendants of a container's first process."""
        return descendants(self._containers[role].pid)

    def stop(self, role: str) -> int:
        """Stop a container and return its exit status."""
        return self._containers.pop(role).stop()

    def close(self) -> None:
        """Kill all running containers."""
        for container in self._containers.values():
            container.kill()


def _succeeds(root: Root, command: list[str]) -> bool:
    try:
        root.run(command, errors=subprocess.DEVNULL)
    except subprocess.CalledProcessError:
        return False
    return True
