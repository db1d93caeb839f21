"""``pixelflow capabilities``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from tests.unit.client.stand_in import Fault, StandIn
from typer.testing import Result

from pixelflow.controlplane.api.examples import CAPABILITIES

Run = Callable[..., Result]


@pytest.mark.usefixtures("api")
def test_it_shows_operations_formats_limits_and_workers(pixelflow: Run) -> None:
    lines = [re.sub(r" {2,}", " | ", line.strip()) for line in pixelflow("capabilities").stdout.splitlines()]
    assert lines[0] == "PixelFlow 0.1.0, contract 2"
    assert "resize | 1 | Change the size of an image." in lines
    assert "heic | no worker has heic | no" in lines
    assert "jpeg | yes | yes | 65 500" in lines
    assert "source bytes | 100 000 000" in lines
    assert lines[-1] == "3 | 12 | 0 | 2 | 8.18.2 | 0.1.0"


@pytest.mark.usefixtures("api")
def test_json_is_the_answer_of_the_api(pixelflow: Run) -> None:
    assert json.loads(pixelflow("capabilities", "--json").stdout) == CAPABILITIES


def test_without_live_workers_it_says_so(pixelflow: Run, api: StandIn) -> None:
    api.fail("capabilities", Fault(200, body=json.dumps({**CAPABILITIES, "workers": []}).encode()))
    assert "none is live" in pixelflow("capabilities").stdout
