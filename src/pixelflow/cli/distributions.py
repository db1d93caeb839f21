"""Names of the distributions that PixelFlow is installed from: docs/adr/0055-two-distributions.md."""

CLIENT = "pixelflow-client"
"""The SDK; with the extra ``cli``, the command line too."""
SERVER = "pixelflow-server"
"""The service. Its extras are for its processes."""
