"""The ``pixelflow`` command line.

``app`` lists the commands, ``commands/`` holds one module per noun, and the modules beside it are what they share.
Results go to stdout; progress, notes and errors go to stderr.
"""
