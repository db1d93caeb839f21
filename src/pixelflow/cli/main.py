"""The entry point. Imports nothing of weight by itself, so that Ctrl-C has its sense from the first moment on."""

from __future__ import annotations

import sys

INTERRUPTED = 130
"""What ``exit_codes`` calls so; that module may not be there yet."""


def main() -> None:
    """Build the command line and run what it is told."""
    try:
        from pixelflow.cli.commands import build  # noqa: PLC0415 - see above

        build()(prog_name="pixelflow")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
