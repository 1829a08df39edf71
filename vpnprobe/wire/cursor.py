"""A reader that walks over bytes and can fail in one way only: `DecodeError` with the field's name and its offset."""

from vpnprobe.errors import DecodeError


class Cursor:
    """Reads big-endian fields from the front of `data`, each named as in its standard."""

    __slots__ = ("data", "end", "offset")

    def __init__(self, data: bytes, offset: int = 0, end: int | None = None) -> None:
        self.data = data
        self.offset = offset
        self.end = len(data) if end is None else end

    @property
    def left(self) -> int:
        """How many bytes are still to be read."""
        return self.end - self.offset

    def take(self, count: int, field: str) -> bytes:
        """The next `count` bytes."""
        start = self.offset
        end = start + count
        if count < 0 or end > self.end:
            raise DecodeError(field, start, f"needs {count} bytes, {self.left} are left")
        self.offset = end
        return self.data[start:end]

    def rest(self) -> bytes:
        """All that is left; may be empty."""
        return self.take(self.left, "rest")

    def u8(self, field: str) -> int:
        return self.take(1, field)[0]

    def u16(self, field: str) -> int:
        return int.from_bytes(self.take(2, field), "big")

    def u32(self, field: str) -> int:
        return int.from_bytes(self.take(4, field), "big")

    def u64(self, field: str) -> int:
        return int.from_bytes(self.take(8, field), "big")

    def wrong(self, field: str, problem: str, *, back: int = 0) -> DecodeError:
        """The error to raise for a field that was read (`back` bytes ago) and does not fit."""
        return DecodeError(field, self.offset - back, problem)
