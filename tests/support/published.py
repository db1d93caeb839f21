"""The OpenAPI document in ``docs``: a test proves that it is that of the API. To read it takes less than to make it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

OPENAPI_FILE = Path(__file__).parents[2] / "docs" / "openapi.json"
OPENAPI: dict[str, Any] = json.loads(OPENAPI_FILE.read_text(encoding="utf-8"))
