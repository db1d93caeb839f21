"""The verification that PixelFlow recommends for Python and that of the TypeScript client agree on shared vectors."""

from __future__ import annotations

import json
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, Self

import pytest
import standardwebhooks.webhooks
from standardwebhooks import Webhook, WebhookVerificationError

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
