"""Certificates and keys of a paired run: fresh, fitting each other, over the control channel unchanged; anything else is a DecodeError."""

import base64
import json
import random
import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.conversations.openvpn_session_keys import FILLER_BYTES, MOST_PEM_BYTES, VALID, WRAPS, ServerSessionKeys, make_session_keys
from vpnprobe.conversations.openvpn_tls import client_context, server_context
from vpnprobe.errors import DecodeError
from vpnprobe.wire.openvpn_wrap import Wrap

MADE = make_session_keys(random.Random(1).randbytes)
FIELDS = ("certificate", "key", "client_certificate", "tls_crypt", "tls_crypt_v2")


def over_the_wire(half: ServerSessionKeys) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(json.dumps(half.encode()))
    return message


def test_the_servers_half_comes_over_as_it_was() -> None:
    assert tuple(over_the_wire(MADE.server)) == FIELDS
    assert ServerSessionKeys.decode(over_the_wire(MADE.server)) == MADE.server


def test_the_clients_private_key_stays_with_the_client() -> None:
    text = json.dumps([base64.b64decode(part).decode("latin-1") for part in MADE.server.encode().values()])
    own = MADE.identity.key_pem.decode().splitlines()[1]
    assert own not in text
    assert MADE.server.identity.key_pem.decode().splitlines()[1] in text


def test_each_run_has_its_own() -> None:
    other = make_session_keys(random.Random(2).randbytes)
    assert not set(other.server.encode().values()) & set(MADE.server.encode().values())
    assert other.identity != MADE.identity
    assert other.client_key != MADE.client_key


def test_the_same_entropy_gives_the_same() -> None:
    """A simulated run repeats itself."""
    again = make_session_keys(random.Random(1).randbytes)
    assert again.server.encode() == MADE.server.encode()
    assert again.client_key == MADE.client_key


def test_both_halves_make_contexts() -> None:
    assert server_context(MADE.server.identity, clients_pem=MADE.server.client_certificate_pem.decode()).verify_mode is ssl.CERT_REQUIRED
    assert client_context(ca_pem=None, identity=MADE.identity).verify_mode is ssl.CERT_NONE
    assert MADE.server.client_certificate_pem == MADE.identity.certificate_pem


def test_the_clients_key_is_wrapped_for_the_server() -> None:
    key, metadata = MADE.server.server_key.unwrap(MADE.client_key.wrapped)
    assert (key, metadata) == (MADE.client_key.key, b"")


@pytest.mark.parametrize("wrap", list(Wrap))
def test_wrappings_fit_each_other(wrap: Wrap) -> None:
    ours, theirs = MADE.wrapping(wrap), MADE.server.wrapping(wrap)
    assert ours.kind is theirs.kind is wrap
    assert ours.key == theirs.key
    assert ours.client_key == MADE.client_key
    assert theirs.server_key == MADE.server.server_key


def test_what_differs_most_from_plain_is_tried_first() -> None:
    assert WRAPS == (Wrap.TLS_CRYPT_V2, Wrap.TLS_CRYPT)


def test_certificates_are_valid_whatever_the_clocks_say_within_a_day() -> None:
    for identity in (MADE.identity, MADE.server.identity):
        read = x509.load_pem_x509_certificate(identity.certificate_pem)
        now = datetime.now(UTC)
        assert read.not_valid_before_utc <= now - timedelta(days=1)
        assert read.not_valid_after_utc >= now + timedelta(days=1)
        assert (read.not_valid_before_utc, read.not_valid_after_utc) == VALID


def test_the_servers_certificate_is_as_large_as_a_real_one() -> None:
    small, large = (ssl.PEM_cert_to_DER_cert(identity.certificate_pem.decode()) for identity in (MADE.identity, MADE.server.identity))
    assert len(large) - len(small) >= FILLER_BYTES


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [None, 5, [], {}, "*", "YQ", "A" * (MOST_PEM_BYTES + 4), "ü"])
def test_a_part_that_is_missing_or_no_base64(name: str, value: object) -> None:
    with pytest.raises(DecodeError) as caught:
        ServerSessionKeys.decode({**over_the_wire(MADE.server), name: value})
    assert caught.value.field == name
    without = {key: part for key, part in over_the_wire(MADE.server).items() if key != name}
    with pytest.raises(DecodeError, match=f"{name} at offset 0: is missing"):
        ServerSessionKeys.decode(without)


@pytest.mark.parametrize("name", ["tls_crypt", "tls_crypt_v2"])
def test_a_key_of_another_length(name: str) -> None:
    with pytest.raises(DecodeError, match="bytes, not "):
        ServerSessionKeys.decode({**over_the_wire(MADE.server), name: base64.b64encode(bytes(100)).decode()})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(max_size=300).map(lambda data: base64.b64encode(data).decode()),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_any_message_is_a_half_or_a_decode_error(changes: dict[str, object]) -> None:
    try:
        ServerSessionKeys.decode({**over_the_wire(MADE.server), **changes})
    except DecodeError:
        assert changes
