"""PDF (ISO 32000): one page, drawn."""

from pixelflow.imaging.format import Format

_SIGNATURE_WITHIN = 1024
"""As readers of PDF accept it (ISO 32000-1, annex H of Adobe's implementation notes)."""

FORMAT = Format(
    name="pdf",
    label="PDF",
    extension="pdf",
    media_type="application/pdf",
    reads_since=2,
    extra="pdf",
    matches=lambda head: b"%PDF-" in head[:_SIGNATURE_WITHIN],
    vector=True,
    decoder_bytes=16,
    decodes_whole=True,
    pages=True,
    default_output="png",
)
