"""What requests to a bucket look like: where its name is in a URL, and the headers of a PUT that its rules demand."""

from __future__ import annotations

import base64
from urllib.parse import urlsplit


def address(endpoint: str, bucket: str, addressing: str) -> tuple[str, str]:
    """Return the endpoint for requests to a bucket, and the folder in it: the bucket's name, unless the host has it."""
    if addressing == "path":
        return endpoint, bucket
    parts = urlsplit(endpoint)
    return parts._replace(netloc=f"{bucket}.{parts.netloc}").geturl(), ""


def encryption_headers(algorithm: str | None, kms_key_id: str | None) -> dict[str, str]:
    """Return the headers by which a PUT asks for encryption at the server; a key alone means SSE-KMS."""
    algorithm = algorithm or ("aws:kms" if kms_key_id else None)
    headers = {
        "x-amz-server-side-encryption": algorithm,
        "x-amz-server-side-encryption-aws-kms-key-id": kms_key_id,
    }
    return {name: value for name, value in headers.items() if value}


def checksum_headers(sha256: str | None) -> dict[str, str]:
    """Return the header by which the server verifies and keeps the SHA-256 of a content, given in hex."""
    return {} if sha256 is None else {"x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(sha256)).decode()}
