"""From the bytes of a pasted text to its lines: encodings, byte order marks, line ends, and the characters that programs put in for others.

What editors, web pages, terminals and mail programs did to single characters is undone here, and nothing else. All of it is total: bytes
that are none of the encoding become U+FFFD. A line that never ends is given out in pieces.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from html import unescape
from typing import Final

from vpnprobe.capture.text_encoding import encoding_of

LINE_LIMIT: Final = 1 << 16
"""Most characters of a line that are given out at once."""
ESCAPED_LIMIT: Final = 3
"""How often a web page may have escaped what was escaped already."""
_LINE_END: Final = re.compile(r"\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]")
_ENTITY: Final = re.compile(r"&(?:gt|lt|amp|quot|apos|nbsp|rarr|#\d{1,5}|#x[0-9a-fA-F]{1,4});")
_OF_JSON: Final = re.compile(r"\\u00([2-7][0-9a-f])|(?:\\r)?\\n|\\t")
"""What stands for signs and line ends in strings of JSON."""
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]{0,16}[ -/]{0,4}[@-~]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)|[@-Z\\^_])")
_TAGS: Final = re.compile(r"</?(?:br|p|pre|code|div|span|td|tr|li|b|i|font|blockquote)\b[^<>]{0,200}>", re.IGNORECASE)
_SPACES: Final = dict.fromkeys(
    map(ord, "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"), " "
)
_NOTHING: Final = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff\x00"), None)
_REPLACED: Final = {
    **_SPACES,
    **_NOTHING,
    **dict.fromkeys(map(ord, "\u2192\u21d2\u27a1\u2794\u279c\u2b95"), "\u2192"),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212"), "-"),
    **dict.fromkeys(map(ord, "\u203a\uff1e"), ">"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e"), '"'),
    **dict.fromkeys(map(ord, "\u2018\u2019"), "'"),
}
"""Spaces of other widths, invisible characters, and what word processors put in for plain signs."""


def lines_of(chunks: Iterable[bytes]) -> Iterator[str]:
    """The lines of a text, without their ends. A line longer than `LINE_LIMIT` comes in pieces that end at a space where there is one."""
    decoder: codecs.IncrementalDecoder | None = None
    rest = ""
    for chunk in chunks:
        if decoder is None:
            decoder = codecs.getincrementaldecoder(encoding_of(chunk))("replace")
        *lines, rest = _LINE_END.split(rest + decoder.decode(chunk))
        for line in lines:
            yield from pieces(line)
        while len(rest) > LINE_LIMIT:
            piece, rest = _cut(rest)
            yield piece
    if decoder is not None:
        *lines, rest = _LINE_END.split(rest + decoder.decode(b"", final=True))
        for line in (*lines, rest) if rest else lines:
            yield from pieces(line)


def pieces(line: str) -> Iterator[str]:
    """The line in pieces of `LINE_LIMIT` characters at most."""
    while len(line) > LINE_LIMIT:
        piece, line = _cut(line)
        yield piece
    yield line


def _cut(line: str) -> tuple[str, str]:
    at = line.rfind(" ", LINE_LIMIT // 2, LINE_LIMIT)
    at = at if at > 0 else LINE_LIMIT
    return line[:at], line[at:]


def plain(line: str) -> str:
    """The line with the characters that the program printed: without escapes of terminals, entities and tags of web pages, odd spaces."""
    if "\x1b" in line:
        line = _ESCAPES.sub("", line)
    for _ in range(ESCAPED_LIMIT if "&" in line else 0):
        line = _ENTITY.sub(lambda found: unescape(found[0]), line)
    if "\\n" in line or "\\u00" in line:
        line = _OF_JSON.sub(lambda found: chr(int(found[1], 16)) if found[1] else " ", line)
    if "</" in line or "<br" in line or "<BR" in line or "<p" in line:
        line = _TAGS.sub(" ", line)
    return line if line.isascii() else line.translate(_REPLACED)
