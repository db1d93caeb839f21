"""SVG (SVG 2): drawn without scripts, and without anything outside the document."""

import re

from pixelflow.imaging.format import Format

_START = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*\?>\s*)?(?:<!--(?:(?!-->).)*-->\s*)*"
    rb"(?:<!DOCTYPE\s+svg(?:[^>\[]|\[[^\]]*\])*>\s*)?(?:<!--(?:(?!-->).)*-->\s*)*<(?:\w+:)?svg[\s>/]",
    re.DOTALL,
)
"""What may precede the root element: a byte order mark, the declaration, comments and the type of the document."""

FORMAT = Format(
    name="svg",
    label="SVG",
    extension="svg",
    media_type="image/svg+xml",
    matches=lambda head: _START.match(head) is not None,
    vector=True,
    decoder_bytes=12,
    decodes_whole=True,
    default_output="png",
)
