"""Lists that restrict TLS: names in both spellings, what the library takes nothing of, and what was agreed on outside of them."""

import ssl

import pytest

from vpnprobe.profiles.model import ServerChecks
from vpnprobe.profiles.tls_lists import USUAL, curve, openssl_list, openssl_name, outside_of_lists, refused_lists, unknown_groups


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("TLS-ECDHE-RSA-WITH-AES-256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
        ("TLS_DHE_RSA_WITH_AES_256_CBC_SHA", "DHE-RSA-AES256-SHA"),
        ("TLS-RSA-WITH-AES-128-CBC-SHA256", "AES128-SHA256"),
        ("TLS-ECDHE-ECDSA-WITH-CHACHA20-POLY1305-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        ("TLS-DHE-RSA-WITH-CAMELLIA-256-CBC-SHA", "DHE-RSA-CAMELLIA256-SHA"),
    ],
)
def test_names_of_cipher_suites(name: str, found: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:@SECLEVEL=0")
    assert openssl_name(name) == found
    assert found in {one["name"] for one in context.get_ciphers()}


@pytest.mark.parametrize("word", ["DEFAULT", "@SECLEVEL=0", "!PSK", "ECDHE-RSA-AES256-GCM-SHA384", "TLS-FOO"])
def test_other_words_stay(word: str) -> None:
    assert openssl_name(word) == word


def test_the_list_and_its_default() -> None:
    assert openssl_list(ServerChecks()) == USUAL
    assert openssl_list(ServerChecks(tls_cipher=("DEFAULT", "@SECLEVEL=0"))) == "DEFAULT:@SECLEVEL=0"


@pytest.mark.parametrize(
    ("groups", "found"),
    [((), ""), (("P-256",), "prime256v1"), (("secp384r1",), "secp384r1"), (("X25519",), ""), (("secp384r1", "P-256"), "")],
)
def test_the_curve_that_can_be_applied(groups: tuple[str, ...], found: str) -> None:
    assert curve(ServerChecks(tls_groups=groups)) == found


@pytest.mark.parametrize(
    ("checks", "count"),
    [
        (ServerChecks(), 0),
        (ServerChecks(tls_cipher=("FOO",)), 1),
        (ServerChecks(tls_ciphersuites=("FOO",), tls_groups=("foo", "X25519")), 1),
        (ServerChecks(tls_ciphersuites=("FOO", "TLS-AES-128-GCM-SHA256"), tls_groups=("P-521", "brainpoolP256r1")), 0),
    ],
)
def test_lists_of_which_nothing_is_known(checks: ServerChecks, count: int) -> None:
    assert len(refused_lists(checks)) == count


def test_groups_that_openssl_may_have() -> None:
    assert unknown_groups(ServerChecks(tls_groups=("sect571r1", "P-521", "brainpoolP256r1", "foo"))) == ("sect571r1", "foo")
    assert refused_lists(ServerChecks(tls_groups=("sect571r1",))) == ()


SUITES = ServerChecks(tls_ciphersuites=("TLS_AES_128_GCM_SHA256",))


@pytest.mark.parametrize(
    ("checks", "version", "suite", "group", "found"),
    [
        (ServerChecks(), "TLSv1.3", "TLS_AES_256_GCM_SHA384", 29, None),
        (SUITES, "TLSv1.3", "TLS_AES_128_GCM_SHA256", 29, None),
        (SUITES, "TLSv1.2", "ECDHE-RSA-AES256-GCM-SHA384", 29, None),
        (SUITES, "TLSv1.3", "TLS_AES_256_GCM_SHA384", 29, "tls-ciphersuites TLS_AES_128_GCM_SHA256 cannot be applied"),
        (ServerChecks(tls_groups=("X25519", "P-256")), "TLSv1.3", "x", 23, None),
        (ServerChecks(tls_groups=("X25519",)), "TLSv1.3", "x", 24, "tls-groups X25519 cannot be applied, and the server took secp384r1"),
        (ServerChecks(tls_groups=("X25519",)), "TLSv1.3", "x", 9, "tls-groups X25519 cannot be applied, and the server took group 9"),
        (ServerChecks(tls_groups=("X25519",)), "TLSv1.3", "x", None, None),
        (ServerChecks(tls_groups=("X25519",)), "TLSv1.2", "ECDHE-RSA-AES256-GCM-SHA384", 29, None),
        (ServerChecks(tls_groups=("X25519",)), "TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384", 29, "tls-groups X25519 cannot be applied"),
        (ServerChecks(tls_groups=("P-256",)), "TLSv1.3", "x", 29, None),
    ],
)
def test_what_was_agreed_on_outside(checks: ServerChecks, version: str, suite: str, group: int | None, found: str | None) -> None:
    said = outside_of_lists(checks, version=version, suite=suite, group=group)
    assert said is None if found is None else said is not None and said.startswith(found)
