"""Assets in the engine: decoded on first use, within the limits, and named in errors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.imaging.pictures import corner_colors, four_colors, near
from tests.unit.imaging.test_sources import stored_as

from pixelflow.errors import JobError, TooManyPixelsError, UndecodableError, UnsupportedFormatError
from pixelflow.imaging import decoder_warnings
from pixelflow.imaging.assets import AssetPictures
from pixelflow.imaging.protocol import TransformLimits

LIMITS = TransformLimits(max_source_pixels=10_000, max_output_pixels=10_000, max_output_bytes=10**6)
Open = Callable[..., AssetPictures]


@pytest.fixture
def opened() -> Iterator[Open]:
    descriptors: dict[str, int] = {}

    def open_assets(**paths: Path) -> AssetPictures:
        descriptors.update({name: os.open(path, os.O_RDONLY) for name, path in paths.items()})
        return AssetPictures(descriptors, LIMITS)

    yield open_assets
    for descriptor in descriptors.values():
        os.close(descriptor)


def _png(path: Path, width: int = 20, height: int = 10, color: tuple[int, ...] = (200, 0, 0, 128)) -> Path:
    Image.new("RGBA", (width, height), color).save(path)
    return path


def test_assets_are_pictures_by_name_in_srgb_with_their_alpha(opened: Open, tmp_path: Path) -> None:
    assets = opened(logo=_png(tmp_path / "a.png"), badge=_png(tmp_path / "b.png", 5, 7, (0, 0, 255, 255)))
    assert set(assets) == {"logo", "badge"}
    assert assets["logo"].size == (20, 10)
    assert assets["logo"].image(3, 3) == [200, 0, 0, 128]
    assert assets["badge"].image(4, 6) == [0, 0, 255, 255]
    assert assets["logo"] is assets["logo"], "decoded once"
    assert assets.kept_bytes == 4 * (20 * 10 + 5 * 7)
    assert assets.decoding_bytes >= 20 * 10
    with pytest.raises(KeyError):
        assets["other"]


def test_an_asset_is_turned_upright(opened: Open, tmp_path: Path) -> None:
    quadrants = four_colors(60, 40)
    picture = opened(logo=stored_as(6, quadrants, tmp_path / "a.jpg"))["logo"]
    shown = Image.frombytes("RGB", picture.size, picture.image.write_to_memory())
    expected = corner_colors(quadrants)
    assert all(near(color, expected[corner]) for corner, color in corner_colors(shown).items())


def test_pixels_are_decoded_on_first_use(opened: Open, tmp_path: Path) -> None:
    """An asset whose data is truncated is no error before a step uses it."""
    whole = _png(tmp_path / "a.png", 90, 90, (1, 2, 3, 4)).read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    assets = opened(logo=tmp_path / "b.png")
    with pytest.raises(UndecodableError, match="asset `logo`"):
        assets["logo"]


def test_an_asset_that_lacks_pixels_is_named(opened: Open, tmp_path: Path) -> None:
    """Decoders fill up what is missing before the end marker, and only warn."""
    Image.effect_noise((90, 90), 80).convert("RGB").save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2] + b"\xff\xd9")
    assets = opened(logo=tmp_path / "a.jpg")
    decoder_warnings.reset()
    with pytest.raises(UndecodableError, match="asset `logo`"):
        assets["logo"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        pytest.param(b"text", UnsupportedFormatError, id="no image"),
        pytest.param(b"\x89PNG\r\n\x1a\nx", UndecodableError, id="damaged header"),
        pytest.param(None, TooManyPixelsError, id="too many pixels"),
    ],
)
def test_an_unusable_asset_is_named(opened: Open, tmp_path: Path, content: bytes | None, error: type[JobError]) -> None:
    path = _png(tmp_path / "a.png", 101, 100)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match="asset `logo`") as raised:
        opened(logo=path)
    assert "source" not in raised.value.detail
