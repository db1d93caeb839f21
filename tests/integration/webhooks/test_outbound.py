"""Allowed requests, over real sockets and real TLS."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.ports import free_port
from tests.support.waiting import assert_within
from tests.support.webhook_receiver import Reply, receiving

from pixelflow.adapters.outbound_http import HttpResponse, OutboundHttp, OutboundRule
from pixelflow.adapters.outbound_http.addresses import Address
from pixelflow.errors import TargetRefusedError, TargetTimeoutError, TargetUnreachableError

RULE = OutboundRule(networks=(ip_network("127.0.0.0/8"),), allow_http=True)


class Names:
    """A resolver with given answers, one after the other; the last one repeats."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, _: str) -> Sequence[Address]:
        self.asked += 1
        return [ip_address(address) for address in self.answers[min(self.asked, len(self.answers)) - 1]]


async def call(
    url: str,
    *,
    names: Names | None = None,
    tls: ssl.SSLContext | None = None,
    timeout: float = 5,  # noqa: ASYNC109  # of the request under test
    rule: OutboundRule = RULE,
) -> HttpResponse:
    with closing(OutboundHttp(rule, resolve=names, tls=tls)) as http:
        return await http.request(
            "POST", url, headers={"X-Own": "1"}, content=b'{"a":1}', timeout=timeout, max_bytes=100
        )


async def test_a_receiver_in_an_allowed_network_gets_the_request() -> None:
    with receiving(Reply(202, {"X-Said": "yes"}, b"thanks")) as receiver:
        answer = await call(receiver.url + "?a=b")
    [received] = receiver.received
    assert (answer.status, answer.content, answer.headers["x-said"], answer.truncated) == (202, b"thanks", "yes", False)
    assert (received.path, received.body, received.headers["x-own"]) == ("/hook?a=b", b'{"a":1}', "1")
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"


async def test_the_address_that_was_checked_is_the_one_that_is_connected_to() -> None:
    """DNS rebinding needs two lookups; there is only one."""
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    with receiving() as receiver:
        answer = await call(f"http://client.example:{receiver.port}/", names=names)
        with pytest.raises(TargetRefusedError):
            await call(f"http://client.example:{receiver.port}/", names=names)
    assert (answer.status, names.asked, len(receiver.received)) == (200, 2, 1)
    assert receiver.received[0].headers["host"] == f"client.example:{receiver.port}"


async def test_localhost_is_resolved_and_refused_unless_allowed() -> None:
    with receiving() as receiver:
        assert (await call(f"http://localhost:{receiver.port}/")).status == 200
        with pytest.raises(TargetRefusedError):
            await call(f"http://localhost:{receiver.port}/", rule=OutboundRule(allow_http=True))
    assert len(receiver.received) == 1


async def test_the_next_address_is_tried_if_one_does_not_answer() -> None:
    with receiving(address="127.0.0.5") as receiver:
        answer = await call(f"http://client.example:{receiver.port}/", names=Names(["127.0.0.6", "127.0.0.5"]))
    assert answer.status == 200


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as proxy, receiving() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        await call(receiver.url)
    assert (len(proxy.received), len(receiver.received)) == (0, 1)


async def test_a_response_is_read_up_to_the_limit() -> None:
    with receiving(Reply(body=b"x" * 10_000_000)) as receiver:
        answer = await call(receiver.url)
    assert (answer.content, answer.truncated) == (b"x" * 100, True)


async def test_no_response_is_a_timeout() -> None:
    with receiving(Reply(hangs=True)) as receiver, pytest.raises(TargetTimeoutError):
        await call(receiver.url, timeout=0.2)


@pytest.mark.parametrize(
    "drip",
    [b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"],
    ids=["headers", "body"],
)
async def test_a_slow_response_is_aborted_at_the_timeout(drip: bytes) -> None:
    with _speaking(lambda peer: _drip(peer, drip)) as port:
        started = time.monotonic()
        with pytest.raises(TargetTimeoutError):
            await call(f"http://127.0.0.1:{port}/", timeout=0.4)
    assert_within(2, started)


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.9\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"])
async def test_a_response_that_is_not_http_is_unreachable(said: bytes) -> None:
    with _speaking(lambda peer: peer.sendall(said)) as port, pytest.raises(TargetUnreachableError):
        await call(f"http://127.0.0.1:{port}/")


CLOSED = "(closed|reset) the connection before it sent a complete response"
ALERT = bytes([0x15, 3, 1, 0, 2, 2, 70])


@pytest.mark.parametrize(
    ("scheme", "said", "reason"),
    [
        ("http", b"", CLOSED),
        ("http", b"HTTP/1.1 200 OK", CLOSED),
        ("http", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", CLOSED),
        ("http", b"HTTP/1.1 two hundred\r\n\r\n", "not valid HTTP/1.1"),
        ("http", None, "reset the connection before it sent a complete response"),
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS on this port"),
        ("https", ALERT, r"TLS handshake with the server failed \(TLSV1_ALERT_PROTOCOL_VERSION\)"),
        ("https", b"", "closed the connection during the TLS handshake"),
        ("https", None, "closed the connection during the TLS handshake"),
    ],
)
async def test_the_error_says_what_the_server_did(scheme: str, said: bytes | None, reason: str) -> None:
    def speak(peer: socket.socket) -> None:
        if said is None:  # close without the usual farewell
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            peer.sendall(said)

    with _speaking(speak) as port, pytest.raises(TargetUnreachableError, match=reason):
        await call(f"{scheme}://127.0.0.1:{port}/")


async def test_endless_headers_are_unreachable() -> None:
    flood = b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 1_000_000
    with _speaking(lambda peer: peer.sendall(flood)) as port, pytest.raises(TargetUnreachableError):
        await call(f"http://127.0.0.1:{port}/")


async def test_a_closed_port_is_unreachable() -> None:
    with pytest.raises(TargetUnreachableError, match="refused the connection: nothing listens on the port"):
        await call(f"http://127.0.0.1:{free_port()}/")


class TestTls:
    """Certificates are verified against the name in the URL, not against the address."""

    async def test_a_trusted_certificate_of_that_name_is_accepted(self, authority: Authority) -> None:
        with receiving(tls=authority.server("client.example")) as receiver:
            url = f"https://client.example:{receiver.port}/"
            answer = await call(url, names=Names(["127.0.0.1"]), tls=authority.client)
        assert answer.status == 200

    async def test_another_name_is_not(self, authority: Authority) -> None:
        with receiving(tls=authority.server("other.example")) as receiver:
            url = f"https://client.example:{receiver.port}/"
            with pytest.raises(TargetUnreachableError, match="certificate"):
                await call(url, names=Names(["127.0.0.1"]), tls=authority.client)
        assert receiver.received == []

    async def test_an_unknown_authority_is_not(self, authority: Authority) -> None:
        with receiving(tls=authority.server("client.example")) as receiver:
            url = f"https://client.example:{receiver.port}/"
            with pytest.raises(TargetUnreachableError, match="certificate"):
                await call(url, names=Names(["127.0.0.1"]))
        assert receiver.received == []

    async def test_a_server_without_tls_is_unreachable(self) -> None:
        with receiving() as receiver, pytest.raises(TargetUnreachableError):
            await call(f"https://127.0.0.1:{receiver.port}/")


class Authority:
    """A certificate authority for one test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
        self._certificate = self._signed("test authority", self._key, is_authority=True)
        pem = self._certificate.public_bytes(serialization.Encoding.PEM).decode()
        self.client = ssl.create_default_context(cadata=pem)

    def server(self, name: str) -> ssl.SSLContext:
        """The TLS context of a server with this name."""
        key = ec.generate_private_key(ec.SECP256R1())
        path = self._folder / f"{name}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        certificate = self._signed(name, key, is_authority=False)
        path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _signed(self, name: str, key: ec.EllipticCurvePrivateKey, *, is_authority: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self._name if is_authority else x509.Name([]))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name.replace(" ", "-"))]), critical=True)
        )
        return builder.sign(self._key, hashes.SHA256())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class _speaking:  # noqa: N801  # a context manager
    """A TCP server that sends something to one client."""

    def __init__(self, speak: Callable[[socket.socket], None]) -> None:
        self._speak = speak
        self._server = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> int:
        self._thread.start()
        port: int = self._server.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._thread.join(5)

    def _run(self) -> None:
        peer, _ = self._server.accept()
        with peer:
            try:
                peer.recv(65_536)
                self._speak(peer)
            except OSError:  # the caller had enough
                return


def _drip(peer: socket.socket, beginning: bytes) -> None:
    peer.sendall(beginning)
    for _ in range(100):
        time.sleep(0.05)  # the pace of a slow server, not a wait for something
        peer.sendall(b"a")
