"""Replacement for the base image: a new Debian of the same release, with its own Python of the same minor version.

`python:3.13.…-slim-trixie` is Debian trixie with Python 3.13 compiled into /usr/local. Debian's own 3.13 in /usr is the
closest equivalent that needs no image registry.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.images.enclosure import DIES_WITH_PARENT, NAMESPACES, Root

PACKAGES = ("python3", "python3-venv", "ca-certificates", "netbase", "tzdata")
"""Packages in addition to the minimal system. The image's Python includes venv, Debian's does not."""
_IMAGE = re.compile(r"python:(?P<python>\d+\.\d+)\.\d+-slim-(?P<suite>[a-z]+)(@sha256:[0-9a-f]{64})?")


def make_base(image: str, path: Path, mirror: str) -> None:
    """Install the Debian of a base image into an empty folder.

    Raises:
        ValueError: the image is not a Python image on Debian, or Debian has a different Python.
        subprocess.CalledProcessError: debootstrap failed.
    """
    match = _IMAGE.fullmatch(image)
    if match is None:
        raise ValueError(f"{image} is not python:X.Y.Z-slim-SUITE")
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", match["suite"], str(path), mirror]
    # debootstrap mounts /proc in the new root.
    subprocess.run([*DIES_WITH_PARENT, *NAMESPACES, *command], check=True, stdout=subprocess.DEVNULL)
    version = Root(path, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}).run(["python3", "--version"])
    if not version.startswith(f"Python {match['python']}."):
        raise ValueError(f"{image} has Python {match['python']}, Debian {match['suite']} has {version.strip()}")


def apt_mirror() -> str:
    """Return the Debian mirror that this machine's apt uses.

    Raises:
        LookupError: apt has no Debian mirror.
    """
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN)\t$(LABEL)\t$(REPO_URI)", "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    for line in listed:
        origin, label, address = line.split("\t")
        if (origin, label) == ("Debian", "Debian"):
            return address
    raise LookupError("apt has no Debian mirror. Run apt-get update, or pass --mirror URL")
