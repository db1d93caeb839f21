"""Draws one page of a PDF on white, by PDFium, which is built without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pypdfium2
import pyvips

from pixelflow.imaging.decoded import Pixels, map_file, to_image
from pixelflow.imaging.errors import map_decode_errors
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.header import Header
from pixelflow.imaging.loading import LoadOptions

DENSITY = 144
"""The default, in dots per inch: A4 has 1191 × 1684 pixels."""
_POINTS = 72
"""Per inch."""
_CHANNELS = 4


def header(descriptor: int, options: LoadOptions) -> Header:
    """Read the size of the page.

    Raises:
        UndecodableError: the file is damaged or encrypted.
    """
    with _document(descriptor) as document:
        size = _size(document, options)
        return Header(size, frames=len(document), bytes_per_pixel=_CHANNELS, whole=True, turned=False)


def load(descriptor: int, options: LoadOptions) -> pyvips.Image:
    """Draw the page at the density, reduced."""
    with _document(descriptor) as document:
        width, height = _size(document, options)
        page = document[_number(document, options)]
        bitmap = pypdfium2.PdfBitmap.new_native(width, height, pypdfium2.raw.FPDFBitmap_BGRx, rev_byteorder=True)
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
        flags = pypdfium2.raw.FPDF_ANNOT | pypdfium2.raw.FPDF_REVERSE_BYTE_ORDER
        pypdfium2.raw.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, flags)
        return to_image(Pixels(memoryview(bitmap.buffer), width, height, _CHANNELS)).extract_band(0, n=3)


@contextmanager
def _document(descriptor: int) -> Iterator[pypdfium2.PdfDocument]:
    with map_decode_errors("PDF"), map_file(descriptor) as data:
        document = pypdfium2.PdfDocument(bytes(data))
        try:
            yield document
        finally:
            document.close()


def _number(document: pypdfium2.PdfDocument, options: LoadOptions) -> int:
    return min(options.first, len(document) - 1)


def _size(document: pypdfium2.PdfDocument, options: LoadOptions) -> Size:
    scale = (options.source.density or DENSITY) / _POINTS / options.shrink
    width, height = document.get_page_size(_number(document, options))
    return Size(max(1, round(width * scale)), max(1, round(height * scale)))
