"""Other image services are asked in their own words, and found among this machine's processes."""

from __future__ import annotations

import base64
import os
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from bench.figures import BenchError, Result
from bench.peers import PEERS, PeerClient, Wanted
from bench.processes import listening_pid
from bench.sections import peers
from tests.bench.image_service import running_service

SOURCE = "http://127.0.0.1:9000/pixelflow/uploads/photo-1/source?X-Amz-Signature=a%2Fb&X-Amz-Expires=3600"
QUOTED = (
    "http%3A%2F%2F127.0.0.1%3A9000%2Fpixelflow%2Fuploads%2Fphoto-1%2Fsource"
    "%3FX-Amz-Signature%3Da%252Fb%26X-Amz-Expires%3D3600"
)
ENCODED = base64.urlsafe_b64encode(SOURCE.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("name", "wanted", "path"),
    [
        ("imgproxy", Wanted(640, "jpeg", 80), f"/insecure/rs:fit:640:0/q:80/{ENCODED}.jpg"),
        ("imgproxy", Wanted(640, "avif", 50), f"/insecure/rs:fit:640:0/q:50/{ENCODED}.avif"),
        ("imagor", Wanted(320, "webp", 80), f"/unsafe/fit-in/320x0/filters:format(webp):quality(80)/{QUOTED}"),
        ("thumbor", Wanted(640, "jpeg", 80), f"/unsafe/640x0/filters:format(jpeg):quality(80)/{QUOTED}"),
    ],
)
def test_each_service_is_asked_in_its_own_form(name: str, wanted: Wanted, path: str) -> None:
    assert PEERS[name](SOURCE, wanted) == path


def test_a_service_that_fails_or_is_not_there_fails_the_run() -> None:
    with running_service() as url, PeerClient("thumbor", url) as client, pytest.raises(BenchError, match="404"):
        client.get(SOURCE, Wanted(640, "jpeg", 80))
    with PeerClient("imgproxy", url) as client, pytest.raises(BenchError, match="could not be reached"):
        client.get(SOURCE, Wanted(640, "jpeg", 80))


def test_a_connection_that_the_service_closed_while_idle_is_opened_again() -> None:
    def answer_once_per_connection(server: socket.socket) -> None:
        for _ in range(2):
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nJPEG")

    with socket.create_server(("127.0.0.1", 0)) as server:
        serving = threading.Thread(target=answer_once_per_connection, args=[server])
        serving.start()
        with PeerClient("imgproxy", f"http://127.0.0.1:{server.getsockname()[1]}") as client:
            assert [client.get(SOURCE, Wanted(640, "jpeg", 80)) for _ in range(2)] == [b"JPEG", b"JPEG"]
        serving.join()


@dataclass(frozen=True)
class OnlyJpeg:
    title: str = "old service"

    def output(self, case: str, photo: int) -> bytes:
        if case != "jpeg_640":
            raise BenchError("old service answered 422")
        return bytes(photo)

    def alone(self, case: str, photo: int) -> float:
        raise NotImplementedError

    def pairs(self, case: str, photos: Sequence[int]) -> tuple[float, float | None]:
        raise NotImplementedError


def test_a_service_that_lacks_a_format_is_noted_and_left_out_there() -> None:
    result = Result("peers")
    assert peers._able(result, {"old": OnlyJpeg()}, "jpeg_640")
    assert result.about == []
    assert peers._able(result, {"old": OnlyJpeg()}, "avif_640") == {}
    assert "old service is not measured, because old service answered 422" in result.about[0]


def test_the_process_that_listens_on_a_port_is_found() -> None:
    with running_service() as url:
        port = urlsplit(url).port
        assert port
        assert listening_pid(port) == os.getpid()
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    assert listening_pid(free) is None
