"""Secrets taken out of what somebody else says: a server may send a password back in its refusal, and logs hold what was typed."""

import re
from collections.abc import Iterable
from typing import Final

LEFT_OUT: Final = "[left out]"
SHORT: Final = 4
"""Characters up to which a secret is taken out only where it is a word of its own: "1" is in too many lines."""


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """The text without these secrets, in the forms in which an OpenVPN shows them: control characters dropped, or `_` for them."""
    forms = {form for secret in secrets for form in (secret, _kept(secret, ""), _kept(secret, "_")) if form}
    for form in sorted(forms, key=len, reverse=True):
        found = re.escape(form)
        text = re.sub(found if len(form) >= SHORT else rf"(?<!\w){found}(?!\w)", LEFT_OUT, text)
    return text


def _kept(secret: str, instead: str) -> str:
    return "".join(character if character.isprintable() else instead for character in secret)
