"""The pipeline of a job: a tree of steps, each naming its output.

Everything about a pipeline that can be known to be wrong without the picture is refused here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from pixelflow.contracts.errors import FieldError
from pixelflow.contracts.gravity import Fit, Gravity, Interest

MAX_STEPS = 32
"""Steps in one pipeline."""
MAX_DIMENSION = 16_384
"""Width or height that a step may ask for, in pixels; what a format can't hold is refused when it is written."""
MAX_TEXT = 256
"""Characters of a watermark."""
CROSS_FIELD_ERROR = "as_a_whole"
"""Pydantic's type of what is wrong though no single field is. Models say it for who makes them one by one; of a request
it is told from the raw JSON, for Pydantic asks no model whose fields are wrong."""
SOURCE = "source"
"""What ``from`` names when a step works on the source itself."""


class Format(StrEnum):
    """A format that PixelFlow reads and writes."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    AVIF = "avif"


FORMAT_MAX_DIMENSION = {Format.JPEG: 65_500, Format.PNG: 2**31 - 1, Format.WEBP: 16_383, Format.AVIF: 16_384}
"""The longest side that each encoder takes, in pixels.

libjpeg's JPEG_MAX_DIMENSION; PNG 1.2; the WebP container; libheif's default limit.
"""

DEFAULT_QUALITY = {Format.JPEG: 80, Format.WEBP: 80, Format.AVIF: 50}
"""Where a photo looks untouched and more bytes would show little more; PNG has none. AVIF's scale is not JPEG's."""

EXTENSIONS = {Format.JPEG: "jpg", Format.PNG: "png", Format.WEBP: "webp", Format.AVIF: "avif"}
MEDIA_TYPES = {format_: f"image/{format_.value}" for format_ in Format}


def output_name(step_id: str, format_: Format) -> str:
    """The file name of an output: in the attempt's private directory, in object storage, and as a download."""
    return f"{step_id}.{EXTENSIONS[format_]}"


class Font(StrEnum):
    """A family of fonts that PixelFlow carries along."""

    SANS = "sans"
    SERIF = "serif"
    MONO = "mono"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _printable(text: str) -> str:
    if all(unicodedata.category(char)[0] in "ZC" for char in text):
        raise PydanticCustomError("blank_text", "must have at least one visible character")
    if any(unicodedata.category(char) in {"Cc", "Cs", "Co"} and char != "\n" for char in text):
        raise PydanticCustomError("control_character", "must not have control characters other than a line break")
    return text


StepId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Dimension = Annotated[int, Field(strict=True, ge=1, le=MAX_DIMENSION)]
Flag = Annotated[bool, Field(strict=True)]
Color = Annotated[str, StringConstraints(pattern=r"^#([0-9a-fA-F]{6}|[0-9a-fA-F]{8})$")]
"""``#rrggbb`` or ``#rrggbbaa``, sRGB."""
Percent = Annotated[str, StringConstraints(pattern=r"^(100|[1-9]?[0-9](\.[0-9]{1,2})?)%$")]
"""A share of the picture's shorter side, such as ``4%`` or ``2.5%``."""
Length = Annotated[int, Field(strict=True, ge=0, le=MAX_DIMENSION)] | Percent
"""Pixels of the picture that is drawn on, or a share of its shorter side."""


def _positive(length: int | str) -> int | str:
    if length == 0 or (isinstance(length, str) and float(length.rstrip("%")) == 0):
        raise PydanticCustomError("not_positive", "must be more than 0")
    return length


class _Step(_Model):
    """What every step has: its name, what it works on, and how its output is written."""

    id: Annotated[StepId, Field(description="Names the output; unique in the pipeline.", examples=["thumb"])]
    from_: Annotated[
        StepId, Field(alias="from", description="`source`, or the id of an earlier step.", examples=["source"])
    ] = SOURCE
    output: Annotated[Flag, Field(description="False keeps an intermediate out of the results.")] = True
    format: Annotated[
        Format | None, Field(description="Of the output; left out: the format of what the step works on.")
    ] = None
    quality: Annotated[
        int | None,
        Field(
            strict=True,
            ge=1,
            le=100,
            description="Of the encoder. Left out: "
            + ", ".join(f"{format_.value} {quality}" for format_, quality in DEFAULT_QUALITY.items())
            + ". PNG is lossless: quality changes nothing there.",
        ),
    ] = None
    background: Annotated[
        Color,
        Field(
            description="Where a format has no transparency, and the padding of `contain`. `#rrggbb` or `#rrggbbaa`."
        ),
    ] = "#ffffff"


class Resize(_Step):
    """Change the size of a picture."""

    action: Literal["resize"]
    width: Annotated[Dimension | None, Field(description="Pixels.")] = None
    height: Annotated[Dimension | None, Field(description="Pixels.")] = None
    fit: Annotated[
        Fit,
        Field(
            description="How the picture meets the box of width and height. `inside`: as large as fits; `outside`: as "
            "small as covers it; `cover`: fills it, the rest cut off; `contain`: inside, padded up to it; "
            "`fill`: stretched to it. With a width or a height alone the other side follows, whatever the fit."
        ),
    ] = Fit.INSIDE
    gravity: Annotated[
        Gravity | Interest, Field(description="What `cover` keeps, and where `contain` puts the picture.")
    ] = Gravity.CENTER
    enlarge: Annotated[
        Flag,
        Field(
            description="Whether a picture may become larger than it is. If not, one smaller than the box keeps "
            "its size; `cover` and `fill` still bring down the side that is too long, and `contain` still pads."
        ),
    ] = False
    linear: Annotated[
        Flag,
        Field(
            description="Resize in linear light: truer edges of fine bright detail, several times the CPU. "
            "Off, as in most of the field."
        ),
    ] = False

    @model_validator(mode="after")
    def _fits_together(self) -> Resize:
        wrong = _wrong_size(self.model_dump())
        if wrong:
            raise PydanticCustomError(CROSS_FIELD_ERROR, "{summary}", {"summary": "; ".join(wrong.values())})
        return self


class WatermarkText(_Model):
    """A text drawn over a picture."""

    text: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_TEXT),
        AfterValidator(_printable),
        Field(description="In any script; line breaks are kept, markup is not interpreted.", examples=["© Acme"]),
    ]
    font: Annotated[Font, Field(description="Other scripts are taken from fonts that fit it.")] = Font.SANS
    bold: Flag = False
    size: Annotated[
        Length,
        AfterValidator(_positive),
        Field(
            description="Of the letters (em): pixels, or a share of the picture's shorter side. A text too large "
            "for the picture is made smaller until it fits."
        ),
    ] = "5%"
    color: Annotated[Color, Field(description="An outline in a contrasting tone keeps it readable on any picture.")] = (
        "#ffffff"
    )
    opacity: Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)] = 0.65
    gravity: Annotated[Gravity, Field(description="Where the text stands; ignored when it is tiled.")] = (
        Gravity.SOUTHEAST
    )
    margin: Annotated[
        Length,
        Field(description="To the edges, at most a quarter of the shorter side; between the texts when tiled."),
    ] = "3%"
    rotation: Annotated[
        float, Field(strict=True, ge=-360, le=360, allow_inf_nan=False, description="Degrees, clockwise.")
    ] = 0
    tile: Annotated[Flag, Field(description="Repeat the text over the whole picture.")] = False


class Watermark(_Step):
    """Draw a text over a picture."""

    action: Literal["watermark"]
    watermark: WatermarkText


Step = Annotated[Resize | Watermark, Field(discriminator="action")]
"""One step. A new operation adds its model here and its function in ``dataplane.imaging``."""

ACTIONS = frozenset({"resize", "watermark"})
"""What ``action`` may be."""


def pipeline_errors(steps: object) -> list[FieldError]:
    """What is wrong with the raw ``steps`` of a request as a whole, beyond what single fields may hold.

    Ids are unique, ``from`` names an earlier step, a size is asked for and fits the format, something comes out. Works
    on raw JSON, so that it has its say also where single fields are wrong. Pointers start at the pipeline.
    """
    if not isinstance(steps, list):
        return []
    rows = [step if isinstance(step, dict) else {} for step in steps]
    errors: list[FieldError] = []
    seen: set[object] = {SOURCE}
    for index, row in enumerate(rows):
        wrong = _wrong_size(row) | _wrong_in_tree(row, seen)
        errors += [FieldError(pointer=f"/{index}{name}", message=message) for name, message in wrong.items()]
        if isinstance(row.get("id"), str):
            seen.add(row["id"])
    if rows and all(row.get("output") is False for row in rows):
        errors.append(FieldError(pointer="", message="needs at least one step without `output: false`"))
    return errors


def _wrong_size(row: Mapping[str, object]) -> dict[str, str]:
    """What is wrong with the size that one step asks for, by pointer."""
    if row.get("action") != "resize":
        return {}
    if row.get("width") is None and row.get("height") is None:
        return {"": "needs a width, a height or both"}
    longest = next(
        (side for format_, side in FORMAT_MAX_DIMENSION.items() if row.get("format") == format_), MAX_DIMENSION
    )
    return {
        f"/{name}": f"must be at most {longest}, where {row['format']} ends"
        for name, side in _certain_sides(row).items()
        if longest < side <= MAX_DIMENSION
    }


def _certain_sides(row: Mapping[str, object]) -> dict[str, int]:
    """The sides that the output will have whatever the picture is."""
    sides = {name: side for name in ("width", "height") if isinstance(side := row.get(name), int)}
    enlarged = row.get("enlarge") is True
    if len(sides) == 1:
        return sides if enlarged else {}
    padded, filled = row.get("fit") == Fit.CONTAIN, row.get("fit") in (Fit.COVER, Fit.FILL)
    return sides if padded or (filled and enlarged) else {}


def _wrong_in_tree(row: dict[str, object], seen: set[object]) -> dict[str, str]:
    """What is wrong with one step's place in the tree, by pointer; ``seen`` are the names before it."""
    step_id, parent = row.get("id"), row.get("from", SOURCE)
    wrong: dict[str, str] = {}
    if step_id == SOURCE:
        wrong["/id"] = "`source` names the source itself; choose another id"
    elif isinstance(step_id, str) and step_id in seen:
        wrong["/id"] = f"`{step_id}` is the id of an earlier step; ids are unique"
    if isinstance(parent, str) and parent not in seen:
        wrong["/from"] = "must be `source` or the id of an earlier step"
    return wrong


def _check_tree(steps: list[Step]) -> list[Step]:
    errors = pipeline_errors([step.model_dump(by_alias=True) for step in steps])
    if errors:
        raise PydanticCustomError(
            CROSS_FIELD_ERROR, "{summary}", {"summary": "; ".join(error.message for error in errors)}
        )
    return steps


Pipeline = Annotated[
    list[Step],
    Field(min_length=1, max_length=MAX_STEPS, description="Steps; earlier ones first."),
    AfterValidator(_check_tree),
]
