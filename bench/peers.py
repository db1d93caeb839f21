"""Image services that run elsewhere and are compared by address: how each is asked for a picture.

All of them fetch the source by its URL. They must accept unsigned requests (``/unsafe``, ``/insecure``) and sources on
loopback.
"""

from __future__ import annotations

import base64
import http.client
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, urlsplit

from bench.figures import BenchError

_SECONDS = 60
_EXTENSIONS = {"jpeg": "jpg"}


@dataclass(frozen=True)
class Wanted:
    """A picture to be made: scaled down to a width."""

    width: int
    format: str
    """``jpeg``, ``webp`` or ``avif``."""
    quality: int


def imgproxy_path(source: str, wanted: Wanted) -> str:
    """https://docs.imgproxy.net/usage/processing: options, then the source in URL-safe base64."""
    encoded = base64.urlsafe_b64encode(source.encode()).decode().rstrip("=")
    extension = _EXTENSIONS.get(wanted.format, wanted.format)
    return f"/insecure/rs:fit:{wanted.width}:0/q:{wanted.quality}/{encoded}.{extension}"


def imagor_path(source: str, wanted: Wanted) -> str:
    """https://github.com/cshum/imagor#image-endpoint: fit-in never enlarges; height 0 keeps the aspect."""
    filters = f"filters:format({wanted.format}):quality({wanted.quality})"
    return f"/unsafe/fit-in/{wanted.width}x0/{filters}/{quote(source, safe='')}"


def thumbor_path(source: str, wanted: Wanted) -> str:
    """https://thumbor.readthedocs.io/en/latest/usage.html: height 0 keeps the aspect."""
    filters = f"filters:format({wanted.format}):quality({wanted.quality})"
    return f"/unsafe/{wanted.width}x0/{filters}/{quote(source, safe='')}"


PEERS: dict[str, Callable[[str, Wanted], str]] = {
    "imgproxy": imgproxy_path,
    "imagor": imagor_path,
    "thumbor": thumbor_path,
}
"""Name → function from a source and a picture to the path of the request."""


class PeerClient:
    """A persistent connection to a service."""

    def __init__(self, name: str, url: str) -> None:
        self._name = name
        self._path_of = PEERS[name]
        place = urlsplit(url)
        self._prefix = place.path.rstrip("/")
        self._connection = http.client.HTTPConnection(place.netloc, timeout=_SECONDS)

    def get(self, source: str, wanted: Wanted) -> bytes:
        """Return the picture.

        Raises:
            BenchError: the service can't be reached, or did not return a picture.
        """
        path = self._prefix + self._path_of(source, wanted)
        headers = {"Accept": f"image/{wanted.format}"}
        try:
            try:
                status, body = self._exchange(path, headers)
            except ConnectionError:  # the service has closed a connection that was idle
                self._connection.close()
                status, body = self._exchange(path, headers)
        except (OSError, http.client.HTTPException) as error:
            raise BenchError(f"{self._name} could not be reached: {error}") from error
        if status != http.client.OK:
            raise BenchError(f"{self._name} answered {status}: {body[:200]!r}")
        return body

    def _exchange(self, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        self._connection.request("GET", path, headers=headers)
        response = self._connection.getresponse()
        return response.status, response.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def get_all(name: str, url: str, requests: list[tuple[str, Wanted]], *, connections: int) -> None:
    """Request all pictures over some concurrent connections.

    Raises:
        BenchError: as :meth:`PeerClient.get`.
    """
    left = iter(requests)  # next() of a list's iterator is atomic

    def work(_: int) -> None:
        with PeerClient(name, url) as client:
            for source, wanted in left:
                client.get(source, wanted)

    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(work, range(connections)))
