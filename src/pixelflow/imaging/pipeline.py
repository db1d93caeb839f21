"""The pipeline of a job: a tree of steps, each of which writes a named output.

Validation rejects every pipeline that is known to fail for any image.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pixelflow.cross_field import CrossFieldError, fields_of, validate
from pixelflow.imaging.gravity import Fit, Gravity, Interest

MAX_STEPS = 32
"""Steps in one pipeline."""
MAX_DIMENSION = 16_384
"""Largest width or height that a step may request, in pixels. Formats with a lower limit are checked separately."""
MAX_TEXT = 256
"""Characters of a watermark."""
SOURCE = "source"
"""The value of ``from`` for a step that reads the source."""


class Format(StrEnum):
    """An image format that PixelFlow reads and writes."""

    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    AVIF = "avif"


FORMAT_MAX_DIMENSION = {Format.JPEG: 65_500, Format.PNG: 2**31 - 1, Format.WEBP: 16_383, Format.AVIF: 16_384}
"""The longest side that each encoder accepts, in pixels.

Sources: libjpeg's JPEG_MAX_DIMENSION; PNG 1.2; the WebP container; libheif's default limit.
"""
_FORMAT_NAMES = {Format.JPEG: "JPEG", Format.PNG: "PNG", Format.WEBP: "WebP", Format.AVIF: "AVIF"}

DEFAULT_QUALITY = {Format.JPEG: 80, Format.WEBP: 80, Format.AVIF: 50}
"""The quality at which a photo shows no visible loss and more bytes gain little. PNG has none. AVIF's scale differs
from JPEG's."""

EXTENSIONS = {Format.JPEG: "jpg", Format.PNG: "png", Format.WEBP: "webp", Format.AVIF: "avif"}
MEDIA_TYPES = {format_: f"image/{format_.value}" for format_ in Format}


def output_name(step_id: str, format_: Format) -> str:
    """The file name of an output: in the attempt's private directory, in object storage, and as a download."""
    return f"{step_id}.{EXTENSIONS[format_]}"


class Font(StrEnum):
    """A font family that PixelFlow ships."""

    SANS = "sans"
    SERIF = "serif"
    MONO = "mono"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _printable(text: str) -> str:
    if all(unicodedata.category(char)[0] in "ZC" for char in text):
        raise PydanticCustomError("blank_text", "must have at least one visible character")
    if any(unicodedata.category(char) in {"Cc", "Cs", "Co"} and char != "\n" for char in text):
        raise PydanticCustomError("control_character", "must not have control characters other than a line break")
    return text


def _with_message(message: str) -> WrapValidator:
    """Report errors of a union as one ``message``: Pydantic reports one error for each member."""

    def validate_union(value: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(value)
        except ValidationError:
            raise PydanticCustomError("union", message) from None

    return WrapValidator(validate_union)


STEP_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
COLOR_PATTERN = r"^#([0-9a-fA-F]{6}|[0-9a-fA-F]{8})$"
PERCENT_PATTERN = r"^(100|[1-9]?[0-9](\.[0-9]{1,2})?)%$"
StepId = Annotated[str, StringConstraints(pattern=STEP_ID_PATTERN)]
Dimension = Annotated[int, Field(strict=True, ge=1, le=MAX_DIMENSION)]
Flag = Annotated[bool, Field(strict=True)]
Color = Annotated[str, StringConstraints(pattern=COLOR_PATTERN)]
"""``#rrggbb`` or ``#rrggbbaa``, sRGB."""
Percent = Annotated[str, StringConstraints(pattern=PERCENT_PATTERN)]
"""A percentage of the image's shorter side, such as ``4%`` or ``2.5%``."""
Length = Annotated[
    Annotated[int, Field(strict=True, ge=0, le=MAX_DIMENSION)] | Percent,
    _with_message(f'must be pixels (24) or a percentage ("4%"), at most {MAX_DIMENSION} or "100%"'),
]
"""Pixels of the image that is drawn on, or a percentage of its shorter side."""


def _positive(percent: str) -> str:
    if float(percent.rstrip("%")) == 0:
        raise PydanticCustomError("not_positive", "must be over 0%")
    return percent


PositiveLength = Annotated[
    Annotated[int, Field(strict=True, ge=1, le=MAX_DIMENSION)] | Annotated[Percent, AfterValidator(_positive)],
    _with_message(f'must be pixels (24) or a percentage ("4%"), over 0 and at most {MAX_DIMENSION} or "100%"'),
]
"""A ``Length`` over 0."""


class _Step(_Model):
    """Fields of every step."""

    id: Annotated[
        StepId,
        Field(description="Name of the step and of its output. Unique in the pipeline.", examples=["thumb"]),
    ]
    from_: Annotated[
        StepId,
        Field(
            alias="from",
            description="Input of the step: `source`, or the id of an earlier step.",
            examples=["source"],
        ),
    ] = SOURCE
    output: Annotated[
        Flag, Field(description="Whether the job returns the output. `false` for an intermediate step.")
    ] = True
    format: Annotated[
        Format | None, Field(description="Format of the output. Default: the format of the step's input.")
    ] = None
    quality: Annotated[
        int | None,
        Field(
            strict=True,
            ge=1,
            le=100,
            description="Encoder quality. Default: "
            + ", ".join(f"{quality} for {_FORMAT_NAMES[format_]}" for format_, quality in DEFAULT_QUALITY.items())
            + ". PNG is lossless and ignores it.",
        ),
    ] = None
    background: Annotated[
        Color,
        Field(
            description="Color behind transparent pixels if the format has no transparency, and of the padding of "
            "`contain`. `#rrggbb` or `#rrggbbaa`."
        ),
    ] = "#ffffff"


class Resize(_Step):
    """Change the size of an image."""

    action: Literal["resize"]
    width: Annotated[Dimension | None, Field(description="Width in pixels.")] = None
    height: Annotated[Dimension | None, Field(description="Height in pixels.")] = None
    fit: Annotated[
        Fit,
        Field(
            description="How to fit the image into the box of `width` × `height`. `inside`: largest size that fits in "
            "the box. `outside`: smallest size that covers the box. `cover`: fill the box and crop the rest. "
            "`contain`: fit in the box and pad the rest. `fill`: stretch to the box. If only one of `width` and "
            "`height` is set, the other follows from the aspect ratio and `fit` is ignored."
        ),
    ] = Fit.INSIDE
    gravity: Annotated[
        Gravity | Interest,
        _with_message(f"must be {', '.join(f'`{name}`' for name in Gravity)}, `attention` or `entropy`"),
        Field(description="The part of the image that `cover` keeps, and where `contain` places the image."),
    ] = Gravity.CENTER
    enlarge: Annotated[
        Flag,
        Field(
            description="Whether the image may become larger than the input. If `false`, an image smaller than the box "
            "keeps its size; `cover` and `fill` still reduce a side that is too long, and `contain` still pads."
        ),
    ] = False
    linear: Annotated[
        Flag,
        Field(
            description="Resize in linear light. Renders fine bright detail more accurately and takes several times "
            "the CPU. Off by default, as in most image services."
        ),
    ] = False

    @model_validator(mode="wrap")
    @classmethod
    def _check_size(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - any input
        return validate(value, handler, _size_errors)


class WatermarkText(_Model):
    """A text to draw over an image."""

    text: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_TEXT),
        AfterValidator(_printable),
        Field(
            description="The text, in any script. Line breaks are kept; markup is not interpreted.",
            examples=["© Acme"],
        ),
    ]
    font: Annotated[Font, Field(description="Font family. Scripts that it lacks are drawn in a fallback font.")] = (
        Font.SANS
    )
    bold: Annotated[Flag, Field(description="Whether the text is bold.")] = False
    size: Annotated[
        PositiveLength,
        Field(
            description="Font size (em): pixels, or a percentage of the image's shorter side. A text that is too large "
            "for the image is reduced until it fits."
        ),
    ] = "5%"
    color: Annotated[
        Color, Field(description="Text color. An outline in a contrasting tone keeps the text readable on any image.")
    ] = "#ffffff"
    opacity: Annotated[
        float,
        Field(strict=True, gt=0, le=1, allow_inf_nan=False, description="Opacity of the text. 1 is opaque."),
    ] = 0.65
    gravity: Annotated[Gravity, Field(description="Position of the text. Ignored if `tile` is true.")] = (
        Gravity.SOUTHEAST
    )
    margin: Annotated[
        Length,
        Field(
            description="Distance from the edges, at most a quarter of the image's shorter side; or between the "
            "repeated texts if `tile` is true."
        ),
    ] = "3%"
    rotation: Annotated[
        float, Field(strict=True, ge=-360, le=360, allow_inf_nan=False, description="Clockwise rotation in degrees.")
    ] = 0
    tile: Annotated[Flag, Field(description="Whether to repeat the text over the whole image.")] = False


class Watermark(_Step):
    """Draw a text over an image."""

    action: Literal["watermark"]
    watermark: WatermarkText


Step = Annotated[Resize | Watermark, Field(discriminator="action")]
"""One step. A new operation adds its model here and its function in ``dataplane.imaging``."""

ACTIONS = frozenset({"resize", "watermark"})
"""The values of ``action``."""


def _size_errors(step: object) -> Iterator[CrossFieldError]:
    fields = fields_of(step)
    if fields is None:
        return
    if fields.get("width") is None and fields.get("height") is None:
        yield (), "needs a width, a height or both"
    for format_, limit in FORMAT_MAX_DIMENSION.items():
        if fields.get("format") == format_:
            for name, side in _known_sides(fields).items():
                if limit < side <= MAX_DIMENSION:
                    yield (name,), f"must be at most {limit} (the limit of {_FORMAT_NAMES[format_]})"


def _known_sides(step: Mapping[str, object]) -> dict[str, int]:
    """The sides of the output that do not depend on the image."""
    sides = {name: side for name in ("width", "height") if isinstance(side := step.get(name), int)}
    enlarged = step.get("enlarge") is True
    if len(sides) == 1:
        return sides if enlarged else {}
    padded, filled = step.get("fit") == Fit.CONTAIN, step.get("fit") in (Fit.COVER, Fit.FILL)
    return sides if padded or (filled and enlarged) else {}


def _tree_errors(steps: object) -> Iterator[CrossFieldError]:
    """Errors of the tree: ids are unique, ``from`` names an earlier step, and at least one step has an output."""
    if not isinstance(steps, list):
        return
    rows = [fields_of(step) or {} for step in steps]
    seen: set[str] = {SOURCE}
    for index, row in enumerate(rows):
        for name, message in _node_errors(row, seen):
            yield (index, name), message
        if isinstance(step_id := row.get("id"), str):
            seen.add(step_id)
    if rows and all(row.get("output") is False for row in rows):
        yield (), "needs at least one step without `output: false`"


def _node_errors(step: Mapping[str, object], seen: set[str]) -> Iterator[tuple[str, str]]:
    step_id, parent = step.get("id"), step.get("from", SOURCE)
    if step_id == SOURCE:
        yield "id", "`source` is reserved for the source; choose another id"
    elif isinstance(step_id, str) and step_id in seen:
        yield "id", "must be unique; an earlier step has this id"
    if isinstance(parent, str) and parent not in seen:
        yield "from", "must be `source` or the id of an earlier step"


def _check_tree(value: Any, handler: ValidatorFunctionWrapHandler) -> list[Step]:  # noqa: ANN401 - any input
    """Validate the first ``MAX_STEPS`` steps: for a longer list, Pydantic would report its length and nothing else."""
    if isinstance(value, list) and not value:
        raise PydanticCustomError("no_steps", "must have at least 1 step")
    too_long = isinstance(value, list) and len(value) > MAX_STEPS

    def check(steps: object) -> Iterable[CrossFieldError]:
        if too_long:
            yield (), f"must have at most {MAX_STEPS} steps"
        yield from _tree_errors(steps)

    return validate(value[:MAX_STEPS] if too_long else value, handler, check)


Pipeline = Annotated[
    list[Step],
    Field(
        min_length=1,
        max_length=MAX_STEPS,
        description="The steps. A step comes after the step that it reads from.",
    ),
    WrapValidator(_check_tree),
]
