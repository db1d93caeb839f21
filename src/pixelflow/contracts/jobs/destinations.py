"""The destination of a job's outputs: an object in a named bucket for each, whose key a template makes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from pixelflow.contracts.suggestions import similar
from pixelflow.cross_field import CrossFieldError
from pixelflow.imaging.pipeline import Pipeline

BUCKET_NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
HEADER_PATTERN = r"^[ -~]*$"
METADATA_NAME_PATTERN = r"^[a-z0-9][a-z0-9-]*$"
RESERVED_METADATA = "pixelflow-"
"""Names with this prefix are PixelFlow's own: a retry recognises the objects of its job by them."""
MAX_KEY_BYTES = 1024
"""Limit of S3."""
HASH_DIGITS = 16
"""Hexadecimal digits of the SHA-256 in a key: 64 bits."""
_METADATA = "metadata."
JOB_PLACEHOLDERS = ("job_id", "user_id")
"""Known when the job is created, as is the metadata."""
OUTPUT_PLACEHOLDERS = ("step", "width", "height", "format", "ext", "sha256")
"""Known when the output is stored."""
_MEASURED = {"width", "height", "sha256"}
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_ALLOWED = "-_.!'()@,+=~ "
"""Characters of a key, besides letters and digits. All are safe in S3 keys, and in the paths of URLs once encoded."""

Acl: TypeAlias = Literal[
    "private", "public-read", "authenticated-read", "bucket-owner-read", "bucket-owner-full-control"
]
"""Canned ACLs of S3, without the one that lets anybody write."""


def is_safe_key(key: str) -> bool:
    """Whether a key stays where it is put: no empty, ``.`` or ``..`` folder, and no character with a meaning."""
    names = key.split("/")
    return len(key.encode()) <= MAX_KEY_BYTES and all(map(_is_safe_name, names))


def _is_safe_name(name: str) -> bool:
    return name not in {"", ".", ".."} and all(char.isalnum() or char in _ALLOWED for char in name)


def _check_template(template: str) -> str:
    for name in _PLACEHOLDER.findall(template):
        if name not in {*JOB_PLACEHOLDERS, *OUTPUT_PLACEHOLDERS} and not (
            name.startswith(_METADATA) and len(name) > len(_METADATA)
        ):
            meant = similar(name, (*JOB_PLACEHOLDERS, *OUTPUT_PLACEHOLDERS), {})
            known = ", ".join(f"{{{each}}}" for each in (*OUTPUT_PLACEHOLDERS, *JOB_PLACEHOLDERS, "metadata.NAME"))
            hint = f"; did you mean {{{meant}}}?" if meant else f"; the placeholders are {known}"
            raise PydanticCustomError("destination_key", "{text}", {"text": f"has an unknown placeholder{hint}"})
    if not is_safe_key(_PLACEHOLDER.sub("x", template)):
        raise PydanticCustomError(
            "destination_key",
            "must be folders and a file name of letters, digits, spaces and - _ . ! ' ( ) @ , + = ~, such as "
            "products/{metadata.sku}/{step}-{width}.{ext}; without an empty, . or .. part",
        )
    return template


def _check_metadata(metadata: dict[str, str]) -> dict[str, str]:
    if any(name.startswith(RESERVED_METADATA) for name in metadata):
        raise PydanticCustomError("destination_metadata", "must not have names that start with `pixelflow-`")
    return metadata


_Header: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=HEADER_PATTERN)]


class Destination(BaseModel):
    """Where a job stores its outputs, besides the service's own bucket."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    bucket: Annotated[
        str,
        StringConstraints(pattern=BUCKET_NAME_PATTERN),
        Field(description="Name that the operator gave the bucket.", examples=["shop"]),
    ]
    key: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_KEY_BYTES),
        AfterValidator(_check_template),
        Field(
            description="Template of each output's key, with `{step}`, `{width}`, `{height}`, `{format}`, `{ext}`, "
            "`{sha256}` (the first 16 digits), `{metadata.NAME}`, `{job_id}` and `{user_id}`.",
            examples=["products/{metadata.sku}/{step}-{width}.{ext}"],
        ),
    ]
    cache_control: Annotated[
        _Header | None,
        Field(description="`Cache-Control` of the outputs.", examples=["public, max-age=31536000, immutable"]),
    ] = None
    content_disposition: Annotated[
        _Header | None, Field(description="`Content-Disposition` of the outputs.", examples=["inline"])
    ] = None
    metadata: Annotated[
        dict[
            Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=METADATA_NAME_PATTERN)],
            Annotated[str, StringConstraints(max_length=512, pattern=HEADER_PATTERN)],
        ],
        AfterValidator(_check_metadata),
        Field(max_length=16, description="User metadata of the outputs (`x-amz-meta-…`)."),
    ] = {}
    acl: Annotated[
        Acl | None, Field(description="Canned ACL of the outputs, if the operator allows it for the bucket.")
    ] = None
    overwrite: Annotated[
        bool,
        Field(description="Whether an existing object is replaced. Otherwise the job fails as `destination_exists`."),
    ] = False


def destination_errors(
    destination: Destination, pipeline: Pipeline, metadata: Mapping[str, str], *, of_batch: bool = False
) -> Iterator[CrossFieldError]:
    """Yield what is wrong with a destination together with the rest of the request.

    The sources of a batch can add metadata, so none is missing yet.
    """
    names = _PLACEHOLDER.findall(destination.key)
    for name in dict.fromkeys(each.removeprefix(_METADATA) for each in names if each.startswith(_METADATA)):
        if name not in metadata:
            if not of_batch:
                yield ("metadata", name), "is required: the key of the destination has it"
        elif not _is_safe_value(metadata[name]):
            yield (
                ("metadata", name),
                (
                    "can't be part of the destination's key: it must have letters, digits, spaces and "
                    "- _ . ! ' ( ) @ , + = ~ only, and not be empty, . or .."
                ),
            )
    if not _MEASURED & set(names) and _has_equal_keys(destination.key, pipeline):
        yield (
            ("destination", "key"),
            "gives two outputs the same key; add {step}, such as products/{step}.{ext}",
        )


def _is_safe_value(value: str) -> bool:
    return len(value) <= MAX_KEY_BYTES and _is_safe_name(value)


def _has_equal_keys(template: str, pipeline: Pipeline) -> bool:
    steps = [step for step in pipeline if step.output]
    keys = {fill(template, {"step": step.id, "format": step.format or "", "ext": step.format or ""}) for step in steps}
    return len(keys) < len(steps)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Return the template with these placeholders replaced; others stay."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), template)


def known_values(*, job_id: object, user_folder: str, metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the values of the placeholders that are known when a job is created."""
    job = {"job_id": str(job_id), "user_id": user_folder}
    return job | {f"{_METADATA}{name}": value for name, value in metadata.items()}


def repeated(keys: Sequence[str]) -> str | None:
    """Return the first key that occurs again."""
    return next((key for position, key in enumerate(keys) if key in keys[:position]), None)


class StoredDestination(BaseModel):
    """The destination of a job, as the database stores it. A worker ignores what a newer release adds."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    bucket: str
    key: str
    """As the request has it."""
    resolved_key: str
    """Relative to the bucket's prefix, with the values that were known when the job was created."""
    cache_control: str | None = None
    content_disposition: str | None = None
    metadata: dict[str, str] = {}
    acl: str | None = None
    overwrite: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """The headers of each object, besides its media type."""
        named = {
            "Cache-Control": self.cache_control,
            "Content-Disposition": self.content_disposition,
            "x-amz-acl": self.acl,
        }
        own = {f"x-amz-meta-{name}": value for name, value in self.metadata.items()}
        return own | {name: value for name, value in named.items() if value is not None}


def as_stored(destination: Destination, root: str, values: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON of a :class:`StoredDestination`.

    Args:
        destination: of the request.
        root: the user's folder in the bucket, or nothing.
        values: those that are known when the job is created.
    """
    resolved = root + fill(destination.key, values)
    return destination.model_dump(mode="json", exclude_defaults=True) | {"resolved_key": resolved}
