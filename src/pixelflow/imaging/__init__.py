"""Image processing: turns one source into the outputs of a pipeline. The only package that imports libvips.

It runs in a child process without credentials that may be killed at any time. It must never read settings, access a
database, a queue or the network, or open a file of a user: source and outputs are descriptors.

    source     detects format and size of a source, checks limits, decodes it
    picture    an image on its way to upright 8-bit sRGB
    pyramid    a source used by several resizes, with the smaller versions made for them
    geometry   integer arithmetic on sizes and positions
    layers     draws pictures with alpha over others
    blurring   Gaussian blur
    operations one folder per ``action``
    formats    one folder per image format
    decoded · encoded   pixels and bytes of codecs other than libvips
    extras     optional decoders, and which are installed
    file_types · markup   what a file is that no format matches
    plan       how far the source may be reduced on decoding, and which results stay in memory
    memory     estimate of the memory that a plan needs
    encode     output formats and encoder options
    engine     one transform from end to end
    runtime    process-wide setup of libvips and fonts
    errors     maps libvips errors to job errors
"""
