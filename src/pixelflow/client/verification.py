"""Signs and verifies webhooks by the Standard Webhooks specification. Needs no API key and does no I/O."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pixelflow.client.errors import WebhookVerificationError
from pixelflow.contracts.webhooks import ID_HEADER, SECRET_PREFIX, SIGNATURE_HEADER, TIMESTAMP_HEADER

TOLERANCE_SECONDS = 300.0
"""By which a timestamp may differ from now: that of the specification's libraries."""
_MAX_TIMESTAMP_DIGITS = 12
_VERSION = "v1,"


def verify_webhook(
    body: bytes | str,
    headers: Mapping[str, str],
    secrets: str | Iterable[str],
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> dict[str, Any]:
    """Return the event if one of the secrets signed it: an object with ``type``, ``timestamp`` and ``data``.

    ``pixelflow.contracts.webhooks`` has models of events: ``Event`` of a job, ``BatchEvent`` of a batch.

    Args:
        body: the unmodified body of the request; never JSON that was parsed and written again.
        headers: of the request, in any case.
        secrets: one ``whsec_…``, or several during a rotation.
        tolerance_seconds: by which the timestamp may differ from now.
        now: seconds since 1970. Default: the clock of this machine.

    Raises:
        WebhookVerificationError: a header is missing, the timestamp is too far from now, no signature matches, a secret
            is not valid, or the body is no JSON object.
    """
    content = body.encode() if isinstance(body, str) else body
    found = {name.lower(): value for name, value in headers.items()}
    timestamp = _header(found, TIMESTAMP_HEADER)
    _check_timestamp(timestamp, tolerance_seconds, time.time() if now is None else now)
    signed = f"{_header(found, ID_HEADER)}.{timestamp}.".encode() + content
    signatures = list(_signatures(_header(found, SIGNATURE_HEADER)))
    keys = [_key(secret) for secret in ([secrets] if isinstance(secrets, str) else secrets)]
    expected = [hmac.digest(key, signed, hashlib.sha256) for key in keys]
    # All are compared, so that the time does not depend on which one matches.
    matches = [hmac.compare_digest(one, other) for one in expected for other in signatures]
    if not any(matches):
        raise WebhookVerificationError("No signature of the webhook matches; is this the secret of the same user?")
    try:
        event = json.loads(content)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        raise WebhookVerificationError("The body of the webhook is not a JSON object")
    return event


def sign_webhook(body: bytes, event_id: str, secret: str, *, now: float | None = None) -> dict[str, str]:
    """Return the headers of a signed webhook, such as to test a receiver.

    Args:
        body: of the request.
        event_id: the ``webhook-id``.
        secret: such as ``whsec_…``.
        now: seconds since 1970. Default: the clock of this machine.

    Raises:
        WebhookVerificationError: the secret is not valid.
    """
    timestamp = str(int(time.time() if now is None else now))
    digest = hmac.digest(_key(secret), f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256)
    signature = f"{_VERSION}{base64.b64encode(digest).decode()}"
    return {ID_HEADER: event_id, TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: signature}


def _header(headers: Mapping[str, str], name: str) -> str:
    if not headers.get(name):
        raise WebhookVerificationError(f"The header {name} is missing")
    return headers[name]


def _check_timestamp(timestamp: str, tolerance: float, now: float) -> None:
    is_number = timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _MAX_TIMESTAMP_DIGITS
    if not is_number or abs(now - int(timestamp)) > tolerance:
        raise WebhookVerificationError("The timestamp of the webhook is too far from now, or not a number")


def _signatures(value: str) -> Iterator[bytes]:
    for part in value.split(" "):
        if part.startswith(_VERSION) and (decoded := _decode(part.removeprefix(_VERSION))) is not None:
            yield decoded


def _key(secret: str) -> bytes:
    key = _decode(secret.removeprefix(SECRET_PREFIX))
    if not key:  # an empty key would accept what anybody can sign
        raise WebhookVerificationError("The webhook secret is empty or not base64; it looks like whsec_…")
    return key


def _decode(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
