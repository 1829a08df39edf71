"""The one list of protocols: what every generic part of the program asks of it."""

import random
from typing import Any

import pytest

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.ikev1 import Initiator as Ikev1Initiator
from vpnprobe.conversations.ikev2 import ENTROPY_BYTES
from vpnprobe.conversations.ikev2 import Initiator as Ikev2Initiator
from vpnprobe.conversations.l2tp_ends import Initiator as L2tpInitiator
from vpnprobe.conversations.openvpn_reset import Initiator as ResetInitiator
from vpnprobe.conversations.openvpn_responder import ServerKeys
from vpnprobe.conversations.pptp import host_name
from vpnprobe.conversations.pptp_ends import Initiator as PptpInitiator
from vpnprobe.conversations.registry import (
    PROTOCOLS,
    Host,
    Opening,
    ProtocolSpec,
    at_port,
    candidates_over,
    decoy_bytes,
    protocol_named,
    protocol_of,
    registered_ports,
    tried_on,
    usual_ports,
)
from vpnprobe.conversations.wireguard_ends import Initiator as WireguardInitiator
from vpnprobe.conversations.wireguard_run_keys import make_run_keys
from vpnprobe.errors import DecodeError
from vpnprobe.observations.schema import Transport

HOST = Host(random.Random(1).randbytes, 1.7e9)
NONCE = bytes(range(8))
BY_NAME = {spec.name: spec for spec in PROTOCOLS}


def initiators() -> dict[str, tuple[Any, Transport, int]]:
    """Fresh ones by protocol, with transport and port."""
    return {
        "pptp": (PptpInitiator(host_name(NONCE.hex()), 7), Transport.TCP, 1723),
        "l2tp": (L2tpInitiator(nonce=NONCE.hex(), tunnel_id=1, session_id=2, retransmit_after_s=1.0, entropy=bytes), Transport.UDP, 1701),
        "ikev1": (Ikev1Initiator(entropy=NONCE), Transport.UDP, 500),
        "ikev2": (Ikev2Initiator(entropy=NONCE + random.Random(2).randbytes(ENTROPY_BYTES)), Transport.UDP, 500),
        "openvpn": (ResetInitiator(session_id=NONCE, stream=False), Transport.UDP, 1194),
    }


NAMES = tuple(initiators())


def begun(name: str) -> tuple[Any, Opening]:
    """A fresh initiator, and its first packet."""
    initiator, transport, port = initiators()[name]
    initiator.start(0.0)
    return initiator, Opening(b"".join(initiator.data_to_send(0.0)), transport, port)


def opening(name: str) -> Opening:
    return begun(name)[1]


def test_names_are_unique_and_checks_belong_to_one() -> None:
    assert len(BY_NAME) == len(PROTOCOLS)
    asked = [(spec.probe, check) for spec in PROTOCOLS for check in spec.checks]
    assert len(set(asked)) == len(asked)
    assert [protocol_of(*asked_of) for asked_of in asked] == [spec for spec in PROTOCOLS for _ in spec.checks]
    assert protocol_of("udp", "reach") is None


@pytest.mark.parametrize("spec", PROTOCOLS, ids=lambda spec: spec.name)
def test_every_check_has_a_goal_in_the_table(spec: ProtocolSpec) -> None:
    for check in spec.checks:
        assert spec.table.goals[check]
        assert spec.table.goal_messages(check)
    assert all(spec.table.knows(name) for name in spec.table.refusal_messages())


@pytest.mark.parametrize("name", NAMES)
def test_a_first_packet_is_known_answered_and_observed(name: str) -> None:
    (initiator, first), spec = begun(name), BY_NAME[name]
    assert spec in at_port(first.transport, first.port)
    assert spec.opening(first) == NONCE.hex()
    assert spec.respond is not None
    responder = spec.respond(first, HOST)
    assert responder is not None
    responder.start(0.0)
    responder.receive(first.data, 0.0)
    assert responder.key == NONCE.hex()
    answer = b"".join(responder.data_to_send(0.0))
    initiator.receive(answer, 0.1)
    assert spec.observer is not None
    observer = spec.observer(first.transport, first.port)
    seen = [*observer.saw(Sender.INITIATOR, first.data), *observer.saw(Sender.RESPONDER, answer)]
    assert [(message.check, message.key) for message in seen] == [(spec.checks[0], NONCE.hex())] * 2
    assert seen[1].name in spec.table.goal_messages(spec.checks[0]) or name in ("pptp", "l2tp")
    assert list(observer.closed(Sender.INITIATOR)) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data", [b"", b"\x00", b"\xffGET / HTTP/1.1", bytes(200)])
def test_what_begins_nothing_is_left_alone(name: str, data: bytes) -> None:
    first = Opening(data, *initiators()[name][1:])
    spec = BY_NAME[name]
    assert spec.opening(first) == ""
    assert spec.respond is not None
    assert name == "pptp" or spec.respond(first, HOST) is None
    assert spec.observer is not None
    assert list(spec.observer(*first[1:]).saw(Sender.INITIATOR, data)) == []


def test_on_port_4500_ike_is_behind_its_marker() -> None:
    marked = Opening(bytes(4) + opening("ikev1").data, Transport.UDP, 4500)
    assert [spec.name for spec in at_port(*marked[1:]) if spec.opening(marked)] == ["ikev1"]


def test_ports_of_nobody_are_for_those_that_live_anywhere() -> None:
    assert [spec.name for spec in at_port(Transport.TCP, 443)] == ["openvpn"]
    assert [spec.name for spec in at_port(Transport.UDP, 53)] == ["openvpn", "wireguard"]
    assert set(registered_ports(Transport.UDP)) == {500, 1701, 4500}
    assert registered_ports(Transport.TCP) == (1723,)
    assert [decoy_bytes(port) for port in (500, 1701, 1194, 51820, 9999)] == [300, 100, None, 148, 148]


def test_protocols_that_live_on_any_port_are_tried_on_their_own_and_on_the_users() -> None:
    openvpn, wireguard = BY_NAME["openvpn"], BY_NAME["wireguard"]
    ports = (*usual_ports(), 9999)
    assert [port for port in ports if tried_on(wireguard, port)] == [51820, 9999]
    assert [port for port in ports if tried_on(wireguard, port, (443,))] == [443, 51820, 9999]
    assert [port for port in ports if tried_on(openvpn, port)] == [port for port in ports if port != 51820]
    assert candidates_over(Transport.TCP, ports) == [port for port in ports if port != 51820]
    assert candidates_over(Transport.UDP, ports) == list(ports)
    assert protocol_named("wireguard") is wireguard


def test_keys_are_made_handed_over_and_accepted() -> None:
    spec = BY_NAME["openvpn"]
    assert spec.make_keys is not None
    assert spec.accept_keys is not None
    keys = spec.accept_keys(spec.make_keys(random.Random(3).randbytes).handed_over())
    assert isinstance(keys, ServerKeys)
    with pytest.raises(DecodeError):
        spec.accept_keys("no table")


def test_wireguard_answers_who_handed_over_keys() -> None:
    spec = BY_NAME["wireguard"]
    keys = make_run_keys(random.Random(3).randbytes)
    client = WireguardInitiator(keys.identity, index=NONCE[:4], entropy=random.Random(4).randbytes, unix_time_at_zero=1.7e9)
    client.start(0.0)
    first = Opening(client.data_to_send(0.0)[0], Transport.UDP, 51820)
    assert spec.opening(first) == NONCE[:4].hex()
    assert spec.respond is not None
    assert spec.accept_keys is not None
    assert spec.respond(first, HOST) is None
    responder = spec.respond(first, HOST._replace(keys=spec.accept_keys(keys.handed_over())))
    assert responder is not None
    assert responder.key == NONCE[:4].hex()
    assert spec.observer is not None
    assert [seen.key for seen in spec.observer(*first[1:]).saw(Sender.INITIATOR, first.data)] == [NONCE[:4].hex()]


def test_a_call_that_is_up_has_numbers_for_its_packets() -> None:
    spec, first = BY_NAME["pptp"], opening("pptp")
    assert spec.respond is not None
    server = spec.respond(first, HOST)
    client = PptpInitiator(host_name(NONCE.hex()), 7)
    assert server is not None
    client.start(0.0)
    assert spec.call_ids(server) is None
    for _ in range(2):
        server.receive(b"".join(client.data_to_send(0.0)), 0.0)
        client.receive(b"".join(server.data_to_send(0.0)), 0.0)
    assert spec.call_ids(server) == (client.peer_call_id, 7)
    assert BY_NAME["l2tp"].call_ids(server) is None


def test_a_first_packet_can_be_made_and_its_length_is_waited_for() -> None:
    spec = BY_NAME["openvpn"]
    assert spec.first_packet is not None
    data, name = spec.first_packet(NONCE, bytes)
    assert name == "P_CONTROL_HARD_RESET_CLIENT_V2"
    assert spec.opening(Opening(data, Transport.UDP, 1)) == NONCE.hex()
    framed = Opening(len(data).to_bytes(2, "big") + data, Transport.TCP, 1)
    assert spec.opening(framed) == NONCE.hex()
    assert [spec.stream_needs(framed.data[:count]) for count in (1, 2, 9)] == [2, 16, 16]
    assert BY_NAME["pptp"].stream_needs(b"") == 1
    assert (spec.variant(framed), BY_NAME["l2tp"].variant(framed)) == ("", "")


def test_what_cannot_be_read_is_said_so() -> None:
    spec = BY_NAME["l2tp"]
    assert spec.described(DecodeError("length", 2, "is short")) == ("unreadable", {"problem": "length at offset 2: is short"})
    assert spec.bears_on(object()) == ("control", "")
    assert BY_NAME["lcp"].opening(opening("l2tp")) == ""
