"""Finds the packages of a registry: one folder each."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any


def declared(package: str, name: str) -> Iterator[Any]:
    """Yield the attribute ``name`` of each package in ``package``, by folder name.

    Raises:
        AttributeError: a folder does not declare it.
    """
    found = import_module(package)
    for module in pkgutil.iter_modules(found.__path__):
        if module.ispkg:
            yield getattr(import_module(f"{package}.{module.name}"), name)
