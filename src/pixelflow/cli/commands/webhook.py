"""``pixelflow webhook``: receives or forwards webhooks locally, and manages the signing secret. Must not store it."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated

import typer

from pixelflow.cli.commands import webhook_endpoints
from pixelflow.cli.credentials import find_session
from pixelflow.cli.errors import exit_on_error
from pixelflow.cli.exit_codes import ExitCode
from pixelflow.cli.forwarding import Forwarder, new_secret
from pixelflow.cli.output import echo, echo_error, printable
from pixelflow.client import Client, WebhookVerificationError, sign_webhook, verify_webhook
from pixelflow.contracts.webhooks import ID_HEADER

ADDRESS = "127.0.0.1"
MAX_BODY_BYTES = 5_000_000
_READ_SECONDS = 10

app = typer.Typer(
    help="Receive webhooks locally; manage webhook endpoints and the signing secret.",
    no_args_is_help=True,
    add_completion=False,
)
app.add_typer(webhook_endpoints.app, name="endpoints")


@app.command()
def listen(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Local port to listen on; 0 picks a free one.")] = 0,
    secret: Annotated[
        str | None,
        typer.Option(
            metavar="whsec_…",
            envvar="PIXELFLOW_WEBHOOK_SECRET",
            show_envvar=True,
            help="Secret to verify or sign with. Without it, nothing is verified. "
            "Prefer the environment variable: other users can see the command line in the process list.",
        ),
    ] = None,
    forward: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Send the events of your jobs and batches to this URL, in place of listening for them."
        ),
    ] = None,
) -> None:
    """Receive webhooks on this machine, verify their signatures and print them until Ctrl-C.

    For local testing. The service of `pixelflow up` calls this machine; others do so only if their operator allows it.
    With --forward, the service need not call this machine: the command asks the API for jobs and batches that end, and
    sends their events, signed, to the URL.
    """
    checked = _checked(secret)
    if forward is not None:
        _forward(forward, checked)
        return
    try:
        server = ThreadingHTTPServer((ADDRESS, port), _handler(checked))
    except OSError as error:
        echo_error(f"Can't listen on port {port}: {error.strerror}")
        raise typer.Exit(ExitCode.FAILED) from None
    with server:
        mode = "" if checked else "(signatures are not verified)"
        echo(f"Listening on http://{ADDRESS}:{server.server_port}/ {mode}")
        server.serve_forever()


def _forward(url: str, secret: str | None) -> None:
    used = secret or new_secret()
    with exit_on_error(), Client(session=find_session()) as client, Forwarder(client, url, used) as forwarder:
        forwarder.skip_finished()
        echo(f"Forwarding events of jobs and batches that end from now on to {url}.")
        if secret is None:
            echo(f"They are signed with the secret {used}, which is new and only for this command.")
        forwarder.run(echo)


@app.command("create-secret")
def create_secret() -> None:
    """Show your signing secret, once. Use it before your first job; later, rotate it."""
    with exit_on_error(), Client(session=find_session()) as client:
        created = client.create_webhook_secret()
    echo("Store this secret: it is not shown again.")
    print(created.secret)


@app.command("rotate-secret")
def rotate_secret() -> None:
    """Create a new signing secret and show it once. The old one stays valid for 24 hours."""
    with exit_on_error(), Client(session=find_session()) as client:
        rotated = client.rotate_webhook_secret()
    if rotated.previous_valid_until:
        echo(f"The previous secret stays valid until {rotated.previous_valid_until.isoformat()}.")
    echo("Store this secret: it is not shown again.")
    print(rotated.secret)


def _checked(secret: str | None) -> str | None:
    if not secret:
        return None
    try:
        sign_webhook(b"", "", secret)
    except WebhookVerificationError:
        echo_error(
            "The secret is not valid. It must look like whsec_…, as printed by `pixelflow webhook create-secret`."
        )
        raise typer.Exit(ExitCode.USAGE) from None
    return secret


def _handler(secret: str | None) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _READ_SECONDS

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not re.fullmatch("[0-9]{1,9}", length) or int(length) > MAX_BODY_BYTES:
                self._respond(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                return
            body = self.rfile.read(int(length))
            result = _verify(secret, body, dict(self.headers.items()))
            echo(f"{self.headers.get(ID_HEADER, 'no webhook-id')}: {result}")
            print(_format_body(body), flush=True)
            self._respond(HTTPStatus.UNAUTHORIZED if result.startswith("refused") else HTTPStatus.OK)

        def _respond(self, status: HTTPStatus) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Suppress the default access log: ``do_POST`` prints each webhook."""

    return Handler


def _verify(secret: str | None, body: bytes, headers: dict[str, str]) -> str:
    if secret is None:
        return "not verified"
    try:
        verify_webhook(body, headers, secret)
    except WebhookVerificationError as error:
        return f"refused: {error}"
    return "verified"


def _format_body(body: bytes) -> str:
    """Return JSON indented, and anything else without control characters."""
    try:
        return json.dumps(json.loads(body), indent=2)
    except ValueError:
        return printable(body.decode(errors="replace"))
