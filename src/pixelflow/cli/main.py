"""The entry point. Must import nothing heavy at module level: Ctrl-C during the imports has to be handled as well."""

from __future__ import annotations

import sys

INTERRUPTED = 130
"""The value of ``ExitCode.INTERRUPTED``, whose module may not be imported yet."""


def main() -> None:
    """Run the command line."""
    try:
        from pixelflow.cli.app import build_app  # noqa: PLC0415 - imported inside the try, see above

        build_app()(prog_name="pixelflow")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
