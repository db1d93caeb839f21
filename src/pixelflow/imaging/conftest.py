"""Fixtures for the tests in the folders of operations and formats."""

from tests.unit.imaging.conftest import draw, flat, libvips, quadrants, run

__all__ = ["draw", "flat", "libvips", "quadrants", "run"]
