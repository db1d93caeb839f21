"""Every setting, read from the environment once at start. The only reader of ``PIXELFLOW_…`` variables in the service."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, UrlConstraints, ValidationError
from pydantic_core import Url
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "PIXELFLOW_"
