"""What a client may be called: its name is the common name of its certificate, and part of the names of files.

Letters (with their marks) and digits of any script, and `.`, `_`, `-`, `@` between them; it begins with a letter or a digit. At most
64 bytes of UTF-8: a common name has 64 characters (RFC 5280 appendix A.1, ub-common-name), and OpenVPN takes 64 bytes of it. In the
normal form NFC (UAX 15), so that what looks the same is the same. What is left out can end a word, a path or a line somewhere, or cannot
be seen.
"""

import unicodedata
from typing import Final

from vpnprobe.errors import UsageError

LONGEST_BYTES: Final = 64
OTHERS: Final = frozenset("._-@")
"""Characters that a name may have behind its first."""
SERVER_NAME: Final = "vpnprobe-server"
"""Common name of the server's certificate, by which clients know it; no client may have it."""


def check_name(name: str) -> str:
    """The name. Raises UsageError that says what is wrong with it."""
    if problem := _problem(name):
        raise UsageError(f"{_shown(name)} cannot be the name of a client: {problem}")
    return name


def _problem(name: str) -> str:
    """Empty: there is none."""
    if not name:
        return "it is empty"
    if any("\ud800" <= character <= "\udfff" for character in name):
        return "it is no text"
    if (length := len(name.encode())) > LONGEST_BYTES:
        return f"it has {length} bytes, at most {LONGEST_BYTES} fit into a certificate"
    wrong = next((character for character in name if not _allowed(character)), None)
    if wrong is not None:
        return f"it has {wrong!a}; letters, digits and . _ - @ may stand in it"
    if unicodedata.category(name[0])[0] not in "LN":
        return "it must begin with a letter or a digit"
    if not unicodedata.is_normalized("NFC", name):
        return f"it is not in Unicode's normal form: write {unicodedata.normalize('NFC', name)}"
    return "the server's certificate has it" if name == SERVER_NAME else ""


def _allowed(character: str) -> bool:
    """Letters, marks and decimal digits."""
    return unicodedata.category(character)[0] in "LM" or character.isdecimal() or character in OTHERS


def _shown(name: str) -> str:
    """Escaped, and not at any length."""
    return ascii(name if len(name) <= LONGEST_BYTES else f"{name[:20]}...")
