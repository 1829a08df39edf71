"""The first word of a line as it may be shown: what is no option may be a line of a key whose block is broken, or a password.

A word is shown where it is an option's name, where the profile itself says that it is one (`ignore-unknown-option`), and where it is so
close to one that it is a slip; of any other word only the length is.
"""

import re
from collections.abc import Container
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Final

from vpnprobe.profiles.errors import shown
from vpnprobe.profiles.known import KNOWN
from vpnprobe.profiles.vendors import VENDORS

_NAMES: Final = KNOWN | VENDORS.keys()
_LIKE_A_NAME: Final = re.compile(r"[a-z][a-z0-9-]*", re.IGNORECASE | re.ASCII)
_DIGITS: Final = re.compile(r"\d")
CLOSE: Final = 0.85
"""Of difflib's ratio."""
MOST_LENGTHENED: Final = 2
"""Characters that a slip adds or leaves out."""


def option_shown(name: str, declared: Container[str] = ()) -> str:
    """The name of an option; of any other word its length. `declared`: the names of `ignore-unknown-option`."""
    if name in _NAMES or name in declared or _is_slip(name):
        return shown(name)
    return f"a word of {len(name)} character{'s' if len(name) != 1 else ''}"


@lru_cache(maxsize=1024)
def _is_slip(name: str) -> bool:
    """Digits that the option does not have make a word a password rather than a slip."""
    if not _LIKE_A_NAME.fullmatch(name):
        return False
    digits = _DIGITS.findall(name)
    # Few are compared, since a profile may have very many unknown words.
    near = (one for one in _NAMES if one[0] == name[0].lower() and abs(len(one) - len(name)) <= MOST_LENGTHENED)
    return any(_DIGITS.findall(one) == digits and SequenceMatcher(None, one, name.lower()).ratio() >= CLOSE for one in near)
