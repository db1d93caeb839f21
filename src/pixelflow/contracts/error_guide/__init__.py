"""What each error code means, what to change and whether to retry: the texts of ``docs/errors.md`` and ``/errors``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pixelflow.contracts.error_guide.guide import Guide
from pixelflow.contracts.error_guide.jobs import JOBS
from pixelflow.contracts.error_guide.requests import REQUESTS
from pixelflow.contracts.error_guide.services import SERVICES
from pixelflow.errors import PixelflowError

GUIDES: Mapping[str, Guide] = {**REQUESTS, **JOBS, **SERVICES}
"""By code, in the order of the documentation."""


def titles() -> dict[str, str]:
    """The title of each code."""
    return {error.code: error.title for error in reversed([*_tree(PixelflowError)])}


def _tree(root: type[PixelflowError]) -> Iterator[type[PixelflowError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)
