"""libjxl of the package imagecodecs, by ctypes.

The package's own functions need NumPy, decode before the size can be checked, and drop the color profile. The C
interface has been stable since version 0.9. No parallel runner is set, so libjxl starts no thread.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from importlib.metadata import files
from typing import NamedTuple, Self

# Loaded in this order: each needs those before it, and finds them by name once they are loaded.
_LIBRARIES = ("libbrotlicommon", "libbrotlidec", "libbrotlienc", "liblcms2", "libjxl_cms", "libjxl")

# jxl/decode.h
_SUCCESS, _NEED_IMAGE_OUT_BUFFER, _BASIC_INFO, _COLOR_ENCODING, _FULL_IMAGE = 0, 5, 0x40, 0x100, 0x1000
_TARGET_DATA = 1
# jxl/encode.h
_NEED_MORE_OUTPUT, _EFFORT = 2, 0
# jxl/types.h
_UINT8, _UINT16 = 2, 3

_CHUNK = 1 << 20


class JxlError(Exception):
    """libjxl rejected the file or the request."""


class _BasicInfo(ctypes.Structure):
    """JxlBasicInfo of jxl/codestream_header.h."""

    _fields_ = (
        ("have_container", c_int), ("xsize", c_uint32), ("ysize", c_uint32), ("bits_per_sample", c_uint32),
        ("exponent_bits_per_sample", c_uint32), ("intensity_target", c_float), ("min_nits", c_float),
        ("relative_to_max_display", c_int), ("linear_below", c_float), ("uses_original_profile", c_int),
        ("have_preview", c_int), ("have_animation", c_int), ("orientation", c_int), ("num_color_channels", c_uint32),
        ("num_extra_channels", c_uint32), ("alpha_bits", c_uint32), ("alpha_exponent_bits", c_uint32),
        ("alpha_premultiplied", c_int), ("preview_xsize", c_uint32), ("preview_ysize", c_uint32),
        ("tps_numerator", c_uint32), ("tps_denominator", c_uint32), ("num_loops", c_uint32),
        ("have_timecodes", c_int), ("intrinsic_xsize", c_uint32), ("intrinsic_ysize", c_uint32),
        ("padding", ctypes.c_uint8 * 100),
    )  # fmt: skip


class _PixelFormat(ctypes.Structure):
    """JxlPixelFormat of jxl/types.h."""

    _fields_ = (("num_channels", c_uint32), ("data_type", c_int), ("endianness", c_int), ("align", c_size_t))


class Info(NamedTuple):
    """The header of a JPEG XL file."""

    width: int
    """Upright."""
    height: int
    bands: int
    bits: int
    """8 or 16, of the pixels that ``decode`` returns."""


class Decoded(NamedTuple):
    """The first frame of a JPEG XL file: upright, with straight alpha."""

    info: Info
    pixels: bytes | memoryview
    profile: bytes


def _load() -> ctypes.CDLL:
    paths = {path.name.partition("-")[0]: path.locate() for path in files("imagecodecs") or () if ".so." in path.name}
    try:
        loaded = [ctypes.CDLL(str(paths[name])) for name in _LIBRARIES][-1]
    except (KeyError, OSError) as error:
        raise ImportError("imagecodecs holds no libjxl") from error
    _declare(loaded)
    return loaded


def _declare(jxl: ctypes.CDLL) -> None:
    handle, size = c_void_p, c_size_t
    for name, result, *arguments in (
        ("JxlDecoderCreate", handle, handle), ("JxlDecoderDestroy", None, handle),
        ("JxlDecoderSubscribeEvents", c_int, handle, c_int), ("JxlDecoderSetUnpremultiplyAlpha", c_int, handle, c_int),
        ("JxlDecoderSetInput", c_int, handle, handle, size), ("JxlDecoderCloseInput", None, handle),
        ("JxlDecoderProcessInput", c_int, handle), ("JxlDecoderGetBasicInfo", c_int, handle, POINTER(_BasicInfo)),
        ("JxlDecoderGetICCProfileSize", c_int, handle, c_int, POINTER(size)),
        ("JxlDecoderGetColorAsICCProfile", c_int, handle, c_int, handle, size),
        ("JxlDecoderImageOutBufferSize", c_int, handle, POINTER(_PixelFormat), POINTER(size)),
        ("JxlDecoderSetImageOutBuffer", c_int, handle, POINTER(_PixelFormat), handle, size),
        ("JxlEncoderCreate", handle, handle), ("JxlEncoderDestroy", None, handle),
        ("JxlEncoderInitBasicInfo", None, POINTER(_BasicInfo)),
        ("JxlEncoderSetBasicInfo", c_int, handle, POINTER(_BasicInfo)),
        ("JxlColorEncodingSetToSRGB", None, handle, c_int), ("JxlEncoderSetColorEncoding", c_int, handle, handle),
        ("JxlEncoderSetICCProfile", c_int, handle, c_char_p, size),
        ("JxlEncoderFrameSettingsCreate", handle, handle, handle),
        ("JxlEncoderFrameSettingsSetOption", c_int, handle, c_int, ctypes.c_int64),
        ("JxlEncoderSetFrameLossless", c_int, handle, c_int), ("JxlEncoderSetFrameDistance", c_int, handle, c_float),
        ("JxlEncoderDistanceFromQuality", c_float, c_float),
        ("JxlEncoderAddImageFrame", c_int, handle, POINTER(_PixelFormat), handle, size),
        ("JxlEncoderCloseInput", None, handle),
        ("JxlEncoderProcessOutput", c_int, handle, POINTER(handle), POINTER(size)),
    ):  # fmt: skip
        function = getattr(jxl, name)
        function.restype, function.argtypes = result, arguments


_JXL = _load()  # when the module is imported: a confined process can load no library


# ── Decoding ─────────────────────────────────────────────────────────────────────────────────────


def read_info(data: bytes) -> Info:
    """Read the header; no pixel is decoded.

    Raises:
        JxlError: the header is damaged.
    """
    with _Decoder(data, _BASIC_INFO) as decoder:
        decoder.advance(_BASIC_INFO)
        return decoder.info()


def decode(data: bytes) -> Decoded:
    """Decode the first frame.

    Raises:
        JxlError: the file is damaged or truncated.
    """
    with _Decoder(data, _BASIC_INFO | _COLOR_ENCODING | _FULL_IMAGE) as decoder:
        decoder.advance(_BASIC_INFO)
        info = decoder.info()
        decoder.advance(_COLOR_ENCODING)
        profile = decoder.profile()
        decoder.advance(_NEED_IMAGE_OUT_BUFFER)
        pixels = decoder.output(info)
        decoder.advance(_FULL_IMAGE)
        return Decoded(info, memoryview(pixels), profile)


class _Decoder:
    """A decoder of libjxl, for one file."""

    def __init__(self, data: bytes, events: int) -> None:
        self._jxl = _JXL
        self._handle = self._jxl.JxlDecoderCreate(None)
        self._data = data
        if not self._handle:
            raise MemoryError
        self._call("SubscribeEvents", events)
        self._call("SetUnpremultiplyAlpha", 1)
        self._call("SetInput", data_pointer(data), len(data))
        self._jxl.JxlDecoderCloseInput(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._jxl.JxlDecoderDestroy(self._handle)

    def _call(self, name: str, *arguments: object) -> None:
        if getattr(self._jxl, f"JxlDecoder{name}")(self._handle, *arguments) != _SUCCESS:
            raise JxlError(name)

    def advance(self, expected: int) -> None:
        """Decode up to an event."""
        if self._jxl.JxlDecoderProcessInput(self._handle) != expected:
            raise JxlError("the data is damaged or truncated")

    def info(self) -> Info:
        """Return the header."""
        info = _BasicInfo()
        self._call("GetBasicInfo", byref(info))
        bands = info.num_color_channels + (info.alpha_bits > 0)
        return Info(info.xsize, info.ysize, bands, 8 if info.bits_per_sample <= 8 else 16)  # noqa: PLR2004  # bits

    def profile(self) -> bytes:
        """Return the ICC profile of the pixels."""
        length = c_size_t()
        self._call("GetICCProfileSize", _TARGET_DATA, byref(length))
        buffer = ctypes.create_string_buffer(length.value)
        self._call("GetColorAsICCProfile", _TARGET_DATA, buffer, length)
        return buffer.raw

    def output(self, info: Info) -> ctypes.Array[ctypes.c_char]:
        """Set the buffer that the pixels are decoded to."""
        format_, length = _pixel_format(info), c_size_t()
        self._call("ImageOutBufferSize", byref(format_), byref(length))
        buffer = (ctypes.c_char * length.value)()
        self._call("SetImageOutBuffer", byref(format_), buffer, length)
        return buffer


def _pixel_format(info: Info) -> _PixelFormat:
    return _PixelFormat(info.bands, _UINT8 if info.bits == 8 else _UINT16, 0, 0)  # noqa: PLR2004  # bits


def data_pointer(data: bytes) -> c_void_p:
    """Return the address of the bytes."""
    return ctypes.cast(c_char_p(data), c_void_p)


# ── Encoding ─────────────────────────────────────────────────────────────────────────────────────


def encode(
    info: Info, pixels: bytearray | memoryview, *, quality: float | None, effort: int, profile: bytes | None = None
) -> bytes:
    """Encode one frame.

    Args:
        info: size and channels of the pixels; an even number of bands ends with straight alpha.
        pixels: row by row without gaps, in memory that is writable, so that it need not be copied.
        quality: 1 to 100 on JPEG's scale; without one, lossless.
        effort: 1 (fast) to 10 (small).
        profile: ICC profile of the pixels; without one they are sRGB.

    Raises:
        JxlError: libjxl can't encode this.
    """
    jxl = _JXL
    encoder = jxl.JxlEncoderCreate(None)
    if not encoder:
        raise MemoryError
    try:
        _describe(jxl, encoder, info, profile, lossless=quality is None)
        buffer = (ctypes.c_char * len(pixels)).from_buffer(pixels)
        settings = jxl.JxlEncoderFrameSettingsCreate(encoder, None)
        _check(jxl.JxlEncoderFrameSettingsSetOption(settings, _EFFORT, effort))
        if quality is None:
            _check(jxl.JxlEncoderSetFrameLossless(settings, 1))
        else:
            _check(jxl.JxlEncoderSetFrameDistance(settings, jxl.JxlEncoderDistanceFromQuality(quality)))
        _check(jxl.JxlEncoderAddImageFrame(settings, byref(_pixel_format(info)), buffer, len(buffer)))
        jxl.JxlEncoderCloseInput(encoder)
        return _drain(jxl, encoder)
    finally:
        jxl.JxlEncoderDestroy(encoder)


def _describe(jxl: ctypes.CDLL, encoder: int, info: Info, profile: bytes | None, *, lossless: bool) -> None:
    basic = _BasicInfo()
    jxl.JxlEncoderInitBasicInfo(byref(basic))
    alpha = info.bands % 2 == 0
    basic.xsize, basic.ysize, basic.bits_per_sample = info.width, info.height, info.bits
    basic.num_color_channels, basic.num_extra_channels = info.bands - alpha, int(alpha)
    basic.alpha_bits = info.bits if alpha else 0
    basic.uses_original_profile = int(lossless)
    _check(jxl.JxlEncoderSetBasicInfo(encoder, byref(basic)))
    if profile:
        _check(jxl.JxlEncoderSetICCProfile(encoder, profile, len(profile)))
        return
    color = (c_uint64 * 32)()  # JxlColorEncoding has 104 bytes
    jxl.JxlColorEncodingSetToSRGB(color, int(basic.num_color_channels == 1))
    _check(jxl.JxlEncoderSetColorEncoding(encoder, color))


def _drain(jxl: ctypes.CDLL, encoder: int) -> bytes:
    parts, status = [], _NEED_MORE_OUTPUT
    while status == _NEED_MORE_OUTPUT:
        buffer = ctypes.create_string_buffer(_CHUNK)
        position, space = ctypes.cast(buffer, c_void_p), c_size_t(_CHUNK)
        status = jxl.JxlEncoderProcessOutput(encoder, byref(position), byref(space))
        parts.append(buffer.raw[: _CHUNK - space.value])
    _check(status)
    return b"".join(parts)


def _check(status: int) -> None:
    if status != _SUCCESS:
        raise JxlError("libjxl can't encode this image")
