"""Settings of object storage: the service's own bucket, and the buckets of its users."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from pixelflow.settings.buckets import KEY_WITHOUT_KMS, Buckets, NamedBucket
from pixelflow.settings.database import ConnectionSettings
from pixelflow.settings.field_types import Addressing, Encryption, EndpointUrl, KeyPrefix, Visible

OWN_FOLDERS = ("uploads/", "outputs/", "assets/")
"""What the service keeps in its bucket, below its prefix."""


class StorageSettings(ConnectionSettings):
    """Settings of object storage, and those of the database."""

    s3_endpoint_url: Annotated[
        EndpointUrl,
        Field(
            description="Object storage endpoint that the service connects to, such as "
            "https://s3.eu-central-1.amazonaws.com"
        ),
    ]
    s3_public_endpoint_url: Annotated[
        EndpointUrl | None,
        Field(
            description="Object storage endpoint that clients connect to; used in presigned URLs. "
            "Default: PIXELFLOW_S3_ENDPOINT_URL"
        ),
    ] = None
    s3_region: Annotated[str, Field(description="Region used in request signatures")] = "us-east-1"
    s3_bucket: Annotated[str, Field(description="Bucket for sources and outputs")]
    s3_addressing: Annotated[
        Addressing,
        Field(
            description="Where URLs have the bucket: `path` (https://server/bucket/key), or `virtual` "
            "(https://bucket.server/key), which new buckets of AWS may require"
        ),
    ] = "path"
    s3_prefix: Annotated[
        KeyPrefix,
        Field(
            description="Folders that all keys of the service start with, such as pixelflow/. Everything that it "
            "stores, lists and deletes is below. Don't change it while there are jobs. Default: none"
        ),
    ] = ""
    s3_sse: Annotated[
        Encryption | None,
        Field(
            description="Encryption that each upload and output asks for. Clients send it as a header, which is one of "
            "`upload.headers`. Default: as the bucket says"
        ),
    ] = None
    s3_sse_kms_key_id: Annotated[
        Visible | None, Field(description="KMS key of the encryption; alone, it means `aws:kms`. Default: the bucket's")
    ] = None
    s3_checksums: Annotated[
        bool,
        Field(description="Whether outputs are stored with their SHA-256 as checksum (`x-amz-checksum-sha256`)"),
    ] = False
    s3_bulk_delete: Annotated[
        bool,
        Field(
            description="Whether objects are deleted many at once (DeleteObjects). False is for servers that don't "
            "support it, such as Google Cloud Storage"
        ),
    ] = True
    s3_credentials: Annotated[
        Literal["keys", "aws"],
        Field(
            description="Where the access key comes from: `keys`, the next three settings; or `aws`, the credentials "
            "that AWS gives the process (`AWS_…` variables, IRSA, EKS Pod Identity, ECS, EC2); see docs/storage.md"
        ),
    ] = "keys"
    s3_access_key_id: Annotated[
        str | None, Field(description="Access key ID. Required if PIXELFLOW_S3_CREDENTIALS is `keys`")
    ] = None
    s3_secret_access_key: Annotated[
        SecretStr | None, Field(description="Secret access key. Required if PIXELFLOW_S3_CREDENTIALS is `keys`")
    ] = None
    s3_session_token: Annotated[
        SecretStr | None,
        Field(description="Session token of a temporary access key. The process needs a restart with each new one"),
    ] = None
    buckets: Annotated[
        Buckets | None,
        Field(
            description="Other buckets that jobs can store their outputs in, or read their sources from: a JSON object "
            "by name, or the absolute path of a file with one; see docs/storage.md. Default: none"
        ),
    ] = None

    @property
    def named_buckets(self) -> dict[str, NamedBucket]:
        """The other buckets by name."""
        return self.buckets or {}

    def missing_keys(self) -> Iterator[str]:
        """The names of the settings of the access key that are required and not set."""
        for name in ("s3_access_key_id", "s3_secret_access_key"):
            if self.s3_credentials == "keys" and not getattr(self, name):
                yield name

    def conflicts_of_storage(self) -> Iterator[str]:
        """What is wrong between the settings of storage."""
        if self.s3_sse == "AES256" and self.s3_sse_kms_key_id:
            yield f"PIXELFLOW_S3_SSE {KEY_WITHOUT_KMS}"
        own = [f"{self.s3_prefix}{folder}" for folder in OWN_FOLDERS]
        for name, bucket in self.named_buckets.items():
            is_apart = not any(f.startswith(bucket.prefix) or bucket.prefix.startswith(f) for f in own)
            if bucket.sources and bucket.bucket == self.s3_bucket and not is_apart:
                yield (
                    f"PIXELFLOW_BUCKETS: the bucket {name} has sources and the name of PIXELFLOW_S3_BUCKET: give it a "
                    "prefix such as cdn/, so that no job can read what belongs to others"
                )

    @property
    def uses_aws_credentials(self) -> bool:
        """Whether a bucket is opened with the credentials that AWS gives the process."""
        return self.s3_credentials == "aws" or any(each.credentials == "aws" for each in self.named_buckets.values())

    @property
    def public_endpoint_url(self) -> str:
        """The object storage endpoint in presigned URLs."""
        return self.s3_public_endpoint_url or self.s3_endpoint_url
