"""Where pixels live: turns one source into the outputs of a pipeline. The only package that imports libvips.

It runs in a child process that holds no credential and may be killed at any moment. It must never read settings,
reach a database, a queue or a network, or write anywhere but into the directory that a request names.

    source     what lies in the file: format, size, limits; the one decode
    picture    pixels on their way to upright sRGB
    pyramid    a source that several steps make smaller, and smaller ones made for it
    geometry   sizes and places, arithmetic only
    resize · watermark     one module per family of operations
    operations what a step's ``action`` does: the seam where operations are added
    plan       how small the source may be decoded and what must be kept in memory
    encode     formats and their encoders' options
    engine     one transform from end to end
    runtime    the process around it: libvips and fonts set up
    errors     libvips' errors told as ours
"""

from pixelflow.dataplane.imaging.engine import transform
from pixelflow.dataplane.imaging.runtime import prepare

__all__ = ["prepare", "transform"]
