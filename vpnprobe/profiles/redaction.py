"""Secrets taken out of what somebody else says: a server may send a password back in its refusal, and logs hold what was typed."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

LEFT_OUT: Final = "[left out]"
SHORT: Final = 4
"""Characters up to which a secret is taken out only where it is a word of its own: "1" is in too many lines."""
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]")
_NOT_ASCII: Final = re.compile(r"[^ -~]")
_NOT_A_NAME: Final = re.compile(r"[^A-Za-z0-9_.@:/=-]")
"""In a user name or a name of a certificate, where OpenVPN is told to be strict."""


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """The text without these secrets, in all the forms in which an OpenVPN writes them."""
    forms = {form for secret in filter(None, secrets) for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        found = re.escape(form)
        text = re.sub(found if len(form) >= SHORT else rf"(?<!\w){found}(?!\w)", LEFT_OUT, text)
    return text


def _forms(secret: str) -> Iterator[str]:
    """As it is, and as OpenVPN writes it: without control characters, or with `_` for what it holds for not printable."""
    yield secret
    one_byte = secret.encode("utf-8", "surrogateescape").decode("latin-1")
    others = (_CONTROLS.sub("", secret), _CONTROLS.sub("_", secret), _NOT_ASCII.sub("_", secret), _NOT_ASCII.sub("_", one_byte))
    yield from (form for form in (*others, _NOT_A_NAME.sub("_", secret), _NOT_A_NAME.sub("_", one_byte)) if form.strip("_ "))
