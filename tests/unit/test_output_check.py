"""Headers of outputs that no encoder wrote."""

from __future__ import annotations

import struct

import pytest

from pixelflow.dataplane.worker.output_check import size_in_pixels
from pixelflow.imaging.format import OutputEnds
from pixelflow.imaging.formats.registry import OUTPUT_FORMATS

_TIFF_WITHOUT_TAGS = b"II*\0" + struct.pack("<IH", 8, 0) + bytes(64)


@pytest.mark.parametrize("format_", OUTPUT_FORMATS)
@pytest.mark.parametrize("content", [b"", bytes(64), b"\xff" * 64, _TIFF_WITHOUT_TAGS])
def test_a_header_without_a_size_is_no_output(format_: str, content: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        size_in_pixels(format_, OutputEnds(content, content, len(content)))
