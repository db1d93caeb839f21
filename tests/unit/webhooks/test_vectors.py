"""The verification that PixelFlow recommends for Python and that of the TypeScript client agree on shared vectors."""

from __future__ import annotations

import json
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, Self

import pytest
import standardwebhooks.webhooks
from standardwebhooks import Webhook, WebhookVerificationError

from pixelflow import client
from pixelflow.client import verify_webhook

VECTORS = json.loads(
    (Path(__file__).parents[3] / "clients" / "typescript" / "test" / "webhook-vectors.json").read_text("utf-8")
)


@pytest.mark.parametrize("vector", [pytest.param(each, id=each["name"]) for each in VECTORS])
def test_python_agrees_with_the_vectors_of_the_typescript_client(
    vector: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp(vector["now"], tz)

    monkeypatch.setattr(standardwebhooks.webhooks, "datetime", Clock)
    try:
        Webhook(vector["secret"]).verify(vector["body"], vector["headers"])
    except (WebhookVerificationError, ValueError):
        assert not vector["valid"]
    else:
        assert vector["valid"]


@pytest.mark.parametrize("vector", [pytest.param(each, id=each["name"]) for each in VECTORS])
def test_the_client_agrees_with_the_vectors(vector: dict[str, Any]) -> None:
    arguments = (vector["body"].encode(), vector["headers"], vector["secret"])
    if vector["valid"]:
        assert verify_webhook(*arguments, now=vector["now"]) == json.loads(vector["body"])
        return
    with pytest.raises(client.WebhookVerificationError):
        verify_webhook(*arguments, now=vector["now"])


VALID = VECTORS[0]


@pytest.mark.parametrize(
    ("secrets", "reason"),
    [
        ("", "empty or not base64"),
        ("whsec_", "empty or not base64"),
        ("whsec_§", "empty or not base64"),
        ([], "No signature"),
        (["whsec_b3RoZXI="], "No signature"),
    ],
)
def test_a_wrong_secret_verifies_nothing(secrets: str | list[str], reason: str) -> None:
    with pytest.raises(client.WebhookVerificationError, match=reason):
        verify_webhook(VALID["body"], VALID["headers"], secrets, now=VALID["now"])


def test_the_client_accepts_headers_in_any_case_and_one_of_several_secrets() -> None:
    headers = {name.title(): value for name, value in VALID["headers"].items()}
    event = verify_webhook(VALID["body"], headers, ["whsec_b3RoZXI=", VALID["secret"]], now=VALID["now"])
    assert event["type"] == "job.completed"


def test_the_clock_of_the_client_is_the_real_one() -> None:
    with pytest.raises(client.WebhookVerificationError, match="too far from now"):
        verify_webhook(VALID["body"], VALID["headers"], VALID["secret"])


def test_a_missing_header_is_named() -> None:
    with pytest.raises(client.WebhookVerificationError, match="The header webhook-id is missing"):
        verify_webhook(VALID["body"], {**VALID["headers"], "webhook-id": ""}, VALID["secret"], now=VALID["now"])
