"""``python -m pixelflow`` is ``pixelflow``."""

from pixelflow.cli.main import main

main()
