"""An S3 server in memory that checks each request as AWS does, which no server that can be installed here does in full.

It refuses a signature that botocore would not make, a session token that is missing, of another session or ended, and
objects that are not encrypted as the bucket demands. It addresses buckets by the host or by the path, never by both. It
records what it was asked, by the names that IAM policies use.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

REGION = "eu-test-1"
BUCKET = "team-bucket"
FORMAT = "%Y%m%dT%H%M%SZ"
MIN_PART_BYTES = 5 * 1024 * 1024
_ECHOED = ("content-type", "cache-control", "x-amz-server-side-encryption", "x-amz-meta-pixelflow-job")
_ENCRYPTION = ("x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id")


@dataclass(frozen=True)
class Session:
    """An access key that the server knows."""

    key_id: str
    secret: str
    token: str = ""
    ends: dt.datetime | None = None


@dataclass
class MultipartUpload:
    """An upload in parts."""

    key: str
    headers: dict[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class CheckedS3:
    """A running server with one bucket."""

    url: str = ""
    sessions: dict[str, Session] = field(default_factory=dict)
    objects: dict[str, tuple[bytes, dict[str, str]]] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    """Of objects that were stored with one."""
    uploads: dict[str, MultipartUpload] = field(default_factory=dict)
    """Unfinished uploads in parts, by their IDs."""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    """Access key ID, action of IAM, and key or prefix of a list, of each request that a policy had to allow."""
    public_prefix: str | None = None
    """What everybody may read, without a signature."""
    is_away: bool = False
    """Whether it answers 503."""
    policies: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Statements of IAM policies by access key ID. One without policies may do everything."""
    refusals: list[str] = field(default_factory=list)
    is_virtual: bool = False
    """Whether the bucket is addressed by the host, and only by it; else by the path, and only by it."""
    is_google: bool = False
    """Whether it deviates from S3 as the XML API of Google Cloud Storage does."""
    encryption: dict[str, str] = field(default_factory=dict)
    """Headers that each PUT must have."""

    def admit(self, session: Session) -> None:
        self.sessions[session.key_id] = session

    def allows(self, key_id: str, action: str, resource: str) -> bool:
        """Whether a statement allows an action on a resource, whose name may end with a wildcard."""
        return key_id not in self.policies or any(
            action in _listed(each["Action"]) and any(fnmatchcase(resource, name) for name in _listed(each["Resource"]))
            for each in self.policies[key_id]
            if each["Effect"] == "Allow"
        )

    def require(self, key_id: str, action: str, name: str) -> None:
        """Record a request, and refuse it unless a policy allows it."""
        self.requests.append((key_id, action, name))
        bucket = f"arn:aws:s3:::{self.settings['bucket']}"
        if not self.allows(key_id, action, bucket if action == "s3:ListBucket" else f"{bucket}/{name}"):
            raise _RefusedError(403, "AccessDenied")

    @property
    def settings(self) -> dict[str, str]:
        """Address, bucket and region, by the names of settings without their prefix.

        A bucket with a host of its own is named 127, at the server 0.0.1: the host is a name that needs no DNS.
        """
        style = "virtual" if self.is_virtual else "path"
        endpoint = self.url.replace("//127.", "//") if self.is_virtual else self.url
        bucket = "127" if self.is_virtual else BUCKET
        return {"endpoint_url": endpoint, "bucket": bucket, "region": REGION, "addressing": style}


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'  # noqa: S324  # as S3


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


class _RefusedError(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class _WithHash(S3SigV4Auth):  # type: ignore[misc]  # botocore is untyped
    """Computes the signature of a request that arrived."""

    sha256 = ""

    def payload(self, _request: AWSRequest) -> str:
        return self.sha256


def _expected(session: Session, request: AWSRequest, moment: str, sha256: str) -> tuple[str, str]:
    signer = _WithHash(Credentials(session.key_id, session.secret), "s3", REGION)
    signer.sha256 = sha256
    request.context["timestamp"] = moment
    canonical = signer.canonical_request(request)
    signature: str = signer.signature(signer.string_to_sign(request, canonical), request)
    return signature, canonical


def _check(server: CheckedS3, method: str, target: str, headers: Mapping[str, str]) -> str:
    """Check signature, time and session; returns the access key ID. Headers have lower-case names."""
    parts = urlsplit(target)
    query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    is_url = "X-Amz-Signature" in query
    if is_url:
        fields, moment, token = query, query["X-Amz-Date"], query.get("X-Amz-Security-Token", "")
        names, given, sha256 = query["X-Amz-SignedHeaders"], query["X-Amz-Signature"], "UNSIGNED-PAYLOAD"
        credential, seconds = fields["X-Amz-Credential"], int(fields["X-Amz-Expires"])
    else:
        algorithm, _, rest = headers.get("authorization", "").partition(" ")
        fields = dict(each.strip().split("=", 1) for each in rest.split(",")) if algorithm else {}
        if algorithm != "AWS4-HMAC-SHA256":
            raise _RefusedError(403, "AccessDenied")
        moment, token = headers["x-amz-date"], headers.get("x-amz-security-token", "")
        names, given, sha256 = fields["SignedHeaders"], fields["Signature"], headers["x-amz-content-sha256"]
        credential, seconds = fields["Credential"], 900
    key_id, _, scope = credential.partition("/")
    session = server.sessions.get(key_id)
    if session is None:
        raise _RefusedError(403, "InvalidAccessKeyId")
    if token != session.token:
        raise _RefusedError(400, "InvalidToken")
    _check_times(moment, seconds, session)
    signed = names.split(";")
    required = {"host", *(name for name in headers if name.startswith("x-amz-") and not is_url)}
    if not required <= set(signed) or scope != f"{moment[:8]}/{REGION}/s3/aws4_request":
        raise _RefusedError(403, "SignatureDoesNotMatch")
    request = AWSRequest(
        method=method,
        url=f"http://{headers['host']}{parts.path}?"
        + "&".join(each for each in parts.query.split("&") if each and not each.startswith("X-Amz-Signature=")),
        headers={name: headers.get(name, "") for name in signed},
    )
    if _expected(session, request, moment, sha256)[0] != given:
        raise _RefusedError(403, "SignatureDoesNotMatch")
    return key_id


def _check_times(moment: str, seconds: int, session: Session) -> None:
    now, signed_at = dt.datetime.now(dt.UTC), dt.datetime.strptime(moment, FORMAT).replace(tzinfo=dt.UTC)
    if not signed_at - dt.timedelta(minutes=15) <= now <= signed_at + dt.timedelta(seconds=seconds):
        raise _RefusedError(403, "AccessDenied")
    if session.ends is not None and now >= session.ends:
        raise _RefusedError(400, "ExpiredToken")


def _check_content(headers: Mapping[str, str], body: bytes) -> None:
    sha256 = headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
    if sha256 not in {"UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()}:
        raise _RefusedError(400, "XAmzContentSHA256Mismatch")


@contextmanager
def running_s3() -> Iterator[CheckedS3]:
    """Run the server while the context lasts."""
    state = CheckedS3()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
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


def _handler(state: CheckedS3) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        server_state = state

    return Handler


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: CheckedS3

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def _serve(self) -> None:
        state = self.server_state
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        try:
            key_id = self._who(headers)
            _check_content(headers, body)
            self._answer(*self._result(key_id, headers, body))
        except _RefusedError as refused:
            state.refusals.append(refused.code)
            self._answer(refused.status, f"<Error><Code>{refused.code}</Code></Error>".encode(), {})
        except Exception as error:  # noqa: BLE001  # shown by the test
            state.refusals.append(f"{type(error).__name__}: {error}")
            self._answer(500, b"", {})

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve  # noqa: N815  # names of the library

    def _who(self, headers: Mapping[str, str]) -> str:
        """The access key ID; empty: anybody, who may read public objects."""
        state, parts = self.server_state, urlsplit(self.path)
        if state.is_away:
            raise _RefusedError(503, "SlowDown")
        is_signed = "authorization" in headers or parts.query
        if state.public_prefix is not None and not is_signed and self.command in {"GET", "HEAD"}:
            if self._key(parts.path, headers["host"]).startswith(state.public_prefix):
                return ""
            raise _RefusedError(403, "AccessDenied")
        return _check(state, self.command, self.path, headers)

    def _key(self, path: str, host: str) -> str:
        """The key of a request; empty: the bucket itself."""
        state = self.server_state
        if state.is_virtual:
            if host != urlsplit(state.url).netloc:
                raise _RefusedError(400, "WrongHost")
            return unquote(path).removeprefix("/")
        bucket, _, key = unquote(path).removeprefix("/").partition("/")
        if bucket != BUCKET:
            raise _RefusedError(404, "NoSuchBucket")
        return key

    def _result(self, key_id: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes, dict[str, str]]:
        state, parts = self.server_state, urlsplit(self.path)
        key = self._key(parts.path, headers["host"])
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if not key:
            return self._of_bucket(key_id, query, body)
        if "uploads" in query or "uploadId" in query:
            return self._multipart(key_id, key, query, headers, body)
        action = {"PUT": "s3:PutObject", "DELETE": "s3:DeleteObject"}.get(self.command, "s3:GetObject")
        state.require(key_id, action, key)
        if self.command == "PUT":
            return self._put(key, headers, body)
        if self.command == "DELETE":
            if state.objects.pop(key, None) is None and state.is_google:
                raise _RefusedError(404, "NoSuchKey")
            return 204, b"", {}
        if key not in state.objects:
            may_list = state.allows(key_id, "s3:ListBucket", f"arn:aws:s3:::{state.settings['bucket']}")
            raise _RefusedError(404, "NoSuchKey") if may_list else _RefusedError(403, "AccessDenied")
        content, kept = state.objects[key]
        asked = {
            "content-type": query.get("response-content-type"),
            "content-disposition": query.get("response-content-disposition"),
        }
        etag = _etag(content)
        modified = "Sun, 29 Nov 2026 10:00:00 GMT"
        return 200, content, {**kept, "ETag": etag, "Last-Modified": modified, **{n: v for n, v in asked.items() if v}}

    def _multipart(
        self, key_id: str, key: str, query: dict[str, str], headers: dict[str, str], body: bytes
    ) -> tuple[int, bytes, dict[str, str]]:
        state, upload_id = self.server_state, query.get("uploadId")
        actions = {"GET": "s3:ListMultipartUploadParts", "DELETE": "s3:AbortMultipartUpload"}
        state.require(key_id, actions.get(self.command, "s3:PutObject"), key)
        if upload_id is None:
            self._check_encryption(headers)
            upload_id = f"{len(state.requests)}/+ ="  # must be encoded in a URL
            state.uploads[upload_id] = MultipartUpload(key, headers)
            return 200, f"<R><UploadId>{upload_id}</UploadId></R>".encode(), {}
        upload = state.uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise _RefusedError(404, "NoSuchUpload")
        if self.command == "DELETE":
            del state.uploads[upload_id]
            return 204, b"", {}
        if self.command == "PUT":
            if any(name in headers for name in _ENCRYPTION):
                raise _RefusedError(400, "InvalidArgument")
            upload.parts[int(query["partNumber"])] = body
            return 200, b"", {"ETag": _etag(body)}
        if self.command == "GET":
            listed = "".join(
                f"<Part><PartNumber>{n}</PartNumber><ETag>{escape(_etag(part))}</ETag><Size>{len(part)}</Size></Part>"
                for n, part in sorted(upload.parts.items())
            )
            return 200, f"<ListPartsResult>{listed}</ListPartsResult>".encode(), {}
        return self._complete(upload_id, upload, body)

    def _complete(self, upload_id: str, upload: MultipartUpload, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        state = self.server_state
        named = re.findall(r"<PartNumber>(\d+)</PartNumber><ETag>(.*?)</ETag>", body.decode())
        parts = [upload.parts.get(int(number), b"") for number, _ in named]
        if not named or any(_etag(part) != unescape(etag) for part, (_, etag) in zip(parts, named, strict=True)):
            return 200, b"<Error><Code>InvalidPart</Code></Error>", {}  # as S3, which has begun the response
        if any(len(part) < MIN_PART_BYTES for part in parts[:-1]):
            raise _RefusedError(400, "EntityTooSmall")
        del state.uploads[upload_id]
        kept = {name: value for name, value in upload.headers.items() if name in _ECHOED}
        state.objects[upload.key] = (b"".join(parts), kept)
        return 200, b"<CompleteMultipartUploadResult/>", {}

    def _check_encryption(self, headers: Mapping[str, str]) -> None:
        state = self.server_state
        if any(headers.get(name) != value for name, value in state.encryption.items()):
            raise _RefusedError(403, "AccessDenied")
        if not state.encryption and any(name in headers for name in _ENCRYPTION):
            raise _RefusedError(400, "InvalidArgument")

    def _put(self, key: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes, dict[str, str]]:
        state = self.server_state
        self._check_encryption(headers)
        given = headers.get("x-amz-checksum-sha256")
        if given is not None and given != base64.b64encode(hashlib.sha256(body).digest()).decode():
            raise _RefusedError(400, "BadDigest")
        if given is not None:
            state.checksums[key] = given
        if headers.get("if-none-match") == "*" and not state.is_google and key in state.objects:
            raise _RefusedError(412, "PreconditionFailed")
        kept = {name: value for name, value in headers.items() if name in _ECHOED or name.startswith("x-amz-meta-")}
        state.objects[key] = (body, kept)
        return 200, b"", {"ETag": '"1"'}

    def _of_bucket(self, key_id: str, query: dict[str, str], body: bytes) -> tuple[int, bytes, dict[str, str]]:
        state = self.server_state
        if self.command == "POST" and "delete" in query and not state.is_google:
            keys = [unescape(key) for key in re.findall(r"<Key>(.*?)</Key>", body.decode())]
            for key in keys:
                state.require(key_id, "s3:DeleteObject", key)
                state.objects.pop(key, None)
            deleted = "".join(f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys)
            return 200, f"<DeleteResult>{deleted}</DeleteResult>".encode(), {}
        if self.command == "GET" and query.get("list-type") == "2":
            prefix = query.get("prefix", "")
            state.require(key_id, "s3:ListBucket", prefix)
            found = "".join(
                f"<Contents><Key>{escape(key)}</Key><LastModified>2026-11-29T10:00:00.000Z</LastModified>"
                f"<Size>{len(content)}</Size></Contents>"
                for key, (content, _) in sorted(state.objects.items())
                if key.startswith(prefix)
            )
            return 200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>".encode(), {}
        raise _RefusedError(400, "NotImplemented")

    def _answer(self, status: int, body: bytes, headers: Mapping[str, Any]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
