"""The buckets that the operator names for the outputs and the sources of the users' jobs.

A job holds only the name. The keys that open a bucket are never part of the setting either: it has the names of the
environment variables that hold them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

from pixelflow.contracts.field_errors import error_message
from pixelflow.contracts.jobs.destinations import BUCKET_NAME_PATTERN, Acl
from pixelflow.settings.field_types import (
    FOLDER_PATTERN,
    Addressing,
    Encryption,
    EndpointUrl,
    KeyPrefix,
    Visible,
    WebUrl,
    matching,
)

USER_FOLDER = "{user_id}/"
"""Stands for the folder of a user in the prefix of sources."""
_NOT_SEPARATE = (
    "lets users read the outputs of others: start source_prefix with {user_id}/, or set per_user or outputs to false"
)
KEY_WITHOUT_KMS = "has a KMS key, which AES256 does not use: set aws:kms or remove the key"
_Name: TypeAlias = Annotated[
    str, matching(BUCKET_NAME_PATTERN, "must be a name of lower-case letters, digits and -, such as shop-images")
]
_SourcePrefix: TypeAlias = Annotated[
    str,
    matching(
        rf"(?:{FOLDER_PATTERN}|{{user_id}}/)*",
        "must be folders that each end with /, such as originals/{user_id}/",
    ),
]
_Variable: TypeAlias = Annotated[
    str, matching(r"[A-Za-z_][A-Za-z0-9_]*", "must be the name of an environment variable")
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class CredentialVariables(_Part):
    """The environment variables that hold an access key."""

    access_key_id: _Variable
    secret_access_key: _Variable
    session_token: _Variable | None = None


def _kind(given: object) -> str:
    return "aws" if isinstance(given, str) else "keys"


_Credentials: TypeAlias = Annotated[
    Annotated[Literal["aws"], Tag("aws")] | Annotated[CredentialVariables, Tag("keys")], Discriminator(_kind)
]


class NamedBucket(_Part):
    """A bucket that jobs can use by its name."""

    bucket: Annotated[str, matching(r"[A-Za-z0-9._-]{1,255}", "must be the name of a bucket")]
    endpoint_url: EndpointUrl
    region: Visible = "us-east-1"
    addressing: Addressing = "path"
    prefix: KeyPrefix = ""
    """What all keys start with. Nothing outside it is written."""
    users: tuple[str, ...] | None = None
    """The users whose jobs can use the bucket; ``None``: all."""
    outputs: bool = True
    """Whether jobs can store their outputs in the bucket."""
    sources: bool = False
    """Whether jobs can read their sources from the bucket."""
    source_prefix: _SourcePrefix | None = None
    """What the keys of sources start with, below the prefix; ``None``: the user's folder, if each user has one."""
    per_user: bool = True
    """Whether each user has a folder of its own below the prefix, so that users can't use each other's objects."""
    credentials: _Credentials
    """Where its access key comes from: variables, or the credentials that AWS gives the worker."""
    public_base_url: WebUrl | None = None
    """Where the prefix is served: the URL of an object is this, a slash and the part of its key after the prefix."""
    sse: Encryption | None = None
    """How the server encrypts what is stored; ``None``: as the bucket's default says."""
    sse_kms_key_id: Visible | None = None
    """The KMS key that encrypts what is stored; alone, it means SSE-KMS."""
    checksums: bool = False
    """Whether objects are stored with their SHA-256 as checksum, as buckets with Object Lock require."""
    acls: tuple[Acl, ...] = ()
    """The ACLs that jobs can ask for."""

    @property
    def variables(self) -> list[str]:
        """The environment variables that hold the access key, in the order of its parts."""
        named = self.credentials
        if named == "aws":
            return []
        return [each for each in (named.access_key_id, named.secret_access_key, named.session_token) if each]

    @model_validator(mode="after")
    def _check_encryption(self) -> Self:
        if self.sse == "AES256" and self.sse_kms_key_id:
            raise PydanticCustomError("buckets", KEY_WITHOUT_KMS)
        return self

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        if not self.sources and self.source_prefix is not None:
            raise PydanticCustomError("buckets", "has a source_prefix, but no sources: set sources to true")
        is_separate = self.source_template.startswith(USER_FOLDER)
        if self.sources and self.outputs and self.per_user and not is_separate:
            raise PydanticCustomError("buckets", "{text}", {"text": _NOT_SEPARATE})
        return self

    @property
    def source_template(self) -> str:
        """What the keys of sources start with, below the prefix, with ``USER_FOLDER`` for the user's folder."""
        if self.source_prefix is not None:
            return self.source_prefix
        return USER_FOLDER if self.per_user else ""

    def allows(self, user_id: str) -> bool:
        """Whether the user's jobs can use it."""
        return self.users is None or user_id in self.users


_ADAPTER: TypeAdapter[dict[str, NamedBucket]] = TypeAdapter(dict[_Name, NamedBucket])


def _parse(value: object) -> object:
    """Read the JSON, or the file of it, and report all that is wrong with it in one message."""
    given: Any = _decoded(value) if isinstance(value, str) else value
    try:
        return _ADAPTER.validate_python(given)
    except ValidationError as error:
        rows = error.errors(include_url=False, include_input=False)
        faults = "; ".join(f"{'.'.join(map(str, row['loc'])) or 'the value'} {error_message(row)}" for row in rows)
        raise PydanticCustomError("buckets", "{faults}", {"faults": faults}) from None


def _decoded(text: str) -> object:
    if not text.strip():
        return {}
    try:
        document = Path(text).read_text(encoding="utf-8") if text.startswith("/") else text
        return json.loads(document)
    except OSError as error:
        reason = {"reason": error.strerror or "it can't be read"}
        raise PydanticCustomError("buckets", "must name a file that can be read: {reason}", reason) from None
    except ValueError:
        raise PydanticCustomError("buckets", "must be a JSON object, or the absolute path of a file with one") from None


Buckets: TypeAlias = Annotated[dict[str, NamedBucket], NoDecode, BeforeValidator(_parse)]
"""Buckets by name."""
