"""How a text is encoded, by its first bytes: what tells a text in UTF-16 from a binary file, and how its lines are read."""

import codecs
from typing import Final

SAMPLE_BYTES: Final = 1 << 12
"""How much is looked at to tell the encoding."""

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UTF_16_SHARE: Final = 0.8
"""Of the bytes at even or at odd places, so many are zero where Latin letters stand in UTF-16."""


def encoding_of(head: bytes) -> str:
    """The encoding of a text that begins with these bytes, by its mark or by where its zero bytes are; UTF-8 where neither tells."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    sample = head[:SAMPLE_BYTES]
    even, odd = sample[::2], sample[1::2]
    if len(sample) >= 4 and b"\0" in sample:
        if odd.count(0) >= _UTF_16_SHARE * len(odd) and even.count(0) < len(even) / 4:
            return "utf-16-le"
        if even.count(0) >= _UTF_16_SHARE * len(even) and odd.count(0) < len(odd) / 4:
            return "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        # What is not UTF-8 is nearly always Windows' Latin; packet lines themselves are plain ASCII.
        return "cp1252"
    return "utf-8"
