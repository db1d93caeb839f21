"""What ``pixelflow keys`` does, on the database itself. Shows a key once, on stdout, and keeps it nowhere."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer

from pixelflow.cli.output import cell, say, show, show_json, table
from pixelflow.cli.service import operating_on_database
from pixelflow.contracts.keys import DEFAULT_SCOPES, ApiKey, Scope
from pixelflow.controlplane.keys import admin

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_SPAN = re.compile(r"([1-9][0-9]{0,4})([mhd])")


def create(user: str, name: str, scopes: str | None, expires_in: str | None, rate_limit: int | None) -> None:
    """Make a key and show it."""
    wanted, span = _read_scopes(scopes) if scopes is not None else DEFAULT_SCOPES, _read_span(expires_in)
    with operating_on_database() as url:
        key = admin.issue_key(
            url,
            user_id=user,
            name=name,
            scopes=wanted,
            expires_at=datetime.now(UTC) + span if span else None,
            rate_limit=rate_limit,
        )
    say("Keep this key: only its hash is stored, and it is not shown again.")
    print(key)


def list_all(user: str, *, as_json: bool) -> None:
    """Show a user's keys."""
    with operating_on_database() as url:
        found = admin.list_keys(url, user_id=user)
    if as_json:
        show_json([key.model_dump(mode="json") for key in found])
        return
    rows = table("Key", "Name", "Scopes", "Limit", "Created", "Last use", "State")
    for key in found:
        limit = "" if key.rate_limit is None else str(key.rate_limit)
        dates = _when(key.created_at), _when(key.last_used_at)
        rows.add_row(*map(cell, (key.key_id, key.name, " ".join(key.scopes), limit, *dates, _state(key))))
    show(rows)


def revoke(key_id: str) -> None:
    """End a key."""
    with operating_on_database() as url:
        user = admin.revoke_key(url, key_id=key_id)
    say(f"Revoked {key_id} of {user}.")


def _read_scopes(text: str) -> frozenset[Scope]:
    names = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [name for name in names if name not in set(Scope)]
    if unknown or not names:
        raise typer.BadParameter(
            f"{', '.join(unknown) or 'nothing'} is none of {', '.join(Scope)}", param_hint="--scopes"
        )
    return frozenset(map(Scope, names))


def _read_span(text: str | None) -> timedelta | None:
    if text is None:
        return None
    found = _SPAN.fullmatch(text)
    if found is None:
        raise typer.BadParameter("must be a number and m, h or d, such as 90d", param_hint="--expires-in")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _when(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""


def _state(key: ApiKey) -> str:
    if key.revoked_at:
        return f"revoked {_when(key.revoked_at)}"
    if key.expires_at is None:
        return "in force"
    return f"{'expired' if key.expires_at <= datetime.now(UTC) else 'in force until'} {_when(key.expires_at)}"
