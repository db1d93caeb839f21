"""``pixelflow keys``: for the operator, on the database itself. Shows a key once, on stdout, and keeps it nowhere."""

from __future__ import annotations

from typing import Annotated

import typer

from pixelflow.cli.output import say
from pixelflow.cli.service import operating


def create(
    *,
    user: Annotated[str, typer.Option(metavar="USER", help="Whose jobs the key sees: your own name for them.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="To tell it from the user's other keys.")] = "cli",
) -> None:
    """Create an API key and show it, once.

    Needs the settings of the service, PIXELFLOW_DATABASE_URL among them, in the environment.
    """
    with operating() as settings:
        from pixelflow.controlplane import operate  # noqa: PLC0415 - see the package's docstring

        key = operate.issue_key(settings.database_url.get_secret_value(), user_id=user, name=name)
    say("Keep this key: only its hash is stored, and it is not shown again.")
    print(key)


def commands() -> typer.Typer:
    """``keys`` and what is below it."""
    group = typer.Typer(help="API keys.", no_args_is_help=True)
    group.command("create")(create)
    # Alone in its group, it would else be the group itself.
    group.callback()(lambda: None)
    return group
