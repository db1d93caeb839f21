"""Settings of the service, read once from the environment when a process starts.

No other module reads ``PIXELFLOW_…`` variables of the service. Secrets and server addresses have no default: a process
that misses one does not start.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from pixelflow.settings.buckets import NamedBucket
from pixelflow.settings.database import DatabaseSettings, RotationSettings
from pixelflow.settings.errors import PREFIX, SettingsError, validation_messages, variable
from pixelflow.settings.model import ControlPlaneSettings, Settings

__all__ = [
    "PREFIX",
    "ControlPlaneSettings",
    "DatabaseSettings",
    "RotationSettings",
    "Settings",
    "SettingsError",
    "load",
    "load_control_plane",
    "load_database",
    "load_rotation",
]

_SIMILAR = 0.85
"""Least similarity (difflib's ratio) of a misspelt name, of which the prefix is a third."""
_Model = TypeVar("_Model", bound=BaseSettings)


def load(variables: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment.

    Args:
        variables: variables that take precedence over the environment's.

    Raises:
        SettingsError: one line per setting that is missing or not valid. No value is repeated: it may be a secret.
    """
    return _load(Settings, variables)


def load_control_plane(variables: Mapping[str, str] | None = None) -> ControlPlaneSettings:
    """Read the settings as :func:`load` does, for the API and the controller: the key of secrets is required."""
    return _load(ControlPlaneSettings, variables)


def variables_of_buckets(buckets: Iterable[NamedBucket]) -> dict[str, str]:
    """Return the environment variables that hold the access keys of these buckets, those that are set."""
    names = {name for bucket in buckets for name in bucket.variables}
    return {name: os.environ[name] for name in names if name in os.environ}


def aws_variables() -> dict[str, str]:
    """Return the environment variables by which AWS gives a process its credentials, and the home directory."""
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_") or name == "HOME"}


def is_configured() -> bool:
    """Whether the environment has one of the settings that have no default."""
    required = (variable(name) for name, field in Settings.model_fields.items() if field.is_required())
    return any(os.environ.get(name) for name in required)


def find_unknown(others: Iterable[str]) -> dict[str, str | None]:
    """Return the variables with PixelFlow's prefix that are no setting, each with the one that it resembles, if any.

    Args:
        others: variables that other programs read.
    """
    known = {*map(variable, Settings.model_fields), *others}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name.upper() not in known)
    return {name: next(iter(get_close_matches(name, known, n=1, cutoff=_SIMILAR)), None) for name in unknown}


def load_database(variables: Mapping[str, str] | None = None) -> DatabaseSettings:
    """Read only the settings of the database, as :func:`load` does. Other settings may be missing or not valid."""
    return _load(DatabaseSettings, variables)


def load_rotation(variables: Mapping[str, str] | None = None) -> RotationSettings:
    """Read only the database and the keys of secrets, as :func:`load` does."""
    return _load(RotationSettings, variables)


def _load(model: type[_Model], variables: Mapping[str, str] | None) -> _Model:
    try:
        return model(**_by_field(variables or {}))  # pydantic-settings reads the other fields from the environment
    except ValidationError as error:
        # Without a cause: Pydantic's own error keeps the values.
        misspelt = {meant: name for name, meant in find_unknown(()).items() if meant}
        raise SettingsError("\n".join(validation_messages(error, model.model_fields, misspelt))) from None


def _by_field(variables: Mapping[str, str]) -> dict[str, Any]:
    return {name.removeprefix(PREFIX).lower(): value for name, value in variables.items()}
