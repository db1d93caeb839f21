"""The Python SDK: ``Client`` for blocking programs and ``AsyncClient`` for asyncio, with the same operations.

    with Client() as pixelflow:
        job = pixelflow.process("photo.jpg", [{"id": "small", "action": "resize", "width": 640, "format": "webp"}])
        pixelflow.download(job.outputs[0], "photo-small.webp")

It must import nothing of PixelFlow except the contracts.
"""

from pixelflow.client.aio import AsyncClient
from pixelflow.client.errors import (
    ApiError,
    ClientError,
    ConfigurationError,
    ConnectionFailedError,
    InvalidRequestError,
    JobFailedError,
    TransferError,
    WaitTimeoutError,
    WebhookVerificationError,
)
from pixelflow.client.sources import BucketSource, JobSource, UrlSource
from pixelflow.client.streams import StreamedEvent
from pixelflow.client.sync import Client
from pixelflow.client.verification import sign_webhook, verify_webhook
from pixelflow.contracts.jobs.events import JobEvent
from pixelflow.imaging.source_options import SourceOptions

__all__ = [
    "ApiError",
    "AsyncClient",
    "BucketSource",
    "Client",
    "ClientError",
    "ConfigurationError",
    "ConnectionFailedError",
    "InvalidRequestError",
    "JobEvent",
    "JobFailedError",
    "JobSource",
    "SourceOptions",
    "StreamedEvent",
    "TransferError",
    "UrlSource",
    "WaitTimeoutError",
    "WebhookVerificationError",
    "sign_webhook",
    "verify_webhook",
]
