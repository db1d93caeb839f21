"""Writes the OpenAPI document of the API to a file, for client generators and for the record.

    python -m pixelflow.controlplane.api.export_openapi docs/openapi.json

Needs no setting and opens no service.
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
from pixelflow.controlplane.api.app import make_app
from pixelflow.controlplane.api.metrics import ApiMetrics
from pixelflow.controlplane.api.services import Services


@asynccontextmanager
async def _no_services() -> AsyncIterator[Services]:
    raise RuntimeError("This application only tells what it is; it does not run")
    yield


def openapi_document() -> dict[str, Any]:
    """The document, as a running API tells it at ``/openapi.json``."""
    return make_app(_no_services, ApiMetrics(CollectorRegistry()), NoOpTracer()).openapi()


def main() -> None:
    """Write the document into the file that is named."""
    parser = argparse.ArgumentParser(description="Write the OpenAPI document")
    parser.add_argument("file", type=Path)
    file: Path = parser.parse_args().file
    file.write_text(render(openapi_document()), encoding="utf-8")


if __name__ == "__main__":
    main()
