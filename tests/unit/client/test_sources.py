"""Names of sources that are there already."""

from __future__ import annotations

import pytest

from pixelflow.client import BucketSource, UrlSource


@pytest.mark.parametrize("last", ["", ".", "..", "\0"])
def test_a_source_always_has_a_name_for_its_outputs(last: str) -> None:
    assert BucketSource("originals", f"photos/{last}").name == "source"
    assert UrlSource(f"https://img.example/{last}").name == "img.example"


def test_the_name_of_a_source_is_the_last_part_of_its_place() -> None:
    assert BucketSource("originals", "photos/1.jpg").name == "1.jpg"
    assert UrlSource("https://img.example/photos/1%20b.jpg?token=x").name == "1 b.jpg"
