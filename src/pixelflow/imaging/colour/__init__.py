"""Color: which color space a source has, and the conversion to the color space of an output.

Every image describes itself by its metadata: an ICC profile unless it is sRGB, and `convert.TRANSFER` if its values are
HDR. Color that a file states in another way becomes such a profile when the file is opened (`source`).

    gamut     primaries, white points and matrices
    curves    from a stored value to linear light and back; tone mapping of HDR
    icc       ICC profiles: reading those of matrix and gray type, writing compact ones
    cicp      coding-independent code points (ITU-T H.273), as PNG, AVIF and HEIF carry them
    png       color chunks of PNG
    isobmff   color properties of AVIF and HEIF
    source    the color of an opened source, by the precedence of its format
    convert   conversion of pixels

Only `source` and `convert` import libvips.
"""
