"""``pixelflow keys``: for the operator, on the database itself. Shows a key once, on stdout, and keeps it nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from pixelflow.cli.output import cell, say, show, show_json, table
from pixelflow.cli.service import operating
from pixelflow.contracts.keys import EVERYDAY, ApiKey, Scope

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_SPAN = re.compile(r"([1-9][0-9]{0,4})([mhd])")

User = Annotated[str, typer.Option(metavar="USER", help="Whose: your own name for them, or the id in their tokens.")]


def _in_order(scopes: Iterable[Scope]) -> str:
    return ",".join(scope for scope in Scope if scope in scopes)


def create(
    *,
    user: User,
    name: Annotated[str, typer.Option(metavar="NAME", help="To tell it from the user's other keys.")] = "cli",
    scopes: Annotated[
        str, typer.Option(metavar="SCOPE,SCOPE…", help=f"What it may be used for, of {_in_order(Scope)}.")
    ] = _in_order(EVERYDAY),
    expires_in: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Such as 90d, 12h or 30m. Without: until it is revoked.")
    ] = None,
) -> None:
    """Create an API key and show it, once.

    Needs the settings of the service, PIXELFLOW_DATABASE_URL among them, in the environment.
    """
    wanted, span = _read_scopes(scopes), _read_span(expires_in) if expires_in else None
    with operating() as settings:
        from pixelflow.controlplane import operate  # noqa: PLC0415 - see the package's docstring

        key = operate.issue_key(
            settings.database_url.get_secret_value(),
            user_id=user,
            name=name,
            scopes=wanted,
            expires_at=datetime.now(UTC) + span if span else None,
        )
    say("Keep this key: only its hash is stored, and it is not shown again.")
    print(key)


def list_keys(
    *, user: User, as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON document.")] = False
) -> None:
    """List a user's API keys: those in force first, then newest first."""
    with operating() as settings:
        from pixelflow.controlplane import operate  # noqa: PLC0415

        found = operate.list_keys(settings.database_url.get_secret_value(), user_id=user)
    if as_json:
        show_json([key.model_dump(mode="json") for key in found])
        return
    rows = table("Key", "Name", "Scopes", "Created", "Last use", "State")
    for key in found:
        when = _when(key.created_at), _when(key.last_used_at)
        rows.add_row(*map(cell, (key.key_id, key.name, _in_order(key.scopes), *when, _state(key))))
    show(rows)


def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="The part between pf_ and the secret.")],
) -> None:
    """Revoke an API key, whoever's it is, from the next request on."""
    with operating() as settings:
        from pixelflow.controlplane import operate  # noqa: PLC0415

        user = operate.revoke_key(settings.database_url.get_secret_value(), key_id=key_id)
    say(f"Revoked {key_id} of {user}.")


def _read_scopes(text: str) -> frozenset[Scope]:
    names = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [name for name in names if name not in set(Scope)]
    if unknown or not names:
        raise typer.BadParameter(f"{', '.join(unknown) or 'nothing'}: not of {_in_order(Scope)}", param_hint="--scopes")
    return frozenset(map(Scope, names))


def _read_span(text: str) -> timedelta:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise typer.BadParameter("a number and m, h or d, such as 90d", param_hint="--expires-in")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _when(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""


def _state(key: ApiKey) -> str:
    if key.revoked_at:
        return f"revoked {_when(key.revoked_at)}"
    if key.expires_at is None:
        return "in force"
    return f"{'expired' if key.expires_at <= datetime.now(UTC) else 'in force until'} {_when(key.expires_at)}"


def commands() -> typer.Typer:
    """``keys`` and what is below it."""
    group = typer.Typer(help="API keys.", no_args_is_help=True)
    group.command("create")(create)
    group.command("list")(list_keys)
    group.command("revoke")(revoke)
    return group
