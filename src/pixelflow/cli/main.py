"""The entry point. Must import nothing heavy at module level: Ctrl-C during the imports has to be handled as well."""

from __future__ import annotations

import gc
import sys

from pixelflow.cli.distributions import CLIENT

INTERRUPTED = 130
"""The value of ``ExitCode.INTERRUPTED``, whose module may not be imported yet."""
MISCONFIGURED = 78
"""The value of ``ExitCode.MISCONFIGURED``."""
OF_THE_COMMAND_LINE = {"rich", "typer"}
"""What the SDK alone is installed without."""
NEW_OBJECTS = 50_000
"""New objects per garbage collection. With the 700 of Python 3.11, collections take a sixth of the time of the imports,
which leave no garbage. A server has some 10 MB more in exchange for rarer collections."""


def main() -> None:
    """Run the command line."""
    gc.set_threshold(NEW_OBJECTS)
    try:
        from pixelflow.cli.app import build_app  # noqa: PLC0415 - imported inside the try, see above

        build_app()(prog_name="pixelflow")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except ModuleNotFoundError as error:
        if error.name not in OF_THE_COMMAND_LINE:
            raise
        print(f"Error: The command line needs the package {error.name}: pip install '{CLIENT}[cli]'", file=sys.stderr)
        sys.exit(MISCONFIGURED)
