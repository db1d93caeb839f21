"""The header of a sequence of AV1 (AV1 Bitstream & Decoding Process Specification, 5.5), as far as the color range."""

from __future__ import annotations

_SEQUENCE_HEADER = 1
_MAX_UNITS = 8
_HIGHEST_PROFILE, _LEVEL_WITH_TIER, _SELECT = 2, 7, 2


class _Bits:
    """Reads bits from the front; behind the end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def __call__(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise LookupError("the header is truncated")
        return (self._value >> self._left) & ((1 << count) - 1)

    def skip_if(self, count: int) -> None:
        """Read a flag, and skip bits if it is set."""
        if self(1):
            self(count)

    def unsigned(self) -> None:
        """Skip a number of variable length (4.10.3)."""
        zeros = 0
        while not self(1):
            zeros += 1
        self(min(zeros, 32))


def has_narrow_range(data: bytes) -> bool:
    """Whether the values of a monochrome picture span 16…235 and not all bits.

    Args:
        data: coded picture, or its beginning.

    Raises:
        LookupError: there is no header of a sequence.
    """
    position = 0
    for _ in range(_MAX_UNITS):
        kind, extended = data[position] >> 3 & 15, data[position] >> 2 & 1
        size, width = _leb128(data, position + 1 + extended)
        start = position + 1 + extended + width
        if kind == _SEQUENCE_HEADER:
            return _narrow(_Bits(data[start : start + size]))
        position = start + size
    raise LookupError("sequence header")


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    """Return a number and how many bytes it takes."""
    value = 0
    for place in range(8):
        value |= (data[position + place] & 0x7F) << 7 * place
        if not data[position + place] & 0x80:
            return value, place + 1
    raise LookupError("leb128")


def _narrow(bits: _Bits) -> bool:
    profile, _still, reduced = bits(3), bits(1), bool(bits(1))
    if reduced:
        bits(5)
    else:
        _skip_operating_points(bits)
    across, down = bits(4) + 1, bits(4) + 1
    bits(across + down)
    if not reduced and bits(1):
        bits(7)
    bits(3)
    if not reduced:
        _skip_tools(bits)
    bits(3)
    return _narrow_color(bits, profile)


def _narrow_color(bits: _Bits, profile: int) -> bool:
    high = bits(1)
    if profile == _HIGHEST_PROFILE and high:
        bits(1)
    monochrome = profile != 1 and bits(1)
    bits.skip_if(24)
    return bool(monochrome) and not bits(1)


def _skip_operating_points(bits: _Bits) -> None:
    delay = 0
    if bits(1):  # timing
        bits(64)
        if bits(1):
            bits.unsigned()
        if bits(1):  # decoder model
            delay = bits(5) + 1
            bits(42)
    initial_delay = bits(1)
    for _ in range(bits(5) + 1):
        bits(12)
        if bits(5) > _LEVEL_WITH_TIER:
            bits(1)
        if delay:
            bits.skip_if(2 * delay + 1)
        if initial_delay:
            bits.skip_if(4)


def _skip_tools(bits: _Bits) -> None:
    bits(4)
    order_hint = bits(1)
    if order_hint:
        bits(2)
    force_screen_content = _SELECT if bits(1) else bits(1)
    if force_screen_content and not bits(1):
        bits(1)
    if order_hint:
        bits(3)
