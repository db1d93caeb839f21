"""SVG (SVG 2): drawn without scripts, and without anything outside the document."""

from pixelflow.imaging.format import Format
from pixelflow.imaging.markup import document_type

FORMAT = Format(
    name="svg",
    label="SVG",
    extension="svg",
    media_type="image/svg+xml",
    reads_since=2,
    matches=lambda head: document_type(head) == "svg",
    vector=True,
    decoder_bytes=12,
    decodes_whole=True,
    default_output="png",
)
