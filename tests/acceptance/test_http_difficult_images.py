"""Unusual and invalid images: correct outputs, or an immediate failure with a specific error code."""

from __future__ import annotations

import io
import zipfile

import httpx
import pytest
from PIL import Image
from tests.acceptance import job_steps as steps
from tests.acceptance import pictures
from tests.acceptance.job_steps import Json
from tests.acceptance.pictures import RED, WHITE

PNG = steps.resize(width=60, format="png")


def _made(client: httpx.Client, source: bytes, step: Json) -> Image.Image:
    job = steps.done(client, source, step)
    assert job["status"] == "succeeded", job["error"]
    return pictures.opened(steps.download(job["outputs"][0]).content)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_photo_becomes_upright(somebody: httpx.Client, orientation: int) -> None:
    picture = _made(somebody, pictures.turned_photo(orientation), PNG)
    assert picture.size == (60, 40)
    assert pictures.distance(pictures.quadrants(picture), list(pictures.QUADRANTS)) < 20
    assert not picture.getexif(), "otherwise a viewer rotates the image again"


def test_a_cmyk_photo_keeps_its_colors(somebody: httpx.Client) -> None:
    source = pictures.saved(pictures.flag().convert("CMYK"))
    picture = _made(somebody, source, PNG)
    assert picture.mode == "RGB"
    *inks, paper = pictures.quadrants(picture)
    assert [ink.index(max(ink)) for ink in inks] == [0, 1, 2], "red, green and blue, as far as CMYK can represent them"
    assert pictures.distance([paper], [WHITE]) < 10


def test_16_bit_channels_become_8_bit(somebody: httpx.Client) -> None:
    picture = _made(somebody, pictures.gray_16_bit(), PNG).convert("RGB")
    assert (
        pictures.distance([pictures.color(picture, 10, 20), pictures.color(picture, 50, 20)], [(64,) * 3, (192,) * 3])
        < 4
    )


@pytest.mark.parametrize(("background", "expected"), [({}, WHITE), ({"background": "#0000ff"}, (0, 0, 255))])
def test_transparency_is_flattened_over_the_background_in_a_jpeg(
    somebody: httpx.Client, background: Json, expected: tuple[int, int, int]
) -> None:
    step = steps.resize(width=60, format="jpeg", quality=95, **background)
    picture = _made(somebody, pictures.half_transparent(), step)
    assert pictures.distance([pictures.color(picture, 10, 20), pictures.color(picture, 50, 20)], [expected, RED]) < 20


def test_a_damaged_photo_is_accepted_with_a_warning_if_the_client_wants(somebody: httpx.Client) -> None:
    """The child starts over: with two outputs, the first is written before the damage is found."""
    source, pair = pictures.noise(400, 300)[:60_000] + b"\xff\xd9", [PNG, steps.resize("big", width=300, format="png")]
    refused = steps.done(somebody, source, *pair)
    assert (refused["status"], refused["error"]["code"], refused["warnings"]) == ("failed", "undecodable", [])
    job = steps.done(somebody, source, *pair, source={"on_damage": "accept"})
    assert (job["status"], job["error"]) == ("succeeded", None)
    assert [warning["code"] for warning in job["warnings"]] == ["source_damaged"]
    assert (job["source"]["options"], job["source"]["frames"]) == ({"on_damage": "accept"}, 1)
    assert pictures.opened(steps.download(job["outputs"][0]).content).size == (60, 45)
    whole = steps.done(somebody, pictures.noise(400, 300), PNG, source={"on_damage": "accept"})
    assert (whole["status"], whole["warnings"]) == ("succeeded", [])


def test_transparency_is_kept_in_a_png(somebody: httpx.Client) -> None:
    picture = _made(somebody, pictures.half_transparent(), PNG)
    assert picture.mode == "RGBA"
    assert [pictures.color(picture, x, 20)[3] for x in (10, 50)] == [0, 255]


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("photo.jpg", pictures.photo())
    return file.getvalue()


@pytest.mark.parametrize(
    ("source", "code"),
    [
        pytest.param(pictures.noise(400, 300)[:20_000], "undecodable", id="truncated JPEG"),
        pytest.param(pictures.saved(pictures.flag(), "PNG")[:60], "undecodable", id="truncated PNG"),
        pytest.param(pictures.saved(pictures.flag(), "WEBP")[:60], "undecodable", id="truncated WebP"),
        pytest.param(pictures.saved(pictures.flag(), "AVIF")[:200], "undecodable", id="truncated AVIF"),
        pytest.param(b"\xff\xd8\xff", "undecodable", id="the first bytes of a JPEG"),
        pytest.param(b"\xff\xd8\xff\xe0" + b"\0" * 5000, "undecodable", id="a JPEG of zeros"),
        pytest.param(pictures.png_that_claims(30_000, 30_000), "too_many_pixels", id="a PNG of 900 megapixels"),
        pytest.param(pictures.png_that_claims(300, 300), "undecodable", id="a PNG with too few rows"),
        pytest.param(b"Dear Sir or Madam, ...", "unsupported_format", id="a text file"),
        pytest.param(_zip(), "unsupported_format", id="ZIP"),
        pytest.param(b"\0\0\0\x18ftypisom" + bytes(80), "unsupported_format", id="MP4"),
    ],
)
def test_an_unusable_source_fails_at_the_first_attempt(somebody: httpx.Client, source: bytes, code: str) -> None:
    job = steps.done(somebody, source)
    assert (job["status"], job["attempts"]) == ("failed", 1)
    assert job["error"]["code"] == code
    assert job["error"]["message"]
    assert (job["outputs"], job["usage"]) == ([], None)


@pytest.mark.parametrize("format_", ["GIF", "TIFF", "BMP", "PDF"])
def test_a_picture_in_another_format_is_read(somebody: httpx.Client, format_: str) -> None:
    picture = _made(somebody, pictures.saved(pictures.flag(), format_), PNG).convert("RGB")
    assert pictures.distance(pictures.quadrants(picture), pictures.quadrants(pictures.flag())) < 20


def test_an_svg_draws_no_file_of_the_worker(somebody: httpx.Client) -> None:
    source = (
        b'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9" height="9">'
        b'<image xlink:href="file:///etc/passwd" width="9" height="9"/></svg>'
    )
    assert _made(somebody, source, PNG).getchannel("A").getextrema() == (0, 0), "nothing but transparent pixels"


def test_an_output_that_is_too_large_fails_with_its_step_id(somebody: httpx.Client) -> None:
    job = steps.done(somebody, pictures.photo(), steps.resize("wall", width=16_000, enlarge=True))
    assert (job["status"], job["attempts"]) == ("failed", 1)
    assert (job["error"]["code"], job["error"]["step_id"]) == ("output_too_large", "wall")
