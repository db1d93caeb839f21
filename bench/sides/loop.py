"""What the sides in Python have in common: read a line, make so many pictures, say that they are done."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Make = Callable[[str, Path, Path], Any]
"""(case, source, folder for the outputs)."""


def serve(make: Make) -> None:
    """Until standard input ends."""
    for line in sys.stdin:
        asked = json.loads(line)
        sources = [Path(source) for source in asked["sources"]]
        for index in range(asked["times"]):
            make(asked["case"], sources[index % len(sources)], Path(asked["folder"]))
        sys.stdout.write("done\n")
        sys.stdout.flush()
