"""``pixelflow webhook``: get the secret that webhooks are signed with, and try out how they arrive."""

from __future__ import annotations

from typing import Annotated

import typer


def listen(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="To listen on, on this machine; 0 takes a free one.")] = 0,
    secret: Annotated[
        str | None,
        typer.Option(
            metavar="whsec_…",
            envvar="PIXELFLOW_WEBHOOK_SECRET",
            show_envvar=True,
            help="To verify with; without it nothing is verified. The environment keeps it out of the process list.",
        ),
    ] = None,
) -> None:
    """Receive webhooks, verify and show them, until Ctrl-C. For trying things out.

    PixelFlow calls this machine only if it is told that it may: PIXELFLOW_WEBHOOK_ALLOW_CIDRS=127.0.0.0/8 and
    PIXELFLOW_WEBHOOK_ALLOW_HTTP=true in the environment of `pixelflow up`.
    """
    from pixelflow.cli import webhook_listener  # noqa: PLC0415 - see the package's docstring

    webhook_listener.run(port, secret)


def rotate() -> None:
    """Get a new secret and show it, once; the one before it signs beside it for 24 hours."""
    from pixelflow.cli import webhook_listener  # noqa: PLC0415 - see the package's docstring

    webhook_listener.rotate()


def commands() -> typer.Typer:
    """``webhook`` and what is below it."""
    group = typer.Typer(help="Receive webhooks on this machine; their secret.", no_args_is_help=True)
    group.command("listen")(listen)
    group.command("rotate-secret")(rotate)
    return group
