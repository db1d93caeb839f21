"""Writes the API's OpenAPI document to a file, for client generators and version control.

    python -m pixelflow.controlplane.api.export_openapi docs/openapi.json

Must never need a setting or a running service.
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry

from pixelflow.contracts.schemas import render
from pixelflow.controlplane.api.main import make_app
from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.api.services import Services


@asynccontextmanager
async def _no_services() -> AsyncIterator[Services]:
    raise RuntimeError("This application only describes the API and can't serve it")
    yield


def openapi_document() -> dict[str, Any]:
    """Return the document that a running API serves at ``/openapi.json``."""
    return make_app(_no_services, ApiMetrics(CollectorRegistry()), NoOpTracer()).openapi()


def main() -> None:
    """Write the document to the file named on the command line."""
    parser = argparse.ArgumentParser(description="Write the OpenAPI document")
    parser.add_argument("file", type=Path)
    file: Path = parser.parse_args().file
    file.write_text(render(openapi_document()), encoding="utf-8")


if __name__ == "__main__":
    main()
