"""Introspection of PixelFlow's packages: the modules that contain SQL, and their functions."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pixelflow.controlplane
import pixelflow.dataplane.worker

SQL_MODULES = ("store", "transitions", "due_events", "origins", "awaited", "lists")
"""Name suffixes of modules that contain SQL."""


def modules_of(*packages: ModuleType) -> Iterator[ModuleType]:
    """Import and yield every module of the packages."""
    for package in packages:
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(info.name)


def sql_functions() -> dict[str, Callable[..., Any]]:
    """Return the functions that send statements (their first parameter is a connection), such as ``jobs.insert``.

    Functions that only wrap other functions' statements are excluded.
    """
    found: dict[str, Callable[..., Any]] = {}
    for module in modules_of(pixelflow.controlplane, pixelflow.dataplane.worker):
        if not module.__name__.endswith(SQL_MODULES):
            continue
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ != module.__name__ or name.startswith("_") or hasattr(function, "__wrapped__"):
                continue
            if next(iter(inspect.signature(function).parameters), None) == "connection":
                found[f"{_subject(module.__name__)}.{name}"] = function
    return found


def _subject(module: str) -> str:
    """``jobs`` for ``pixelflow.controlplane.jobs.store``, ``jobs.transitions`` for the module beside it."""
    *_, folder, name = module.split(".")
    return folder if name == "store" else f"{folder}.{name}"
