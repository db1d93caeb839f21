"""Fixtures for the tests in the folders of operations and formats."""

from tests.unit.imaging.conftest import libvips, quadrants, run

__all__ = ["libvips", "quadrants", "run"]
