"""Translucent pictures keep their colors: no operation makes them darker, or lets hidden colors bleed into edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import pyvips
from PIL import Image
from tests.unit.imaging.pictures import Run

from pixelflow.errors import UndecodableError
from pixelflow.imaging.alpha import flattened, with_premultiplied_alpha
from pixelflow.imaging.layers import draw

COLOR = (200, 100, 50)
Floats = npt.NDArray[np.float64]


def pixels(path: Path) -> Floats:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGBA"), dtype=float)


def bands_of_alpha(width: int, band: int) -> Image.Image:
    """A flat color under every alpha from 0 to 255, in horizontal bands."""
    alpha = np.repeat(np.arange(256, dtype=np.uint8), band)[:, None].repeat(width, axis=1)
    image = Image.new("RGB", (width, 256 * band), COLOR)
    image.putalpha(Image.fromarray(alpha))
    return image


def middles(run: Run, tmp_path: Path, name: str, **step: Any) -> Floats:  # noqa: ANN401 - fields of a step
    """Reduce bands of 40 rows to 10, and return the pixels in the middle of each, which see no other alpha."""
    run(tmp_path / name, {"id": "o", "action": "resize", "width": 16, "format": "png", **step})
    return pixels(tmp_path / "o.png")[5::10, 8]


@pytest.mark.parametrize("linear", [False, True])
def test_a_flat_color_stays_under_every_alpha(run: Run, tmp_path: Path, linear: bool) -> None:
    bands_of_alpha(64, 40).save(tmp_path / "in.png")
    found = middles(run, tmp_path, "in.png", linear=linear)
    assert list(found[:, 3]) == list(range(256))
    assert np.abs(found[1:, :3] - COLOR).max() == 0


def test_a_flat_color_stays_in_webp(run: Run, tmp_path: Path) -> None:
    """The decoder of lossless WebP reduces premultiplied colors of 8 bits: right to one level of what is seen."""
    bands_of_alpha(64, 40).save(tmp_path / "in.webp", lossless=True, exact=True)
    found = middles(run, tmp_path, "in.webp")
    assert list(found[:, 3]) == list(range(256))
    seen = (found[:, :3] - COLOR) * found[:, 3:] / 255
    assert np.abs(seen).max() <= 1
    assert np.abs(seen.mean(axis=0)).max() <= 0.2


@pytest.mark.parametrize("width", [300, 150, 70, 33])
def test_a_translucent_picture_is_that_of_a_float_resize(run: Run, tmp_path: Path, width: int) -> None:
    y, x = np.mgrid[0:400, 0:600]
    colors = np.dstack([x * 255 // 600, y * 255 // 400, (x + y) * 255 // 1000])
    alpha = np.clip(255 - np.hypot(x - 300, y - 200) * 1.1, 0, 255)
    source = Image.fromarray(np.dstack([colors, alpha]).astype(np.uint8), "RGBA")
    source.save(tmp_path / "in.png")
    run(tmp_path / "in.png", {"id": "o", "action": "resize", "width": width, "format": "png"})
    ours = pixels(tmp_path / "o.png")
    height = ours.shape[0]
    array = np.asarray(source, dtype=np.float32).copy()
    array[..., :3] *= array[..., 3:] / 255
    planes = [np.asarray(Image.fromarray(array[..., band]).resize((width, height), 1)) for band in range(4)]
    weight = ours[..., 3] / 255
    difference = ours[..., :3] * weight[..., None] - np.dstack(planes[:3])
    assert np.abs(difference).max() <= 6, "at the picture's edges the kernels differ"
    assert abs(difference.mean()) <= 0.12
    assert abs((ours[..., 3] - planes[3]).mean()) <= 0.12


def test_hidden_colors_do_not_bleed(run: Run, tmp_path: Path) -> None:
    image = Image.new("RGBA", (200, 200), (0, 255, 0, 0))
    image.paste((200, 100, 50, 255), (50, 50, 150, 150))
    image.save(tmp_path / "in.png")
    run(tmp_path / "in.png", {"id": "o", "action": "resize", "width": 33, "format": "png"})
    ours = pixels(tmp_path / "o.png")
    seen = ours[..., 3] >= 8
    assert np.abs(ours[seen][:, :3] - COLOR).max() <= 16
    assert np.abs((ours[seen][:, :3] - COLOR) * ours[seen][:, 3:] / 255).max() <= 1


def noise(width: int, height: int, channels: int) -> Floats:
    return np.random.default_rng(7).integers(0, 256, (height, width, channels)).astype(float)


def reduced(run: Run, path: Path, image: Floats) -> Floats:
    Image.fromarray(image.astype(np.uint8)).save(path)
    run(path, {"id": "o", "action": "resize", "width": 320, "format": "png"})
    return pixels(path.with_name("o.png"))


def test_an_opaque_alpha_channel_changes_nothing(run: Run, tmp_path: Path) -> None:
    """Such pictures are scaled as those without alpha, at once: in floats, some values would differ by rounding."""
    colors = noise(800, 600, 3)
    opaque = np.dstack([colors, np.full((600, 800), 255)])
    expected = reduced(run, tmp_path / "rgb.png", colors)
    assert (reduced(run, tmp_path / "rgba.png", opaque) == expected).all()


@pytest.mark.parametrize("row", [0, 1, 300, 599])
def test_a_picture_is_translucent_wherever_one_row_is(run: Run, tmp_path: Path, row: int) -> None:
    """What is opaque in all other rows is scaled once more, so that hidden colors do not bleed."""
    image = np.full((600, 800, 4), (*COLOR, 255.0))
    image[row, 200:600] = (0, 255, 0, 0)
    found = reduced(run, tmp_path / "in.png", image)
    assert found[..., 3].min() < 255
    assert np.abs((found[..., :3] - COLOR) * found[..., 3:] / 255).max() <= 1


def test_a_damaged_picture_with_opaque_alpha_is_refused(run: Run, tmp_path: Path) -> None:
    Image.fromarray(np.dstack([noise(800, 600, 3), np.full((600, 800), 255)]).astype(np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "in.png").write_bytes((tmp_path / "a.png").read_bytes()[:-100_000])
    with pytest.raises(UndecodableError):
        run(tmp_path / "in.png", {"id": "o", "action": "resize", "width": 320, "format": "png"})


def flat(color: tuple[int, ...]) -> pyvips.Image:
    black = pyvips.Image.black(8, 8, bands=len(color))
    return black.linear(1, list(color), uchar=True).copy(interpretation="srgb" if len(color) >= 3 else "b-w")


def test_flattening_rounds() -> None:
    errors = []
    for alpha in range(256):
        got = flattened(flat((*COLOR, alpha)), (255, 128, 0))(0, 0)
        exact = [c * alpha / 255 + b * (1 - alpha / 255) for c, b in zip(COLOR, (255, 128, 0), strict=True)]
        errors += [one - other for one, other in zip(got, exact, strict=True)]
    assert max(map(abs, errors)) <= 0.51
    assert abs(sum(errors) / len(errors)) < 0.05


def test_a_gray_picture_is_flattened_over_a_color() -> None:
    assert flattened(flat((90, 0)), (255, 128, 0))(0, 0) == [255, 128, 0]
    assert flattened(flat((90, 0)), (128, 128, 128))(0, 0) == [128]


def test_blending_rounds() -> None:
    errors = []
    for alpha in range(256):
        got = draw(flat(COLOR), flat((10, 20, 250, alpha)), 0, 0)(0, 0)
        exact = [b + (o - b) * alpha / 255 for o, b in zip((10, 20, 250), COLOR, strict=True)]
        errors += [one - other for one, other in zip(got[:3], exact, strict=True)]
    assert max(map(abs, errors)) <= 0.51
    assert abs(sum(errors) / len(errors)) < 0.05


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_averages_of_translucent_pixels_are_exact(factor: int) -> None:
    for alpha in range(1, 256, 7):
        shrunk = with_premultiplied_alpha(flat((*COLOR, alpha)), lambda image: image.shrink(factor, factor))
        assert shrunk(0, 0) == [*COLOR, alpha]
