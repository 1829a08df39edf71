"""Words that are no options are not shown: they may be lines of keys, or passwords."""

import json
import time

import pytest
from profile_support import parsed

from vpnprobe.probes.existing_server import about_profile
from vpnprobe.profiles.naming import option_shown

SECRETS = (
    "6acef03f62675b4b1bbd03e53b187727",
    "MySecretPassw0rd",
    "Kj3/x9+Qw==",
    "q8Zr2A==",
    "hunter2",
    "user1",
    "secret123",
    "Kennwort-ohne",
    "пароль",
)
"""A line of a static key, passwords, the last lines of PEM."""


@pytest.mark.parametrize("word", SECRETS)
def test_a_line_of_a_key_or_a_password_is_told_by_its_length(word: str) -> None:
    profile = parsed(word)
    told = f"a word of {len(word)} characters"
    assert option_shown(word) == told
    assert [one.option for one in profile.unknown] == [told]
    assert [(one.line, one.option) for one in profile.told] == [(3, told)]
    (note,) = profile.refused
    assert note.text.startswith(f"{told} is no option")
    document = about_profile(profile.file, profile.told, profile.notes, refused=[note.text])
    assert word not in json.dumps(document, ensure_ascii=False)


def test_names_and_slips_are_shown() -> None:
    for name in ("remote", "scramble", "remotes", "auth-user-pas", "pkcs11-provider", "Cipher"):
        assert option_shown(name) == name
    assert option_shown("x") == "a word of 1 character"
    assert option_shown("frob\x1bnicate", {"frob\x1bnicate"}) == "frob?nicate"


def test_a_declared_name_is_shown() -> None:
    profile = parsed("ignore-unknown-option frobnicate\nfrobnicate 1")
    assert [one.option for one in profile.unknown] == ["frobnicate"]
    assert [one.option for one in profile.told] == ["frobnicate"]


def test_very_many_words_take_little_time() -> None:
    began = time.monotonic()
    for number in range(5000):
        option_shown("management-" + "".join(chr(97 + int(digit)) for digit in str(number)))
    assert time.monotonic() - began < 20.0
