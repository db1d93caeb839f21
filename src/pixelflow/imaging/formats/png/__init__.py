"""PNG (ISO/IEC 15948)."""

import struct
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from pixelflow.cross_field import CrossFieldError, fields_of, validate
from pixelflow.imaging.fields import Flag
from pixelflow.imaging.format import BitDepth, EncoderOptions, Format, OutputEnds, require


def _read_size(ends: OutputEnds) -> tuple[int, int]:
    require(ends.head[:8] == b"\x89PNG\r\n\x1a\n" and ends.head[12:16] == b"IHDR")
    require(ends.tail[-8:-4] == b"IEND")
    width, height = struct.unpack_from(">II", ends.head, 16)
    return width, height


def _errors(options: object) -> Iterator[CrossFieldError]:
    fields = fields_of(options)
    if fields and fields.get("bit_depth") == 16 and fields.get("palette") is True:  # noqa: PLR2004  # bits
        yield ("bit_depth",), "must be 8 with a `palette`"


class PngOptions(EncoderOptions):
    """The options of the PNG encoder."""

    fields_since: ClassVar = {"bit_depth": 2}

    bit_depth: BitDepth = 8
    palette: Annotated[
        Flag | None,
        Field(
            description="Whether to reduce the colors to a palette. Default: if the source has one and the file "
            "becomes smaller by it."
        ),
    ] = None
    colors: Annotated[
        int,
        Field(strict=True, ge=2, le=256, description="Colors of the palette: 2 to 256, rounded up to 2, 4, 16 or 256."),
    ] = 256
    dither: Annotated[
        float,
        Field(
            strict=True,
            ge=0,
            le=1,
            allow_inf_nan=False,
            description="Strength of the dithering, if the colors are reduced: 0 to 1.",
        ),
    ] = 1.0
    effort: Annotated[
        int | None, Field(strict=True, ge=1, le=10, description="CPU time for smaller files: 1 to 10. Default: 4.")
    ] = None
    progressive: Annotated[
        Flag, Field(description="Whether the picture appears in full, coarse at first, while it loads. Larger.")
    ] = False

    @model_validator(mode="wrap")
    @classmethod
    def _check(
        cls,
        value: Any,  # noqa: ANN401 - any input
        handler: ModelWrapValidatorHandler[Self],
    ) -> Self:
        return validate(value, handler, _errors)


FORMAT = Format(
    name="png",
    label="PNG",
    extension="png",
    media_type="image/png",
    wide=True,
    matches=lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    decoder_bytes=8,
    moves=True,
    options=PngOptions,
    max_side=2**31 - 1,
    read_size=_read_size,
)
