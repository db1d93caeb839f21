"""Settings of the service, read once from the environment when a process starts.

No other module reads ``PIXELFLOW_…`` variables of the service. Secrets and server addresses have no default: a process
that misses one does not start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from pixelflow.settings.errors import PREFIX, SettingsError, validation_messages
from pixelflow.settings.model import DatabaseSettings, Settings

__all__ = ["PREFIX", "DatabaseSettings", "Settings", "SettingsError", "load", "load_database"]

_Model = TypeVar("_Model", bound=BaseSettings)


def load(variables: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment.

    Args:
        variables: variables that take precedence over the environment's.

    Raises:
        SettingsError: one line per setting that is missing or not valid. No value is repeated: it may be a secret.
    """
    return _load(Settings, variables)


def load_database(variables: Mapping[str, str] | None = None) -> DatabaseSettings:
    """Read only the settings of the database, as :func:`load` does. Other settings may be missing or not valid."""
    return _load(DatabaseSettings, variables)


def _load(model: type[_Model], variables: Mapping[str, str] | None) -> _Model:
    try:
        return model(**_by_field(variables or {}))  # pydantic-settings reads the other fields from the environment
    except ValidationError as error:
        # Without a cause: Pydantic's own error keeps the values.
        raise SettingsError("\n".join(validation_messages(error, model.model_fields))) from None


def _by_field(variables: Mapping[str, str]) -> dict[str, Any]:
    return {name.removeprefix(PREFIX).lower(): value for name, value in variables.items()}
