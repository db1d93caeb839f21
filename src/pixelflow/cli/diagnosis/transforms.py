"""Checks of what transforms need from this machine: libvips, and the confinement that the kernel offers.

It starts the same process as a worker does, so it finds what a worker would find.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pixelflow.cli.diagnosis.finding import Finding, error, ok, warning
from pixelflow.cli.distributions import SERVER
from pixelflow.imaging.extras import EXTRAS

_MIN_LIBVIPS = (8, 18)
_MEMORY_BYTES = 2_000_000_000
_ADVICE = {
    "landlock": "Landlock limits which files a decoder can read. It needs Linux 5.13 or later, with `landlock` in the "
    "kernel parameter `lsm`.",
    "seccomp": "The filter of system calls supports x86_64 and aarch64 only.",
    "user": "Transforms run as root. Start the worker as another user, or let root change its user (CAP_SETUID).",
    "single_threaded": "A library starts threads when it is loaded, so processes are forked less safely. Check "
    "VIPS_CONCURRENCY and preloaded libraries.",
}
"""By part of the confinement."""


def check(program: Sequence[str] | None = None) -> Iterator[Finding]:
    """Yield the version of libvips, which decoders load, and the state of each part of the confinement.

    Args:
        program: arguments of the Python interpreter that starts the template. None: those that a worker uses.
    """
    if sys.platform != "linux":
        yield error(
            "transforms", f"not supported on {sys.platform}", "Run workers on Linux, for example in a container."
        )
        return
    from pixelflow.dataplane.worker.template import (  # noqa: PLC0415 - see package
        PROGRAM,
        ChildDiedError,
        ChildLimits,
        Template,
    )

    with tempfile.TemporaryDirectory(prefix="pixelflow-doctor-") as folder:
        try:
            template = Template(ChildLimits(memory_bytes=_MEMORY_BYTES, seconds=30), Path(folder), program or PROGRAM)
        except OSError as failure:
            yield error("transforms", f"the process does not start: {failure.strerror}", "Free memory or processes.")
            return
        try:
            parts = template.wait_ready()
            yield _libvips(template.libvips)
            yield from (ok(f"extra: {name}", "loads") for name in template.extras)
            yield from (_broken(name, reason) for name, reason in template.broken_extras.items())
            yield from _confinement(parts)
        except ChildDiedError as failure:
            last = str(failure).strip().splitlines()[-1]
            yield error(
                "transforms",
                f"the process does not start: {last}",
                f"Reinstall: pip install '{SERVER}[worker]'.",
            )
        finally:
            template.close()


def _libvips(version: str) -> Finding:
    found = tuple(int(part) for part in version.split("."))
    if found < _MIN_LIBVIPS:
        needed = ".".join(map(str, _MIN_LIBVIPS))
        return error("libvips", f"{version} is too old; {needed} or later is needed", "pip install -U pyvips-binary.")
    return ok("libvips", version)


def _broken(extra: str, reason: str) -> Finding:
    package = EXTRAS[extra].package
    advice = f"Workers here don't offer `{extra}`. pip install --force-reinstall {package}."
    return error(f"extra: {extra}", f"{package} does not load: {reason}", advice)


def _confinement(parts: Mapping[str, bool]) -> Iterator[Finding]:
    for part, available in sorted(parts.items()):
        name = f"confinement: {part}"
        yield ok(name, "in force") if available else warning(name, "not available", _ADVICE.get(part))
