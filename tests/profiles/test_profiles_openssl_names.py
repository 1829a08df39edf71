"""Names of ciphers and digests that OpenVPN 2.6 starts with, held against what it says itself."""

import re
import shutil
import subprocess

import pytest

from vpnprobe.profiles.openssl_names import CIPHERS, DIGESTS, LEGACY_CIPHERS, LEGACY_DIGESTS, lacking


def test_case_does_not_matter_and_oids_are_names() -> None:
    assert lacking(["aes-256-gcm", "AES-256-CBC", "2.16.840.1.101.3.4.1.46"], CIPHERS) == []
    assert lacking(["FOO", "AES-256-CBC", "bar"], CIPHERS) == ["FOO", "bar"]
    assert lacking(["sha256", "WHIRLPOOL"], DIGESTS) == ["WHIRLPOOL"]
    assert lacking(["WHIRLPOOL"], DIGESTS | LEGACY_DIGESTS) == []


def test_what_is_of_the_legacy_provider_is_not_of_the_default_one() -> None:
    assert not CIPHERS & LEGACY_CIPHERS
    assert not DIGESTS & LEGACY_DIGESTS


@pytest.mark.real
@pytest.mark.parametrize(("shows", "known"), [("--show-ciphers", CIPHERS | LEGACY_CIPHERS), ("--show-digests", DIGESTS | LEGACY_DIGESTS)])
def test_what_the_real_program_shows_is_known(shows: str, known: frozenset[str]) -> None:
    program = shutil.which("openvpn", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        pytest.skip("openvpn is not installed")
    told = subprocess.run([program, shows], capture_output=True, text=True, timeout=20, check=True).stdout
    names = re.findall(r"^(\S+) +(?:\(?\d+ bit)", told, re.MULTILINE)
    assert len(names) > 5
    assert lacking(names, known) == []
