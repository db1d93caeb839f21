"""Which metadata of the source an output keeps."""

from __future__ import annotations

from enum import StrEnum


class MetadataChoice(StrEnum):
    """The values of ``metadata``."""

    STRIP = "strip"
    COPYRIGHT = "copyright"
    ALL = "all"
