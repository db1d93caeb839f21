"""Request loop of the Python contenders: read a request, make the pictures, answer ``done``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Make = Callable[[str, Path, Path], Any]
"""(case, source, folder for the outputs)."""


def serve(make: Make) -> None:
    """Serve requests until the end of standard input."""
    for line in sys.stdin:
        request = json.loads(line)
        sources = [Path(source) for source in request["sources"]]
        for index in range(request["times"]):
            make(request["case"], sources[index % len(sources)], Path(request["folder"]))
        sys.stdout.write("done\n")
        sys.stdout.flush()
