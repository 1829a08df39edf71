"""The parts of a session: wrappers by kind, the order of key IDs, and the stages' order."""

import pytest
from openvpn_support import SERVER_KEY, STATIC_KEY

from vpnprobe.conversations.openvpn_negotiation import Negotiation, Stage, Wrapping
from vpnprobe.conversations.openvpn_reliable import Reliability
from vpnprobe.wire.openvpn_keying import KeySource
from vpnprobe.wire.openvpn_wrap import EARLY_NEGOTIATION, PlainWrapper, TlsAuthWrapper, TlsCryptWrapper, Wrap


@pytest.mark.parametrize(
    ("wrapping", "kind"),
    [
        (Wrapping(), PlainWrapper),
        (Wrapping(Wrap.TLS_AUTH, STATIC_KEY), TlsAuthWrapper),
        (Wrapping(Wrap.TLS_CRYPT, STATIC_KEY), TlsCryptWrapper),
        (Wrapping(Wrap.TLS_CRYPT_V2, client_key=SERVER_KEY.wrap(STATIC_KEY)), TlsCryptWrapper),
        # A server finds a client's key in the client's reset.
        (Wrapping(Wrap.TLS_CRYPT_V2, server_key=SERVER_KEY), PlainWrapper),
    ],
)
def test_the_wrapper(wrapping: Wrapping, kind: type) -> None:
    assert type(wrapping.wrapper(server=False)) is kind


def test_a_client_says_by_its_packet_ids_that_it_can_send_its_key_again() -> None:
    wrapper = Wrapping(Wrap.TLS_CRYPT_V2, client_key=SERVER_KEY.wrap(STATIC_KEY)).wrapper(server=False)
    assert isinstance(wrapper, TlsCryptWrapper)
    assert wrapper.next_packet_id == EARLY_NEGOTIATION + 1


def test_key_ids_go_from_one_to_seven_and_round() -> None:
    source = KeySource(b"", bytes(32), bytes(32))
    following = [Negotiation(key_id, Reliability(stream=True, retransmit_after_s=1.0), source).next_key_id for key_id in range(8)]
    assert following == [1, 2, 3, 4, 5, 6, 7, 1]


def test_stages_are_in_order() -> None:
    assert list(Stage) == sorted(Stage)
