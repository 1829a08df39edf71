"""Secrets are taken out of what somebody else says."""

import pytest

from vpnprobe.profiles.redaction import without_secrets


@pytest.mark.parametrize(
    ("text", "secrets", "expected"),
    [
        ("no bob / SECRETplain", ["SECRETplain"], "no bob / [left out]"),
        ("no SECRETword, no SECRET_word", ["SECRET\tword"], "no [left out], no [left out]"),
        ("code 12: 1 of 12", ["12"], "code [left out]: 1 of [left out]"),
        ("port 1194", ["11"], "port 1194"),
        ("secret secrets", ["secret", "secrets"], "[left out] [left out]"),
        ("nothing to hide", ["", "\t"], "nothing to hide"),
    ],
)
def test_secrets_are_left_out(text: str, secrets: list[str], expected: str) -> None:
    assert without_secrets(text, secrets) == expected
