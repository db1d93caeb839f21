"""JPEG XL (ISO/IEC 18181): the first frame."""

from typing import Annotated, ClassVar

from pydantic import Field

from pixelflow.imaging.fields import Flag
from pixelflow.imaging.format import BitDepth, EncoderOptions, Format
from pixelflow.imaging.formats.jxl.size import read_size

_CODESTREAM, _CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"


class JxlOptions(EncoderOptions):
    """The options of the JPEG XL encoder."""

    fields_since: ClassVar = {"bit_depth": 2}

    lossless: Annotated[Flag, Field(description="Whether every pixel is kept. `quality` is ignored.")] = False
    bit_depth: BitDepth = 8
    effort: Annotated[
        int | None, Field(strict=True, ge=1, le=9, description="CPU time for smaller files: 1 to 9. Default: 3.")
    ] = None


FORMAT = Format(
    name="jxl",
    label="JPEG XL",
    extension="jxl",
    media_type="image/jxl",
    since=2,
    reads_since=2,
    extra="jxl",
    wide=True,
    matches=lambda head: head.startswith((_CODESTREAM, _CONTAINER)),
    decoder_bytes=20,
    decodes_whole=True,
    options=JxlOptions,
    default_quality=80,
    encoder_bytes=48,
    read_size=read_size,
)
