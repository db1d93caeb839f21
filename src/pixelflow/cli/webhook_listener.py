"""What ``pixelflow webhook`` does. Shows a secret once, on stdout, and keeps it nowhere."""

from __future__ import annotations

import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import typer
from standardwebhooks import Webhook, WebhookVerificationError
from standardwebhooks.webhooks import EmptyWebhookSecretError

from pixelflow.cli.credentials import find_session
from pixelflow.cli.exit_codes import ExitCode
from pixelflow.cli.failures import reported
from pixelflow.cli.output import complain, plain, say
from pixelflow.client import Client
from pixelflow.contracts.webhooks import ID_HEADER

ADDRESS = "127.0.0.1"
MAX_BODY = 5_000_000
_READ_SECONDS = 10


def rotate() -> None:
    """Get a new secret and show it."""
    with reported(), Client(session=find_session()) as client:
        rotated = client.rotate_webhook_secret()
    if rotated.previous_valid_until:
        say(f"The one before it signs beside it until {rotated.previous_valid_until.isoformat()}.")
    say("Keep this secret: it is not shown again.")
    print(rotated.secret)


def run(port: int, secret: str | None) -> None:
    """Listen until Ctrl-C."""
    webhook = _verifier(secret)
    try:
        server = ThreadingHTTPServer((ADDRESS, port), _handler(webhook))
    except OSError as error:
        complain(f"Can't listen on port {port}: {error.strerror}")
        raise typer.Exit(ExitCode.FAILED) from None
    with server:
        say(f"Listening on http://{ADDRESS}:{server.server_port}/ " + ("" if webhook else "(verifying nothing)"))
        server.serve_forever()


def _verifier(secret: str | None) -> Webhook | None:
    if not secret:
        return None
    try:
        return Webhook(secret)
    except (ValueError, EmptyWebhookSecretError):
        complain("The secret is none: it looks like whsec_…, as `pixelflow webhook rotate-secret` shows it")
        raise typer.Exit(ExitCode.USAGE) from None


def _handler(webhook: Webhook | None) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _READ_SECONDS

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > MAX_BODY:
                self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                return
            body = self.rfile.read(int(length))
            verdict = _verdict(webhook, body, dict(self.headers.items()))
            say(f"{self.headers.get(ID_HEADER, 'no id')}: {verdict}")
            print(_shown(body), flush=True)
            self._answer(HTTPStatus.UNAUTHORIZED if verdict.startswith("refused") else HTTPStatus.OK)

        def _answer(self, status: HTTPStatus) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Said above."""

    return Handler


def _verdict(webhook: Webhook | None, body: bytes, headers: dict[str, str]) -> str:
    if webhook is None:
        return "not verified"
    try:
        webhook.verify(body, headers)
    except (WebhookVerificationError, ValueError) as error:
        return f"refused: {error}"
    return "verified"


def _shown(body: bytes) -> str:
    """The body as it is to be read: JSON set out, anything else made harmless to the terminal."""
    try:
        return json.dumps(json.loads(body), indent=2)
    except ValueError:
        return plain(body.decode(errors="replace"))
