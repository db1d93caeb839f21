"""Signatures of S3 requests, compared with those of botocore."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from pixelflow.adapters.storage.signatures import EMPTY_SHA256, UNSIGNED_PAYLOAD, AccessKey, Signer

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)
AWKWARD = st.sampled_from(["a b", "a+b", "a%20b", "ä", "日本", "~x", "a&b=c", "it's", "(1)", "*", "a;b", "a//b", "…"])
PATHS = st.builds("/bucket/{}/{}".format, TEXTS | AWKWARD, TEXTS | AWKWARD)
QUERIES = st.dictionaries(
    st.sampled_from(
        ["response-content-type", "response-content-disposition", "list-type", "prefix", "X-A", "a", "a-b"]
    ),
    st.just("") | TEXTS | AWKWARD,
)
VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=30)
HEADERS = st.dictionaries(
    st.sampled_from(["Content-Type", "Content-Length", "x-amz-checksum-sha256", "Content-MD5", "If-Match", "Range"]),
    VISIBLE | st.builds("{}  {}".format, VISIBLE, VISIBLE),
)
MOMENTS = st.integers(946_684_800, 32_503_680_000).map(lambda seconds: dt.datetime.fromtimestamp(seconds, dt.UTC))
SERVERS = st.sampled_from(
    [
        "https://s3.eu-central-1.amazonaws.com",
        "https://S3.Example:443",
        "http://127.0.0.1:9000",
        "http://[::1]:9000",
        "http://minio:80",
        "https://cdn.example/storage",
    ]
)
REGIONS = st.sampled_from(["us-east-1", "eu-test-1", "auto"])


class _Clock:
    """Replaces the clock of botocore's signer."""

    def __init__(self, now: dt.datetime) -> None:
        self.now = now

    def __call__(self, *_: object, **__: object) -> dt.datetime:
        return self.now


def _request(method: str, server: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> AWSRequest:
    url = f"{server}{quote(path)}" + (f"?{urlencode(query, quote_via=quote)}" if query else "")
    return AWSRequest(method=method, url=url, headers=dict(headers))


def _signed_by_botocore(request: AWSRequest, signer: Any, now: dt.datetime) -> AWSRequest:  # noqa: ANN401 - untyped
    clock = _Clock(now)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", clock)
        signer.add_auth(request)
    return request


@given(
    method=st.sampled_from(["GET", "PUT"]),
    server=SERVERS,
    region=REGIONS,
    path=PATHS,
    query=QUERIES,
    headers=HEADERS,
    seconds=st.integers(1, 604_800),
    now=MOMENTS,
)
def test_a_presigned_url_has_the_signature_of_botocore(
    *,
    method: str,
    server: str,
    region: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str],
    seconds: int,
    now: dt.datetime,
) -> None:
    signer = Signer(server, region=region, credentials=AccessKey(KEY, SECRET))
    ours = urlsplit(signer.presign(method, path, seconds=seconds, headers=headers, query=query, now=now))
    reference = botocore.auth.S3SigV4QueryAuth(BotocoreCredentials(KEY, SECRET), "s3", region, expires=seconds)
    theirs = urlsplit(_signed_by_botocore(_request(method, server, path, query, headers), reference, now).url)
    assert ours[:3] == theirs[:3]
    assert parse_qs(ours.query, keep_blank_values=True) == parse_qs(theirs.query, keep_blank_values=True)


class _WithHash(botocore.auth.S3SigV4Auth):  # type: ignore[misc]  # botocore is untyped
    sha256 = EMPTY_SHA256

    def payload(self, _request: AWSRequest) -> str:
        return self.sha256


@given(
    method=st.sampled_from(["GET", "PUT", "HEAD", "PATCH"]),
    server=SERVERS,
    region=REGIONS,
    path=PATHS,
    query=QUERIES,
    headers=HEADERS,
    sha256=st.sampled_from([EMPTY_SHA256, UNSIGNED_PAYLOAD]),
    now=MOMENTS,
)
def test_the_headers_of_a_request_are_those_of_botocore(
    *,
    method: str,
    server: str,
    region: str,
    path: str,
    query: dict[str, str],
    headers: dict[str, str],
    sha256: str,
    now: dt.datetime,
) -> None:
    signer = Signer(server, region=region, credentials=AccessKey(KEY, SECRET))
    reference = _WithHash(BotocoreCredentials(KEY, SECRET), "s3", region)
    reference.sha256 = sha256
    theirs = _signed_by_botocore(_request(method, server, path, query, headers), reference, now)
    ours = signer.authorize(method, path, headers=headers, sha256=sha256, query=query, now=now)
    assert {name.lower(): value for name, value in ours.items()} == {
        name.lower(): value for name, value in theirs.headers.items()
    }


def test_the_example_of_the_specification() -> None:
    """From «Authenticating Requests: Using Query Parameters»; its bucket is in the host name."""
    signer = Signer(
        "https://examplebucket.s3.amazonaws.com",
        region="us-east-1",
        credentials=AccessKey("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    )
    now = dt.datetime(2013, 5, 24, tzinfo=dt.UTC)
    url = signer.presign("GET", "/test.txt", seconds=86_400, now=now)
    assert url.endswith("aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")


def test_the_secret_is_not_shown() -> None:
    assert SECRET not in repr(AccessKey(KEY, SECRET))
