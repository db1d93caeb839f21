"""Runs the command line as ``python -m pixelflow``."""

from pixelflow.cli.main import main

main()
