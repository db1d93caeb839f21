"""What is held of the images, and of what runs from them. Each says in one line what it found."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from PIL import Image
from tests.acceptance.running import Running

from pixelflow.contracts.jobs import Job

COMPILERS = ("cc", "gcc", "g++", "make", "ld")
MEGABYTE = 1_000_000


class NotHeldError(Exception):
    """Something is not as it should be."""


def _hold(*, that: bool, what: str) -> None:
    if not that:
        raise NotHeldError(what)
    print(f"  ✓ {what}")


def one_base(bases: Iterable[str]) -> str:
    """All stages start from the same image."""
    found = set(bases)
    _hold(that=len(found) == 1, what=f"one base for all stages: {', '.join(sorted(found))}")
    return found.pop()


def contents(api: Path, worker: Path) -> None:
    """What is in each, and what is not."""
    _hold(that=not list(api.rglob("*vips*")), what="the API's image holds nothing of libvips")
    _hold(that=not list(api.rglob("*.ttf")), what="… and no font")
    _hold(that=len(list(worker.rglob("NotoSans*.ttf"))) > 1, what="the worker's image holds the fonts")
    for root in (api, worker):
        _hold(
            that=not any((root / folder / name).exists() for folder in ("usr/bin", "bin") for name in COMPILERS),
            what=f"no compiler; on top of the base: {_size(root / 'opt') / MEGABYTE:.0f} MB",
        )


def _size(folder: Path) -> int:
    return int(subprocess.run(["du", "-sb", folder], capture_output=True, text=True, check=True).stdout.split()[0])


def pictures(job: Job, folder: Path) -> None:
    """The job made what was asked for, and the downloads are it."""
    sizes = {}
    for output in job.outputs:
        with Image.open(folder / f"{output.step_id}.{output.format}") as image:
            sizes[output.step_id] = (image.format, image.width)
    _hold(that=sizes == {"small": ("WEBP", 640), "marked": ("PNG", 640)}, what="a job, from create to download")


def confined(child: Running) -> None:
    """A child of the worker that runs without any privilege has given up the rest, too."""
    lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
    told = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    nothing = {name: told[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")}
    _hold(that=not any(int(value, 16) for value in nothing.values()), what="the transform child has no capability")
    _hold(that=told["Seccomp"] == "2" and told["NoNewPrivs"] == "1", what="… and a seccomp filter of its own")
    _hold(that=told["Uid"].split()[0] != "0", what=f"… and is user {told['Uid'].split()[0]}")


def bounded(readable: str) -> None:
    """Landlock works for a process without privilege; on a kernel that has none, that is said and is no failure."""
    if not _kernel_has_landlock():
        print("  – this kernel has no Landlock: files are not bounded on it")
        return
    _hold(that=readable.split() == ["/usr/lib/os-release"], what="Landlock leaves it the libraries, and no other files")


def _kernel_has_landlock() -> bool:
    """Asks for its version (landlock_create_ruleset(2))."""
    create_ruleset, version = 444, 1
    return bool(ctypes.CDLL(None).syscall(create_ruleset, None, ctypes.c_size_t(0), version) > 0)


def ended_well(role: str, status: int) -> None:
    """SIGTERM to the first process of a container is its end, in order."""
    _hold(that=status == 0, what=f"{role} ends by SIGTERM as process 1")


def reaped(killed: Iterable[Running]) -> None:
    """A dead child is waited for: nobody else in the container would."""
    left = [child.pid for child in killed if Path(f"/proc/{child.pid}").exists()]
    _hold(that=not left, what="killed children are replaced, and leave no zombie")


def the_same(inside: Job, outside: Job) -> None:
    """Pictures do not depend on what a system brings along: libraries, fonts, their configuration."""
    hashes = [[output.sha256 for output in job.outputs] for job in (inside, outside)]
    _hold(that=hashes[0] == hashes[1], what="the same bytes as from a worker outside, text in ten scripts among them")


def kill(child: Running) -> None:
    """End a child as the kernel would when memory runs out."""
    os.kill(child.pid, 9)
