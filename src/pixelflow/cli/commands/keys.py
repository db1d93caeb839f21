"""``pixelflow keys``: creates, lists and revokes API keys in the database. Must show a key only once, on stdout."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from pixelflow.cli.output import cell, echo, format_time, print_json, print_table, table
from pixelflow.cli.server_settings import load_database_url
from pixelflow.contracts.keys import DEFAULT_SCOPES, ApiKey, Scope
from pixelflow.controlplane.keys import admin

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"([1-9][0-9]{0,4})([mhd])")

User = Annotated[
    str, typer.Option(metavar="USER", help="Owner of the key: a name of your choice, or the user ID in their tokens.")
]

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True, add_completion=False)


@app.command()
def create(
    *,
    user: User,
    name: Annotated[str, typer.Option(metavar="NAME", help="Label that distinguishes the user's keys.")] = "cli",
    scopes: Annotated[
        str | None,
        typer.Option(metavar="SCOPE,…", help=f"Scopes of the key: {', '.join(Scope)}. Default: all but admin."),
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Lifetime, such as 90d, 12h or 30m. Default: unlimited.")
    ] = None,
    rate_limit: Annotated[
        int | None,
        typer.Option(
            metavar="REQUESTS",
            min=1,
            max=1_000_000,
            help="Rate limit for this key alone: requests of each class (create, start, other) per "
            "PIXELFLOW_RATE_LIMIT_WINDOW_SECONDS. Default: the key shares the limit of the user's other keys.",
        ),
    ] = None,
) -> None:
    """Create an API key and show it once.

    Uses the database of PIXELFLOW_DATABASE_URL or, if that is not set, of the `pixelflow up` running on this machine.
    """
    key_scopes = _parse_scopes(scopes) if scopes is not None else DEFAULT_SCOPES
    lifetime = _parse_duration(expires_in)
    with load_database_url() as url:
        key = admin.issue_key(
            url,
            user_id=user,
            name=name,
            scopes=key_scopes,
            expires_at=datetime.now(UTC) + lifetime if lifetime else None,
            rate_limit=rate_limit,
        )
    echo("Store this key: only its hash is saved, and it is not shown again.")
    print(key)


@app.command("list")
def list_(
    *, user: User, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")] = False
) -> None:
    """List a user's API keys: active keys first, then newest first."""
    with load_database_url() as url:
        keys = admin.list_keys(url, user_id=user)
    if as_json:
        print_json([key.model_dump(mode="json") for key in keys])
        return
    rows = table("Key", "Name", "Scopes", "Limit", "Created", "Last used", "Status")
    for key in keys:
        limit = "" if key.rate_limit is None else str(key.rate_limit)
        times = format_time(key.created_at), format_time(key.last_used_at) if key.last_used_at else ""
        rows.add_row(*map(cell, (key.key_id, key.name, " ".join(key.scopes), limit, *times, _status(key))))
    print_table(rows)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="The part of the key between pf_ and the secret.")],
) -> None:
    """Revoke an API key of any user, effective immediately."""
    with load_database_url() as url:
        user = admin.revoke_key(url, key_id=key_id)
    echo(f"Revoked {key_id} of {user}.")


def _parse_scopes(text: str) -> frozenset[Scope]:
    names = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [name for name in names if name not in set(Scope)]
    if unknown:
        raise typer.BadParameter(
            f"unknown scope {', '.join(unknown)}; use one or more of {', '.join(Scope)}", param_hint="--scopes"
        )
    if not names:
        raise typer.BadParameter(f"must name one or more of {', '.join(Scope)}", param_hint="--scopes")
    return frozenset(map(Scope, names))


def _parse_duration(text: str | None) -> timedelta | None:
    if text is None:
        return None
    found = _DURATION.fullmatch(text)
    if found is None:
        raise typer.BadParameter("must be a number followed by m, h or d, such as 90d", param_hint="--expires-in")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _status(key: ApiKey) -> str:
    if key.revoked_at:
        return f"revoked {format_time(key.revoked_at)}"
    if key.expires_at is None:
        return "active"
    return f"{'expired' if key.expires_at <= datetime.now(UTC) else 'active until'} {format_time(key.expires_at)}"
