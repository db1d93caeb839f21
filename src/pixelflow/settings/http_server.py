"""Settings of the API: its HTTP server, and the URLs that it signs."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from pixelflow.settings.field_types import Networks
from pixelflow.settings.sources import SourceSettings

_UrlSeconds: TypeAlias = Annotated[int, Field(ge=1, le=604_800)]


class HttpServerSettings(SourceSettings):
    """Settings of the API, and those of sources by URL."""

    api_host: Annotated[str, Field(description="Address that the API listens on")] = "127.0.0.1"
    api_port: Annotated[int, Field(ge=1, le=65535, description="Port that the API listens on")] = 8080
    api_socket: Annotated[
        int | None,
        Field(
            ge=3,
            description="File descriptor of an inherited, listening socket; replaces the address and the port. "
            "Clients of a Unix socket are trusted as proxies",
        ),
    ] = None
    api_max_connections: Annotated[
        int,
        Field(
            ge=10,
            le=100_000,
            description="Open connections of an API process. At the limit, a new connection takes the place of the "
            "oldest idle one. Each needs a file descriptor, and some 20 KB while idle",
        ),
    ] = 1000
    api_max_connections_per_client: Annotated[
        int,
        Field(
            ge=1,
            description="Open connections from one IPv4 address or IPv6 /64 network, except trusted proxies",
        ),
    ] = 250
    api_header_seconds: Annotated[
        float, Field(gt=0, le=3600, description="Seconds in which the headers of a request must arrive")
    ] = 10
    api_body_seconds: Annotated[
        float, Field(gt=0, le=3600, description="Seconds in which the body of a request must arrive")
    ] = 20
    api_keep_alive_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="Seconds until an idle connection is closed. Must exceed the idle timeout of a proxy in front, "
            "or the proxy may send a request on a connection that closes, and answer 502; most wait 60 seconds",
        ),
    ] = 75
    api_max_streams: Annotated[
        int,
        Field(
            ge=1,
            le=100_000,
            description="Event streams and requests with `wait` that an API process serves at once. Their connections "
            "give way to new ones, like idle ones",
        ),
    ] = 500
    api_max_streams_per_user: Annotated[
        int,
        Field(
            ge=1,
            description="Event streams and requests with `wait` of one user that an API process serves at once; "
            "never more than a fifth of the places that other users leave free",
        ),
    ] = 100
    api_stream_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=86_400,
            description="Seconds that an event stream lasts at most. Clients connect again and miss nothing",
        ),
    ] = 900
    upload_length: Annotated[
        Literal["required", "optional"],
        Field(
            description="Whether a job with an upload must declare `source.content_length`. Without it, object storage "
            "accepts an upload of any size. The default of `pixelflow up` is `optional`"
        ),
    ] = "required"
    upload_url_seconds: Annotated[_UrlSeconds, Field(description="Seconds that an upload URL is valid")] = 3600
    download_url_seconds: Annotated[_UrlSeconds, Field(description="Seconds that a download URL is valid")] = 3600
    trusted_proxies: Annotated[
        Networks,
        Field(
            description="Networks of proxies whose `X-Forwarded-For` header is trusted, separated by commas, such as "
            "10.0.0.0/8. Clients of a Unix socket are trusted, too. Default: none"
        ),
    ] = ()
