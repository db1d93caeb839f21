"""Writes the published JSON Schemas of the contracts' models.

    python -m pixelflow.contracts.schemas docs/schemas

The files must never be edited by hand. The schemas do not express cross-field rules, such as unique step ids.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from pixelflow.contracts.assets import Asset, AssetList, CreateAssetRequest, CreatedAsset
from pixelflow.contracts.explanation import Explanation
from pixelflow.contracts.installation import Installation
from pixelflow.contracts.jobs.events import JobEvent
from pixelflow.contracts.jobs.requests import CreateJobRequest
from pixelflow.contracts.jobs.responses import CreatedJob, Job, JobPage, StartedJob
from pixelflow.contracts.keys import CreatedKey, CreateKeyRequest, KeyList
from pixelflow.contracts.messages import ProcessImage
from pixelflow.contracts.presets import CreatePresetRequest, Preset, PresetList
from pixelflow.contracts.responses import Problem
from pixelflow.contracts.usage import UsageByDay, UsageByUser
from pixelflow.contracts.webhook_endpoints import (
    CreateWebhookEndpointRequest,
    SentTestEvent,
    TestEvent,
    UpdateWebhookEndpointRequest,
    WebhookEndpoint,
    WebhookEndpointList,
    WebhookSecret,
)
from pixelflow.contracts.webhooks import BatchEvent, DeliveryList, Event, ReplayedEvent, RotatedSecret

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_PUBLISHED: dict[str, tuple[type[BaseModel], Literal["validation", "serialization"]]] = {
    "create_job_request": (CreateJobRequest, "validation"),
    "created_job": (CreatedJob, "serialization"),
    "explanation": (Explanation, "serialization"),
    "started_job": (StartedJob, "serialization"),
    "job": (Job, "serialization"),
    "job_event": (JobEvent, "serialization"),
    "job_page": (JobPage, "serialization"),
    "create_asset_request": (CreateAssetRequest, "validation"),
    "created_asset": (CreatedAsset, "serialization"),
    "asset": (Asset, "serialization"),
    "asset_list": (AssetList, "serialization"),
    "create_preset_request": (CreatePresetRequest, "validation"),
    "preset": (Preset, "serialization"),
    "preset_list": (PresetList, "serialization"),
    "create_key_request": (CreateKeyRequest, "validation"),
    "created_key": (CreatedKey, "serialization"),
    "key_list": (KeyList, "serialization"),
    "installation": (Installation, "serialization"),
    "problem": (Problem, "serialization"),
    "usage_by_day": (UsageByDay, "serialization"),
    "usage_by_user": (UsageByUser, "serialization"),
    "create_webhook_endpoint_request": (CreateWebhookEndpointRequest, "validation"),
    "update_webhook_endpoint_request": (UpdateWebhookEndpointRequest, "validation"),
    "webhook_endpoint": (WebhookEndpoint, "serialization"),
    "webhook_endpoint_list": (WebhookEndpointList, "serialization"),
    "sent_test_event": (SentTestEvent, "serialization"),
    "webhook": (Event, "serialization"),
    "batch_webhook": (BatchEvent, "serialization"),
    "test_webhook": (TestEvent, "serialization"),
    "webhook_secret": (WebhookSecret, "serialization"),
    "delivery_list": (DeliveryList, "serialization"),
    "replayed_event": (ReplayedEvent, "serialization"),
    "rotated_secret": (RotatedSecret, "serialization"),
    "process_image.v1": (ProcessImage, "serialization"),
}
"""File name without extension → model, and whether clients write the document (validation) or PixelFlow does."""


def published() -> dict[str, dict[str, Any]]:
    """All published schemas by name."""
    return {name: _schema(name, *how) for name, how in _PUBLISHED.items()}


def _schema(name: str, model: type[BaseModel], mode: Literal["validation", "serialization"]) -> dict[str, Any]:
    return {
        "$schema": DIALECT,
        "$id": f"urn:pixelflow:schema:{name}",
        **model.model_json_schema(by_alias=True, mode=mode),
    }


def render(document: dict[str, Any]) -> str:
    """The JSON text of a document. Equal documents give equal bytes."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> None:
    """Write every schema to the directory that the command line names."""
    parser = argparse.ArgumentParser(description="Write the published JSON Schemas")
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in published().items():
        (folder / f"{name}.json").write_text(render(schema), encoding="utf-8")


if __name__ == "__main__":
    main()
