"""The services by which AWS gives a process its credentials, as one local server: STS, a container's host, EC2's IMDS.

They are as strict as the real ones: STS takes a valid role and token, a container's host the present token of the pod,
and EC2 answers only with a token that a PUT request has returned, and never to a request that a proxy forwards.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from tests.support.checked_s3 import Session

ROLE = "arn:aws:iam::123456789012:role/pixelflow"
INSTANCE_ROLE = "pixelflow-instance"


@dataclass
class AwsIdentity:
    """A running server. It counts the sessions that it gives."""

    folder: Path
    admit: Callable[[Session], None]
    """Is told each new session."""
    url: str = ""
    lifetime: dt.timedelta = dt.timedelta(hours=1)
    pod_token: str = "pod-token-1"
    given: list[Session] = field(default_factory=list)
    is_down: bool = False
    """Whether it answers 503."""
    imds_tokens: set[str] = field(default_factory=set)
    mistakes: list[str] = field(default_factory=list)
    """What a real service would have refused."""

    def write_token(self, token: str) -> None:
        """Replace the token of the pod, as Kubernetes does."""
        self.pod_token = token
        (self.folder / "token").write_text(f"{token}\n")

    @property
    def token_file(self) -> str:
        return str(self.folder / "token")

    def variables(self, kind: str) -> dict[str, str]:
        """The variables that AWS or Kubernetes sets for a process."""
        return {
            "web_identity": {
                "AWS_ROLE_ARN": ROLE,
                "AWS_WEB_IDENTITY_TOKEN_FILE": self.token_file,
                "AWS_ENDPOINT_URL_STS": f"{self.url}/sts",
            },
            "container": {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.url}/v1/credentials",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": self.token_file,
            },
            "instance": {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.url},
        }[kind]

    def new_session(self) -> Session:
        number = len(self.given) + 1
        ends = dt.datetime.now(dt.UTC) + self.lifetime
        session = Session(f"ASIA{number:08}", secrets.token_urlsafe(20), secrets.token_urlsafe(40) + "+/==", ends)
        self.given.append(session)
        self.admit(session)
        return session


@contextmanager
def running_identity(folder: Path, admit: Callable[[Session], None]) -> Iterator[AwsIdentity]:
    """Run the server while the context lasts; ``folder`` is for the token's file."""
    state = AwsIdentity(folder, admit)
    state.write_token(state.pod_token)

    class Handler(_Handler):
        identity = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    identity: AwsIdentity
    _numbers = itertools.count()

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        asked = {name: values[0] for name, values in form.items()}
        expected = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": ROLE,
            "WebIdentityToken": self.identity.pod_token,
        }
        if self.identity.is_down or self.path != "/sts":
            self._send(503, "")
        elif not expected.items() <= asked.items() or not asked.get("RoleSessionName"):
            self.identity.mistakes.append("sts")
            self._send(403, "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>")
        else:
            session = self.identity.new_session()
            self._send(200, _sts_response(session))

    def do_PUT(self) -> None:
        seconds = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if self.identity.is_down:
            self._send(503, "")
        elif self.path != "/latest/api/token" or not seconds.isdigit() or not 1 <= int(seconds) <= 21_600:
            self.identity.mistakes.append("token without its life")
            self._send(400, "")
        elif self.headers.get("X-Forwarded-For"):
            self._send(403, "")
        else:
            token = f"imds-{next(self._numbers)}"
            self.identity.imds_tokens.add(token)
            self._send(200, token)

    def do_GET(self) -> None:
        roles = "/latest/meta-data/iam/security-credentials/"
        if self.identity.is_down:
            self._send(503, "")
        elif self.path == "/v1/credentials":
            if self.headers.get("Authorization") != self.identity.pod_token:
                self.identity.mistakes.append("container token")
                self._send(401, "")
            else:
                self._send(200, json.dumps(_document(self.identity.new_session())))
        elif self.headers.get("X-aws-ec2-metadata-token") not in self.identity.imds_tokens:
            self.identity.mistakes.append("imds token")
            self._send(401, "")
        elif self.path == roles:
            self._send(200, INSTANCE_ROLE)
        elif self.path == roles + INSTANCE_ROLE:
            self._send(200, json.dumps({"Code": "Success", **_document(self.identity.new_session())}))
        else:
            self._send(404, "")

    def _send(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _document(session: Session) -> Mapping[str, str]:
    assert session.ends
    return {
        "AccessKeyId": session.key_id,
        "SecretAccessKey": session.secret,
        "Token": session.token,
        "Expiration": session.ends.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }


def _sts_response(session: Session) -> str:
    assert session.ends
    return f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult>
    <SubjectFromWebIdentityToken>system:serviceaccount:pixelflow:worker</SubjectFromWebIdentityToken>
    <Credentials>
      <SessionToken>{session.token}</SessionToken>
      <SecretAccessKey>{session.secret}</SecretAccessKey>
      <Expiration>{session.ends.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}</Expiration>
      <AccessKeyId>{session.key_id}</AccessKeyId>
    </Credentials>
  </AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""
