"""What stands in for the base image: a new Debian of the same release, with its own Python of the same minor version.

`python:3.13.…-slim-trixie` is Debian trixie with Python 3.13 compiled into /usr/local; Debian's own 3.13 in /usr is the
nearest that can be had without a registry of images.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.images.enclosure import DIES_WITH_US, NAMESPACES, Root

PACKAGES = ("python3", "python3-venv", "ca-certificates", "netbase", "tzdata")
"""Of Debian's minimal system there is no less; the image's Python has venv in itself."""
_IMAGE = re.compile(r"python:(?P<python>\d+\.\d+)\.\d+-slim-(?P<suite>[a-z]+)")


def make_base(image: str, path: Path, mirror: str) -> None:
    """Install the Debian that an image is made of into an empty folder.

    Raises:
        ValueError: the image is none of Python on Debian, or Debian's Python is another one.
        subprocess.CalledProcessError: debootstrap failed.
    """
    told = _IMAGE.fullmatch(image)
    if told is None:
        raise ValueError(f"{image} is not python:X.Y.Z-slim-SUITE")
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", told["suite"], str(path), mirror]
    # It mounts /proc in the new root while it works.
    subprocess.run([*DIES_WITH_US, *NAMESPACES, *command], check=True, stdout=subprocess.DEVNULL)
    said = Root(path, {"PATH": "/usr/bin:/bin"}).run(["python3", "--version"])
    if not said.startswith(f"Python {told['python']}."):
        raise ValueError(f"{image} has Python {told['python']}, Debian {told['suite']} has {said.strip()}")


def machines_mirror() -> str:
    """Where this machine's own apt gets Debian from.

    Raises:
        LookupError: its configuration names none.
    """
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN)\t$(LABEL)\t$(REPO_URI)", "Created-By: Packages"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    for line in listed:
        origin, label, address = line.split("\t")
        if (origin, label) == ("Debian", "Debian"):
            return address
    raise LookupError("apt is not set up with a mirror of Debian (run apt-get update first), so name one: --mirror URL")
