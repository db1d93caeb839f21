"""The fields that all steps have. Each operation extends ``Step`` in a folder of its own."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from pixelflow.imaging.colour.choices import ColorChoice, HdrChoice
from pixelflow.imaging.fields import Color, Flag, StepId, StrictModel
from pixelflow.imaging.format import EncoderOptions
from pixelflow.imaging.formats.registry import OUTPUT_FORMATS, OutputFormat, canonical_format
from pixelflow.imaging.metadata_choice import MetadataChoice

SOURCE = "source"
"""The value of ``from`` for a step that reads the source."""
FIELDS_SINCE = {"encoder": 2, "color_space": 2, "hdr": 2, "metadata": 2}
"""The contract that introduced a field of every step, if it was not the first (``contracts.capabilities``)."""


def _options_of_format(
    value: Any,  # noqa: ANN401 - any input
    _handler: ValidatorFunctionWrapHandler,
    info: ValidationInfo,
) -> EncoderOptions | None:
    """Validate ``encoder`` with the options of the step's ``format``."""
    format_ = OUTPUT_FORMATS.get(str(info.data.get("format")))
    if value is None or (format_ is None and "format" not in info.data):  # `format` itself is invalid
        return None
    if format_ is None or format_.options is None:
        raise PydanticCustomError("encoder", "needs `format`: the options differ between formats")
    return format_.options.model_validate(value)


if TYPE_CHECKING:
    AnyEncoderOptions = EncoderOptions
else:
    AnyEncoderOptions = reduce(or_, [format_.options for format_ in OUTPUT_FORMATS.values()])
    """The options of one of the formats."""

_QUALITIES = ", ".join(
    f"{format_.default_quality} for {format_.label}" for format_ in OUTPUT_FORMATS.values() if format_.default_quality
)


class Step(StrictModel):
    """Fields of every step."""

    id: Annotated[
        StepId,
        Field(description="Name of the step and of its output. Unique in the pipeline.", examples=["thumb"]),
    ]
    action: str
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
        OutputFormat | None,
        BeforeValidator(canonical_format),
        Field(description="Format of the output. Default: the format of the step's input."),
    ] = None
    quality: Annotated[
        int | None,
        Field(
            strict=True,
            ge=1,
            le=100,
            description=f"Encoder quality. Default: {_QUALITIES}. PNG is lossless and ignores it.",
        ),
    ] = None
    encoder: Annotated[
        AnyEncoderOptions | None,
        WrapValidator(_options_of_format),
        Field(description="Further options of the encoder. Needs `format`."),
    ] = None
    color_space: Annotated[
        ColorChoice,
        Field(
            description="Color space of the output. `srgb`: without a profile, as every program expects. `p3`: Display "
            "P3, with its profile. `keep`: that of the source with its profile, if a matrix describes it; CMYK becomes "
            "sRGB."
        ),
    ] = ColorChoice.SRGB
    hdr: Annotated[
        HdrChoice,
        Field(
            description="What becomes of the gain map of an Ultra HDR JPEG. `drop`: the output is the SDR picture. "
            "`keep`: a JPEG output has the gain map, if all steps before it only scale, crop, turn or mirror; else the "
            "job has the warning `gain_map_dropped`, also for the gain map of an AVIF or HEIC."
        ),
    ] = HdrChoice.DROP
    metadata: Annotated[
        MetadataChoice,
        Field(
            description="Metadata of the source that the output keeps. `strip`: none. `copyright`: copyright, creator "
            "and credit, from EXIF, XMP and IPTC. `all`: all EXIF, XMP and IPTC, with the place where a photo was "
            "taken; the orientation is 1. Not for GIF and JPEG XL."
        ),
    ] = MetadataChoice.STRIP
    background: Annotated[
        Color,
        Field(
            description="Color behind transparent pixels if the format has no transparency, and of the space that the "
            "operation adds around the image."
        ),
    ] = "#ffffff"
