"""Executes a Dockerfile, each stage in a copy of the base root file system."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.images.dockerfile import Instruction, Stage
from tests.images.enclosure import Root

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
PASSED_ON = (
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT",
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip
"""Access to the package index; not part of the image."""


@dataclass
class Image:
    """The result of a stage."""

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    folder: str = "/"


def build(stages: list[Stage], *, base: Path, context: Path, folder: Path) -> Image:
    """Build all stages below ``folder``; the last one is the image.

    Raises:
        subprocess.CalledProcessError: a step failed.
    """
    done: dict[str, Image] = {}
    for number, stage in enumerate(stages):
        image = Image(folder / str(number))
        _copy(base, image.root)
        for instruction in stage.instructions:
            _do(instruction, image, context, done)
        done[stage.name] = image
    return image


def _do(instruction: Instruction, image: Image, context: Path, done: dict[str, Image]) -> None:
    match instruction.name:
        case "ENV":
            for word in instruction.words:
                name, _, value = word.partition("=")
                image.environment[name] = value.replace("$PATH", image.environment["PATH"])
        case "WORKDIR":
            image.folder = instruction.text
            (image.root / instruction.text.lstrip("/")).mkdir(parents=True, exist_ok=True)
        case "COPY":
            _copy_into(instruction.words, image, context, done)
        case "RUN":
            _run(instruction.text, image)


def _copy_into(words: list[str], image: Image, context: Path, done: dict[str, Image]) -> None:
    (*flags,) = (word for word in words if word.startswith("--"))
    *sources, destination = (word for word in words if not word.startswith("--"))
    origin = context
    for flag in flags:
        name, _, value = flag.partition("=")
        if name != "--from":
            raise ValueError(f"unsupported: COPY {flag}")
        origin = done[value].root
    inside = (Path(image.folder) / destination).as_posix().lstrip("/")
    for source in sources:
        _place(origin / source.lstrip("/"), image.root / inside, into=destination.endswith("/"))


def _place(source: Path, target: Path, *, into: bool) -> None:
    """Copy like COPY: the content of a folder into the target, a file to the target or into it."""
    if source.is_dir():
        _copy(source, target)
        return
    place = target / source.name if into else target
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, place)


def _run(command: str, image: Image) -> None:
    machine = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    trusted = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or CERTIFICATES
    files = {Path(trusted).resolve(): CERTIFICATES, Path("/etc/resolv.conf").resolve(): "/etc/resolv.conf"}
    if Path("/etc/pip.conf").exists():
        files[Path("/etc/pip.conf")] = "/etc/pip.conf"
    environment = {**machine, "PIP_CERT": CERTIFICATES, "HOME": "/root", **image.environment}
    Root(image.root, environment, image.folder, files=files).run(["sh", "-c", command])


def _copy(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "--archive", f"{source}/.", str(target)], check=True)
