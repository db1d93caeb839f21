"""Sources that arguments name."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from pixelflow.cli.job_sources import parse_place, parse_urls
from pixelflow.client import BucketSource, UrlSource


def test_urls_and_objects_of_buckets_are_named_alike_in_options_and_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "urls.txt"
    file.write_text("# photos\n\n https://img.example/1.jpg?a \nS3://originals/photos/2 b.jpg\n")
    assert parse_urls(["s3://originals/3.jpg"], file) == [
        BucketSource("originals", "3.jpg"),
        UrlSource("https://img.example/1.jpg?a"),
        BucketSource("originals", "photos/2 b.jpg"),
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("s3://originals", "must have a bucket and a key"),
        ("s3:///1.jpg", "must have a bucket and a key"),
        ("ftp://img.example/1.jpg?token=s3cr3t", "'ftp' URLs can't be fetched"),
        ("img.example/1.jpg?token=s3cr3t", "must be URLs such as https://"),
    ],
)
def test_what_is_no_place_of_a_source_is_refused(value: str, message: str) -> None:
    with pytest.raises(typer.BadParameter, match=message) as raised:
        parse_urls([value], None)
    assert "s3cr3t" not in raised.value.message


def test_a_path_is_no_place_at_another_server() -> None:
    assert parse_place("photos/1.jpg") is None
