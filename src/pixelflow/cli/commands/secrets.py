"""``pixelflow secrets``: changes the key that encrypts values in the database. Must never print a key or a value."""

from __future__ import annotations

import typer

from pixelflow.cli.exit_codes import ExitCode
from pixelflow.cli.output import echo
from pixelflow.cli.server_settings import load_rotation
from pixelflow.controlplane.secrets.rotation import rotate

app = typer.Typer(help="Re-encrypt stored secrets with another key.", no_args_is_help=True, add_completion=False)


@app.callback()
def _group() -> None:
    """Keep the subcommand's name although it is the only one."""


@app.command("rotate")
def rotate_() -> None:
    """Re-encrypt all stored values with the first key of PIXELFLOW_SECRETS_KEY.

    Uses PIXELFLOW_DATABASE_URL or, if that is not set, the database and the keys of the `pixelflow up` running on this
    machine. The service can run meanwhile. Run it again until it has re-encrypted nothing.
    """
    with load_rotation() as settings:
        keys = [key.get_secret_value() for key in settings.secrets_key]
        secrets, responses = rotate(settings.database_url.get_secret_value(), keys)
    echo(f"Re-encrypted {secrets.re_encrypted} webhook secrets and {responses.re_encrypted} stored responses.")
    if secrets.unreadable or responses.unreadable:
        echo(
            f"{secrets.unreadable} webhook secrets and {responses.unreadable} stored responses are encrypted with a "
            "key that PIXELFLOW_SECRETS_KEY lacks. Add that key to the end of the setting and run this again."
        )
        raise typer.Exit(ExitCode.FAILED)
