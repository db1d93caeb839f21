"""Checks of the images and of the processes that run from them. Each prints one line."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from PIL import Image
from tests.acceptance.running import Running

from pixelflow.contracts.jobs.responses import Job

COMPILERS = ("cc", "gcc", "g++", "make", "ld")
MEGABYTE = 1_000_000


class CheckFailedError(Exception):
    """A check failed."""


def _check(*, that: bool, what: str) -> None:
    if not that:
        raise CheckFailedError(what)
    print(f"  ✓ {what}")


def one_base(bases: Iterable[str]) -> str:
    """Check that all stages start from the same image; return it."""
    found = set(bases)
    _check(that=len(found) == 1, what=f"one base for all stages: {', '.join(sorted(found))}")
    return found.pop()


def contents(api: Path, worker: Path) -> None:
    """Check the files of the images."""
    _check(that=not list(api.rglob("*vips*")), what="the API image does not contain libvips")
    _check(that=not list(api.rglob("*.ttf")), what="… and no fonts")
    _check(that=len(list(worker.rglob("NotoSans*.ttf"))) > 1, what="the worker image contains the fonts")
    for root in (api, worker):
        _check(
            that=not any((root / folder / name).exists() for folder in ("usr/bin", "bin") for name in COMPILERS),
            what=f"no compiler; on top of the base: {_size(root / 'opt') / MEGABYTE:.0f} MB",
        )


def _size(folder: Path) -> int:
    return int(subprocess.run(["du", "-sb", folder], capture_output=True, text=True, check=True).stdout.split()[0])


def pictures(job: Job, folder: Path) -> None:
    """Check the downloaded outputs of the job."""
    sizes = {}
    for output in job.outputs:
        with Image.open(folder / f"{output.step_id}.{output.format}") as image:
            sizes[output.step_id] = (image.format, image.width)
    _check(that=sizes == {"small": ("WEBP", 640), "marked": ("PNG", 640)}, what="a job, from create to download")


def confined(child: Running) -> None:
    """Check that a child of the unprivileged worker has dropped its remaining privileges."""
    lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
    fields = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    nothing = {name: fields[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")}
    _check(that=not any(int(value, 16) for value in nothing.values()), what="the transform child has no capability")
    _check(that=fields["Seccomp"] == "2" and fields["NoNewPrivs"] == "1", what="… and a seccomp filter of its own")
    _check(that=fields["Uid"].split()[0] != "0", what=f"… and is user {fields['Uid'].split()[0]}")


def bounded(readable: str) -> None:
    """Check that Landlock works for an unprivileged process. Without Landlock in the kernel, print a note."""
    if not _kernel_has_landlock():
        print("  – this kernel has no Landlock, so file access is not restricted")
        return
    _check(
        that=readable.split() == ["/usr/lib/os-release"],
        what="Landlock allows access to the libraries, and to no other files",
    )


def _kernel_has_landlock() -> bool:
    """Query the Landlock version (landlock_create_ruleset(2))."""
    create_ruleset, version = 444, 1
    return bool(ctypes.CDLL(None).syscall(create_ruleset, None, ctypes.c_size_t(0), version) > 0)


def ended_well(role: str, status: int) -> None:
    """Check that the first process of a container shuts down in order at SIGTERM."""
    _check(that=status == 0, what=f"{role} shuts down at SIGTERM as process 1")


def reaped(killed: Iterable[Running]) -> None:
    """Check that killed children are waited for; no other process in the container would do it."""
    left = [child.pid for child in killed if Path(f"/proc/{child.pid}").exists()]
    _check(that=not left, what="killed children are replaced and leave no zombies")


def the_same(inside: Job, outside: Job) -> None:
    """Check that outputs don't depend on the system's libraries, fonts or configuration."""
    hashes = [[output.sha256 for output in job.outputs] for job in (inside, outside)]
    _check(
        that=hashes[0] == hashes[1],
        what="the same bytes as from a worker outside the image, including text in ten scripts",
    )


def kill(child: Running) -> None:
    """Kill a child, as the kernel does when memory runs out."""
    os.kill(child.pid, 9)
