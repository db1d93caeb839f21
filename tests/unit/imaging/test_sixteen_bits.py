"""Sixteen bits per channel on the whole way, if the source has more than 8 and an output asks for them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from tests.unit.imaging.every_format import dng
from tests.unit.imaging.pictures import Run

from pixelflow.imaging.formats.jxl import load as jxl
from pixelflow.imaging.geometry import Size
from pixelflow.imaging.loading import LoadOptions
from pixelflow.imaging.operation import Operation
from pixelflow.imaging.operations.registry import OPERATIONS
from pixelflow.imaging.pipeline import Pipeline
from pixelflow.imaging.plan import plan
from pixelflow.imaging.source_options import SourceOptions

Values = NDArray[np.float64]
WIDE: dict[str, Any] = {"format": "png", "encoder": {"bit_depth": 16}}
RESIZE = {"action": "resize", "width": 640}
WHITE = 65_535


def _ramps(width: int, height: int, *, gray: bool = False, alpha: bool = False) -> Values:
    """Smooth ramps over all values, with far more than 256 levels."""
    y, x = np.mgrid[0:height, 0:width]
    across, down = x / (width - 1) * WHITE, y / max(1, height - 1) * WHITE
    channels = [across] if gray else [across, 0.6 * down + 0.4 * across, WHITE - across]
    return np.dstack([*channels, 0.3 * WHITE + 0.7 * down] if alpha else channels).round()


def _write(values: Values, path: Path) -> Path:
    interpretation = "grey16" if values.shape[2] < 3 else "rgb16"
    image = pyvips.Image.new_from_array(values.astype("u2"), interpretation=interpretation)
    image.pngsave(str(path), bitdepth=16)
    return path


def _read(path: Path) -> Values:
    """Return the values that an output has; those of 10 or 12 bits as libvips returns them, in the upper bits of 16."""
    if path.suffix == ".jxl":
        descriptor = os.open(path, os.O_RDONLY)
        image = jxl.load(descriptor, LoadOptions(SourceOptions()))
        os.close(descriptor)
    else:
        image = pyvips.Image.new_from_source(pyvips.Source.new_from_file(str(path)), "")
    values: Values = image.numpy().astype("f8").reshape(image.height, image.width, -1)
    return values


def _levels(values: Values) -> int:
    return min(len(np.unique(values[..., channel])) for channel in range(values.shape[2]))


# ── Operations ───────────────────────────────────────────────────────────────────────────────────

KINDS = {"rgb": {}, "alpha": {"alpha": True}, "gray with alpha": {"gray": True, "alpha": True}}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_every_operation_does_the_same_with_sixteen_bits_as_with_eight(
    run: Run, tmp_path: Path, operation: Operation[Any], kind: str
) -> None:
    source = _write(_ramps(80, 50, **KINDS[kind]), tmp_path / "source.png")
    steps: list[dict[str, Any]] = [{"id": "other", "action": "resize", "width": 20, "output": False}]
    for number, example in enumerate(operation.examples):
        steps += [{**example, "id": f"{number}-wide", **WIDE}, {**example, "id": f"{number}", "format": "png"}]
    run(source, *steps)
    for number in range(len(operation.examples)):
        wide, narrow = _read(tmp_path / f"{number}-wide.png"), _read(tmp_path / f"{number}.png")
        assert wide.shape == narrow.shape
        visible = narrow[..., -1:] > 40 if narrow.shape[2] in {2, 4} else True
        # Operations that raise the contrast also raise the rounding of their 8-bit input.
        assert np.abs((wide / 257 - narrow) * visible).max() < 4
        assert len(np.unique(wide % 257)) > 3, "the values are those of 8 bits"


@pytest.mark.parametrize(
    ("step", "accuracy"),
    [(RESIZE, 2), ({**RESIZE, "linear": True}, 12), ({"action": "rotate", "angle": 360}, 0), ({"action": "flip"}, 0)],
)
def test_a_ramp_stays_exact(run: Run, tmp_path: Path, step: dict[str, Any], accuracy: int) -> None:
    source = _write(_ramps(1280, 4, gray=True), tmp_path / "source.png")
    run(source, {"id": "a", **step, **WIDE}, {"id": "back", "from": "a", "action": "flip", **WIDE})
    found = _read(tmp_path / "a.png")[1, :, 0]
    place = (np.arange(len(found)) + 0.5) * 1280 / len(found) - 0.5
    expected = place / 1279 * WHITE
    expected = expected[::-1] if step["action"] == "flip" else expected
    assert np.abs(found - expected)[8:-8].max() <= accuracy + 0.5
    assert (_read(tmp_path / "back.png")[1, ::-1, 0] == found).all()


# ── Color ────────────────────────────────────────────────────────────────────────────────────────


def test_a_conversion_of_color_and_back_keeps_the_values(run: Run, tmp_path: Path) -> None:
    values = _ramps(300, 200)
    convert = {"action": "convert", **WIDE}
    run(_write(values, tmp_path / "source.png"), {"id": "p3", **convert, "color_space": "p3"})
    run(tmp_path / "p3.png", {"id": "back", **convert})
    assert np.abs(_read(tmp_path / "p3.png") - values).max() > 5_000
    assert np.abs(_read(tmp_path / "back.png") - values).max() <= 24, "12 bits near black, where the curve is linear"


def test_hdr_is_tone_mapped_without_bands(run: Run, tmp_path: Path, hdr_ramp: Callable[[int], Path]) -> None:
    for transfer in (16, 18):  # PQ and HLG (ITU-T H.273)
        run(hdr_ramp(transfer), {"id": "a", "action": "convert", **WIDE}, {"id": "b", "action": "convert"})
        wide, narrow = _read(tmp_path / "a.png"), _read(tmp_path / "b.png")
        assert np.abs(wide / 257 - narrow).max() <= 1
        assert len(np.unique(wide)) > 500
        assert np.diff(wide[1, :, 0]).min() > -6, "steps of light are smaller than values of 12 bits"


@pytest.fixture
def hdr_ramp(tmp_path: Path) -> Callable[[int], Path]:
    """``hdr_ramp(transfer)`` writes a gray ramp in BT.2020 with a transfer function, stated by a chunk `cICP`."""

    def write(transfer: int) -> Path:
        from zlib import crc32  # noqa: PLC0415

        gray = _ramps(2000, 3, gray=True)
        path = _write(np.dstack([gray] * 3), tmp_path / "hdr.png")
        data, chunk = path.read_bytes(), b"cICP" + bytes([9, transfer, 0, 1])
        path.write_bytes(data[:33] + b"\0\0\0\x04" + chunk + crc32(chunk).to_bytes(4, "big") + data[33:])
        return path

    return write


@pytest.mark.parametrize(("space", "form"), [("rgb16", "ushort"), ("scrgb", "float"), ("labs", "short")])
def test_sources_of_floats_and_lab_have_more_than_eight_bits(run: Run, tmp_path: Path, space: str, form: str) -> None:
    image = pyvips.Image.new_from_array(_ramps(1500, 3).astype("u2"), interpretation="rgb16").colourspace(space)
    assert image.format == form
    image.tiffsave(str(tmp_path / "source.tiff"))
    run(tmp_path / "source.tiff", {"id": "a", "action": "convert", **WIDE})
    assert _levels(_read(tmp_path / "a.png")) > 1000


# ── Formats ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("format_", "encoder", "levels"),
    [
        ("avif", {"bit_depth": 10}, 500),
        ("avif", {"bit_depth": 10, "lossless": True}, 600),
        ("avif", {"bit_depth": 12, "lossless": True}, 630),
        ("png", {"bit_depth": 16}, 640),
        ("tiff", {"bit_depth": 16}, 640),
        ("jxl", {"bit_depth": 16}, 640),
        ("jxl", {"bit_depth": 16, "lossless": True}, 640),
    ],
)
def test_an_output_has_the_bits_that_it_asks_for(
    run: Run, tmp_path: Path, format_: str, encoder: dict[str, Any], levels: int
) -> None:
    gray = _ramps(1280, 40, gray=True)
    source = _write(np.dstack([gray] * 3), tmp_path / "source.png")
    small = {**RESIZE, "format": format_, "encoder": encoder, "quality": 95}
    run(source, {"id": "a", **small}, {"id": "eight", "action": "convert", "from": "a", "format": "png"})
    found = _read(tmp_path / f"a.{format_}")
    assert _levels(found) >= levels
    assert np.abs(found[5, :, 1] - _ramps(640, 1, gray=True)[0, :, 0]).max() < 600
    assert _read(tmp_path / "eight.png").max() == 255


@pytest.mark.parametrize(("format_", "bits"), [("png", 16), ("tiff", 16), ("avif", 10), ("avif", 12)])
def test_white_of_a_source_with_eight_bits_stays_white(run: Run, tmp_path: Path, format_: str, bits: int) -> None:
    Image.new("RGB", (20, 20), (255, 255, 255)).save(tmp_path / "source.png")
    encoder = {"bit_depth": bits} | ({"lossless": True} if format_ == "avif" else {})
    run(tmp_path / "source.png", {"id": "a", "action": "convert", "format": format_, "encoder": encoder})
    assert _read(tmp_path / f"a.{format_}").min() >= WHITE - (1 << (16 - bits)) + 1


def test_avif_with_ten_bits_keeps_its_values(run: Run, tmp_path: Path) -> None:
    encoder = {"bit_depth": 10, "lossless": True}
    step = {"action": "convert", "format": "avif", "encoder": encoder}
    run(_write(_ramps(300, 200), tmp_path / "source.png"), {"id": "a", **step})
    run(tmp_path / "a.avif", {"id": "b", **step}, {"id": "c", "action": "convert", **WIDE})
    assert (_read(tmp_path / "a.avif") == _read(tmp_path / "b.avif")).all()
    exact = _read(tmp_path / "a.avif") * WHITE / (1023 << 6)
    assert np.abs(_read(tmp_path / "c.png") - exact).max() <= 1


def test_heic_with_ten_bits_keeps_them(run: Run, tmp_path: Path) -> None:
    run(Path(__file__).with_name("files") / "deep.heic", {"id": "a", "action": "convert", **WIDE})
    assert _levels(_read(tmp_path / "a.png")) > 1000


def test_camera_raw_is_developed_if_an_output_has_sixteen_bits(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.dng").write_bytes(dng(size=(480, 320), preview=Image.new("RGB", (480, 320), (20, 20, 200))))
    step = {"action": "resize", "width": 120}
    run(tmp_path / "in.dng", {"id": "a", **step, "format": "png"})
    run(tmp_path / "in.dng", {"id": "b", **step, **WIDE})
    assert np.abs(_read(tmp_path / "a.png") - [20, 20, 200]).max() < 10, "the preview"
    assert np.abs(_read(tmp_path / "b.png") / 257 - [20, 20, 200]).max() > 100


@pytest.mark.parametrize(
    ("format_", "options"), [("png", {"palette": True}), ("tiff", {"compression": "jpeg"}), ("avif", {"bit_depth": 16})]
)
def test_options_that_exclude_sixteen_bits(format_: str, options: dict[str, Any]) -> None:
    step = {"id": "a", "action": "convert", "format": format_, "encoder": {"bit_depth": 16} | options}
    with pytest.raises(ValidationError, match="bit_depth"):
        TypeAdapter(Pipeline).validate_python([step])


# ── What is asked for ────────────────────────────────────────────────────────────────────────────


def test_only_what_leads_to_a_wide_output_has_sixteen_bits() -> None:
    steps = TypeAdapter(Pipeline).validate_python([
        {"id": "first", "action": "resize", "width": 60, "output": False},
        {"id": "wide", "action": "blur", "from": "first", "sigma": 2, **WIDE},
        {"id": "thumb", "action": "resize", "width": 20, "from": "first", "format": "jpeg"},
        {"id": "small", "action": "resize", "width": 30, "format": "avif", "encoder": {"bit_depth": 8}},
        {"id": "hidden", "action": "convert", "output": False, **WIDE},
    ])  # fmt: skip
    assert plan(steps, Size(100, 100), "png", wide=True).wide == {"source", "first", "wide"}
    assert plan(steps, Size(100, 100), "png").wide == set()
    assert plan(steps[3:4], Size(100, 100), "png", wide=True).wide == set()


def test_outputs_with_eight_bits_do_not_depend_on_others(run: Run, tmp_path: Path) -> None:
    source, wide = _write(_ramps(1280, 120), tmp_path / "source.png"), {"id": "wide", **RESIZE, **WIDE}
    steps = [{"id": f"png{width}", **RESIZE, "width": width, "format": "png"} for width in (640, 500, 200)]
    run(source, *steps, {**steps[0], "id": "other"})
    alone = {path: path.read_bytes() for path in tmp_path.glob("png*.png")}
    run(source, *steps, wide)
    mixed = _read(tmp_path / "wide.png")
    assert {path: path.read_bytes() for path in alone} == alone
    run(source, wide)
    assert (_read(tmp_path / "wide.png") == mixed).all()


@pytest.mark.parametrize("step", [{"action": "crop"}, {"action": "resize", "fit": "cover"}])
def test_faces_are_found_in_sixteen_bits(run: Run, tmp_path: Path, step: dict[str, Any]) -> None:
    with Image.open(Path(__file__).with_name("files") / "astronaut.jpg") as photo:
        source = _write(np.asarray(photo.convert("RGB")) * 257.0, tmp_path / "source.png")
    step |= {"width": 90, "height": 160, "gravity": "faces"}
    rendered = run(source, {"id": "a", **step, **WIDE}, {"id": "b", **step, "format": "png"})
    assert rendered.warnings == []
    difference = np.abs(_read(tmp_path / "a.png") / 257 - _read(tmp_path / "b.png"))
    assert difference.mean() < 0.4, "the same part"


@pytest.mark.parametrize(("name", "save"), [("ppm", {"format": "PPM"}), ("jp2", {"format": "JPEG2000"})])
def test_gray_sources_of_other_decoders_keep_their_bits(
    run: Run, tmp_path: Path, name: str, save: dict[str, Any]
) -> None:
    values = _ramps(400, 30, gray=True)[..., 0].astype("u2")
    Image.fromarray(values).save(tmp_path / f"in.{name}", **save)
    run(tmp_path / f"in.{name}", {"id": "out", "action": "convert", **WIDE})
    assert _levels(_read(tmp_path / "out.png")) == 400
