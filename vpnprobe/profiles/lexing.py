"""A profile's text as statements: options with their arguments, and inline blocks with their content.

The rules are those of OpenVPN's manual (`--config`, INLINE FILE SUPPORT) as OpenVPN 2.6 keeps them: a line is one option; blanks part its
words; double and single quotes enclose a word only where they begin it; a backslash outside single quotes stands before a backslash, a
double quote or a blank, and before nothing else; `#` or `;` where a word would begin starts a comment; `<tag>` alone on a line starts a
block that runs to the line that begins with `</tag>`, whose lines may be of any length. A UTF-8 byte order mark, CRLF and a `--` before the
line's first word are taken. `setenv opt X` is X, and no OpenVPN fails where it does not know X. `quoted` is the way back, of one word.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vpnprobe.profiles.errors import Place, ProfileError

LONGEST_LINE_BYTES: Final = 254
"""OpenVPN 2.x refuses a line of 255 bytes and more (without its line feed), comments included."""
_BLOCKS: Final = """
    auth-gen-token-secret auth-user-pass ca cert connection crl-verify dh extra-certs http-proxy-user-pass key peer-fingerprint pkcs12
    secret tls-auth tls-crypt tls-crypt-v2 verify-hash
"""
INLINE: Final = frozenset(_BLOCKS.split())
"""Options that a block may stand for."""
FREE_TEXT: Final = frozenset({"auth-user-pass", "http-proxy-user-pass"})
"""Blocks whose lines may be anything, a tag too: names and passwords."""

_BLANK: Final = " \t\n\v\f\r"
_GAP: Final = re.compile(r"[ \t\n\v\f\r]*")
_DOUBLE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_SINGLE: Final = re.compile(r"'([^']*)'")
_BARE: Final = re.compile(r"(?:[^ \t\n\v\f\r\\]|\\.)+", re.DOTALL)
_PATTERNS: Final = {'"': _DOUBLE, "'": _SINGLE}
"""By a word's first character; _BARE for any other."""
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPABLE: Final = frozenset(_BLANK + '\\"')
_PLAIN: Final = re.compile(r"""[^\x00-\x20\x7f"'\\#;]+""")
"""What needs no quotes: nothing in it means anything to the lexer."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One option of a profile."""

    place: Place
    option: str
    """Without `--`; as written otherwise."""
    arguments: tuple[str, ...]
    """Unquoted. Empty for a block."""
    content: str | None
    """Of an inline block, its lines joined by line feeds; None: it is a line."""
    text: str
    """The whole line, or the opening tag, without blanks around it."""
    optional: bool = False
    """`setenv opt` stands before it: OpenVPN passes over it where it does not know it."""

    @property
    def line(self) -> int:
        return self.place.line


def statements(text: str, *, file: str, first_line: int = 1) -> Iterator[Statement]:
    """The statements of a text in order; `first_line` is its first line's number in `file`. Raises ProfileError."""
    lines = text.removeprefix("\ufeff").split("\n")
    index = 0
    while index < len(lines):
        place = Place(file, first_line + index)
        words = _words_of(lines[index], place)
        if words and len(words[0]) > 2:
            words[0] = words[0].removeprefix("--")
        index += 1
        if len(words) == 1 and words[0].startswith("<") and words[0].endswith(">"):
            tag = _opened(words[0], place)
            end = _block_end(tag, lines, index, place)
            content = "\n".join(line.removesuffix("\r") for line in lines[index:end])
            yield Statement(place, tag, (), content, words[0])
            index = end + 1
        elif words:
            yield _statement(words, lines[index - 1], place)


def split_words(text: str, place: Place) -> list[str]:
    """The words of one line, unquoted; empty for a blank line and for a comment. Raises ProfileError."""
    words: list[str] = []
    position = _end_of(_GAP.match(text))
    while position < len(text) and text[position] not in "#;":
        found = _PATTERNS.get(text[position], _BARE).match(text, position)
        if found is None:
            raise _unfinished(text[position], place)
        words.append(_word(found, place))
        if text[found.end() :] == "\\":
            raise _unfinished("\\", place)
        position = _end_of(_GAP.match(text, found.end()))
    return words


def quoted(word: str) -> str:
    """The word as OpenVPN reads it back; one that has line feeds in it cannot be written."""
    if _PLAIN.fullmatch(word):
        return word
    if "'" not in word:
        return f"'{word}'"
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unfinished(begun: str, place: Place) -> ProfileError:
    if begun == "\\":
        return place.wrong("a backslash ends the line", r"write \\ where a backslash is meant")
    return place.wrong(f"a quotation begins with {begun} and does not end", f"put a {begun} behind it")


def _end_of(gap: re.Match[str] | None) -> int:
    assert gap is not None, "no blanks at all are a gap too"
    return gap.end()


def _word(found: re.Match[str], place: Place) -> str:
    """What a match means: single quotes as it stands, otherwise with its backslashes carried out."""
    if found.re is _SINGLE:
        return found[1]
    written = found[1] if found.re is _DOUBLE else found[0]
    for escaped in _ESCAPE.findall(written):
        if escaped not in _ESCAPABLE:
            raise place.wrong(
                f"the backslash before {escaped!r} means nothing to OpenVPN", r"write each backslash of a path twice (C:\\keys\\ca.crt)"
            )
    return _ESCAPE.sub(r"\1", written)


def _words_of(line: str, place: Place) -> list[str]:
    length = len(line.encode("utf-8", "replace"))
    if length > LONGEST_LINE_BYTES:
        raise place.wrong(
            f"the line is {length} bytes long, and OpenVPN takes {LONGEST_LINE_BYTES} at most",
            "shorten it, or put what is long between <tag> and </tag>",
        )
    return split_words(line, place)


def _statement(words: list[str], line: str, place: Place) -> Statement:
    optional = words[:2] == ["setenv", "opt"] and len(words) > 2
    option, *arguments = words[2:] if optional else words
    return Statement(place, option, tuple(arguments), None, line.strip(_BLANK), optional)


def _opened(word: str, place: Place) -> str:
    tag = word[1:-1]
    if tag.startswith("/"):
        raise place.wrong(f"{word} closes a block that was never opened", f"put <{tag[1:]}> in a line before it, or take it out")
    return tag


def _block_end(tag: str, lines: list[str], start: int, place: Place) -> int:
    """The index of the line that closes the block whose content begins at `start`."""
    for index in range(start, len(lines)):
        bare = lines[index].strip(_BLANK)
        if bare.startswith(f"</{tag}>"):
            return index
        if _other_block(tag, bare):
            raise _unclosed(tag, place, f"before {bare} in line {place.line + index - start + 1}")
    raise _unclosed(tag, place, "before the text ends")


def _other_block(tag: str, bare: str) -> bool:
    """Whether this line begins or ends another block, which cannot be inside of this one."""
    if tag == "connection":
        return bare == "<connection>"
    return tag not in FREE_TEXT and bare[:1] == "<" and bare.strip("</>") in INLINE and bare.endswith(">")


def _unclosed(tag: str, place: Place, until: str) -> ProfileError:
    return place.wrong(f"the block <{tag}> is not closed {until}", f"put </{tag}> in a line of its own behind its content")
