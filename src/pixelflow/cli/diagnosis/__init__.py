"""The checks of ``pixelflow doctor``. Each returns findings and never raises; none changes anything.

A check imports what it checks when it runs: any part of PixelFlow may be missing from an installation.
"""
