"""``pixelflow keys``: for the operator, on the database itself. Its options; what they do is in ``key_actions``."""

from __future__ import annotations

from typing import Annotated

import typer

_SCOPES = "jobs:read, jobs:write, usage:read, webhooks:write, keys:write, admin"

User = Annotated[str, typer.Option(metavar="USER", help="Whose: your own name for them, or the id in their tokens.")]


def create(
    *,
    user: User,
    name: Annotated[str, typer.Option(metavar="NAME", help="To tell it from the user's other keys.")] = "cli",
    scopes: Annotated[
        str | None, typer.Option(metavar="SCOPE,…", help=f"What it may be used for: {_SCOPES}. Default: all but admin.")
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Such as 90d, 12h or 30m. Default: until it is revoked.")
    ] = None,
    rate_limit: Annotated[
        int | None,
        typer.Option(
            metavar="REQUESTS",
            min=1,
            max=1_000_000,
            help="A limit of its own: requests of each class (create, start, other) within "
            "PIXELFLOW_RATE_LIMIT_WINDOW_SECONDS. Default: it shares the limit of its user's other keys.",
        ),
    ] = None,
) -> None:
    """Create an API key and show it, once.

    On the database of PIXELFLOW_DATABASE_URL; where that is not set, of the `pixelflow up` that runs on this machine.
    """
    from pixelflow.cli import key_actions  # noqa: PLC0415 - see the package's docstring

    key_actions.create(user, name, scopes, expires_in, rate_limit)


def list_keys(
    *, user: User, as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON document.")] = False
) -> None:
    """List a user's API keys: those in force first, then newest first."""
    from pixelflow.cli import key_actions  # noqa: PLC0415

    key_actions.list_all(user, as_json=as_json)


def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="What stands between pf_ and the secret.")],
) -> None:
    """Revoke an API key, whoever's it is, from the next request on."""
    from pixelflow.cli import key_actions  # noqa: PLC0415

    key_actions.revoke(key_id)


def commands() -> typer.Typer:
    """``keys`` and what is below it."""
    group = typer.Typer(help="API keys.", no_args_is_help=True)
    group.command("create")(create)
    group.command("list")(list_keys)
    group.command("revoke")(revoke)
    return group
