"""The real servers of the lab: each listens, answers a hand-made packet as its standard says, and leaves nothing behind.

The packets are built here by hand, not by vpnprobe: these tests hold whatever the encoders do.
"""

import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.lab.daemons import Daemon, Wrap, _stop, openvpn, pptpd, strongswan, xl2tpd
from vpnprobe.lab.namespaces import Lab, require_tools
from vpnprobe.lab.ppp_stub import LCP, Code, encoded, packet
from vpnprobe.lab.scenario import load
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.topology import CLIENT, SERVER

pytestmark = [pytest.mark.root, pytest.mark.real]

PATIENCE_S = 5.0
PPTP_COOKIE = 0x1A2B3C4D
OUR_CALL_ID = 4242


@contextmanager
def tcp(lab: Lab, port: int) -> Iterator[socket.socket]:
    with lab.inside(CLIENT):
        stream = socket.create_connection((str(lab.topology.server_address), port), timeout=PATIENCE_S)
    with stream:
        yield stream


@contextmanager
def udp(lab: Lab, port: int) -> Iterator[socket.socket]:
    with lab.inside(CLIENT):
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with opened:
        opened.settimeout(PATIENCE_S)
        opened.connect((str(lab.topology.server_address), port))
        yield opened


@contextmanager
def gre(lab: Lab) -> Iterator[socket.socket]:
    with lab.inside(CLIENT):
        opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_GRE)
    with opened:
        opened.settimeout(PATIENCE_S)
        yield opened


def sccrq() -> bytes:
    return struct.pack(">HHIHHHHIIHH64s64s", 156, 1, PPTP_COOKIE, 1, 0, 0x0100, 0, 3, 3, 0, 1, b"client", b"test")


def ocrq() -> bytes:
    head = struct.pack(">HHIHHHHII", 168, 1, PPTP_COOKIE, 7, 0, OUR_CALL_ID, 1, 2400, 10_000_000)
    return head + struct.pack(">IIHHHH64s64s", 3, 3, 64, 0, 0, 0, b"", b"")


def place_call(stream: socket.socket) -> int:
    """Control connection and call; the server's Call ID."""
    stream.sendall(sccrq())
    sccrp = stream.recv(156, socket.MSG_WAITALL)
    assert struct.unpack(">HHIH", sccrp[:10]) == (156, 1, PPTP_COOKIE, 2)
    assert sccrp[14] == 1
    stream.sendall(ocrq())
    ocrp = stream.recv(32, socket.MSG_WAITALL)
    call_id, peer_call_id, result = struct.unpack(">HHB", ocrp[12:17])
    assert (peer_call_id, result) == (OUR_CALL_ID, 1)
    return int(call_id)


def ppp_in(datagram: bytes) -> bytes:
    """What enhanced GRE carries (RFC 2637 section 4.1): behind 8 bytes, a sequence number where S is set, an acknowledgment where A is."""
    header = datagram[20:]
    flags = struct.unpack(">H", header[:2])[0]
    return header[8 + 4 * bool(flags & 0x1000) + 4 * bool(flags & 0x0080) :]


def lcp_code(ppp: bytes) -> int | None:
    body = ppp.removeprefix(b"\xff\x03")
    return body[2] if body[:2] == struct.pack(">H", LCP) else None


def test_pptpd_answers_and_speaks_lcp_inside_the_call(clean_lab: Lab, pptpd_server: Daemon) -> None:
    assert pptpd_server.process.poll() is None
    with gre(clean_lab) as tunnel, tcp(clean_lab, 1723) as control:
        call_id = place_call(control)
        heard = tunnel.recv(2000)
        assert struct.unpack(">H", heard[26:28])[0] == OUR_CALL_ID
        assert lcp_code(ppp_in(heard)) == Code.CONFIGURE_REQUEST
        request = packet(LCP, Code.CONFIGURE_REQUEST, 9, encoded([(5, b"abcd")]))
        tunnel.sendto(
            struct.pack(">HHHHI", 0x3001, 0x880B, len(request), call_id, 0) + request, (str(clean_lab.topology.server_address), 0)
        )
        answers = (ppp_in(tunnel.recv(2000)) for _ in range(10))
        assert next(ppp for ppp in answers if lcp_code(ppp) == Code.CONFIGURE_ACK).endswith(b"\x05\x06abcd")


def test_xl2tpd_answers_sccrq(clean_lab: Lab, xl2tpd_server: Daemon) -> None:
    assert xl2tpd_server.process.poll() is None

    def avp(kind: int, value: bytes) -> bytes:
        return struct.pack(">HHH", 0x8000 | 6 + len(value), 0, kind) + value

    avps = avp(0, b"\0\x01") + avp(2, b"\1\0") + avp(3, bytes([0, 0, 0, 3])) + avp(4, bytes(4)) + avp(7, b"client") + avp(9, b"\x03\x09")
    with udp(clean_lab, 1701) as opened:
        opened.send(struct.pack(">HHHHHH", 0xC802, 12 + len(avps), 0, 0, 0, 0) + avps)
        reply = opened.recv(2000)
    assert struct.unpack(">HHHHHH", reply[:12])[2:] == (0x0309, 0, 0, 1)
    assert reply[12:20] == struct.pack(">HHHH", 0x8008, 0, 0, 2)


def ikev1_main_mode(initiator_spi: bytes) -> bytes:
    """One proposal: 3DES, SHA, MODP-1024, pre-shared key (RFC 2409)."""
    attributes = b"".join(struct.pack(">HH", 0x8000 | kind, value) for kind, value in ((1, 5), (2, 2), (3, 1), (4, 2)))
    transform = struct.pack(">BBHBBH", 0, 0, 8 + len(attributes), 1, 1, 0) + attributes
    proposal = struct.pack(">BBHBBBB", 0, 0, 8 + len(transform), 1, 1, 0, 1) + transform
    association = struct.pack(">BBHII", 0, 0, 12 + len(proposal), 1, 1) + proposal
    return initiator_spi + bytes(8) + struct.pack(">BBBBII", 1, 0x10, 2, 0, 0, 28 + len(association)) + association


def ikev2_bad_init(initiator_spi: bytes) -> bytes:
    """IKE_SA_INIT with one proposal that nobody accepts: RC5, and a nonce; the answer is a notification (RFC 7296)."""
    transforms = b"".join(
        struct.pack(">BBHBBH", 0 if kind == 4 else 3, 0, 8, kind, 0, value) for kind, value in ((1, 4), (2, 1), (3, 1), (4, 1))
    )
    proposal = struct.pack(">BBHBBBB", 0, 0, 8 + len(transforms), 1, 1, 0, 4) + transforms
    association = struct.pack(">BBH", 34, 0, 4 + len(proposal)) + proposal
    exchange = struct.pack(">BBHHH", 40, 0, 8 + 96, 1, 0) + bytes([7]) * 96
    nonce = struct.pack(">BBH", 0, 0, 4 + 32) + bytes([9]) * 32
    payloads = association + exchange + nonce
    return initiator_spi + bytes(8) + struct.pack(">BBBBII", 33, 0x20, 34, 0x08, 0, 28 + len(payloads)) + payloads


@pytest.mark.parametrize(("port", "marker"), [(500, b""), (4500, bytes(4))])
def test_charon_answers_ikev1_and_ikev2(clean_lab: Lab, strongswan_server: Daemon, port: int, marker: bytes) -> None:
    assert strongswan_server.process.poll() is None
    with udp(clean_lab, port) as opened:
        opened.send(marker + ikev1_main_mode(b"initiat1"))
        answer = opened.recv(2000)
        # Security Association first, version 1.0, Main Mode: accepted.
        assert answer.removeprefix(marker)[:8] == b"initiat1"
        assert answer.removeprefix(marker)[16:19] == bytes([1, 0x10, 2])
        opened.send(marker + ikev2_bad_init(b"initiat2"))
        answer = opened.recv(2000).removeprefix(marker)
        # A notification, version 2.0, IKE_SA_INIT, from the responder.
        assert answer[:8] == b"initiat2"
        assert answer[16:20] == bytes([41, 0x20, 34, 0x20])


RESET = bytes([0x38]) + b"session1" + bytes(5)
"""P_CONTROL_HARD_RESET_CLIENT_V2, no acknowledgments, packet ID 0."""


def test_openvpn_answers_a_reset_over_udp(clean_lab: Lab, openvpn_udp_server: Daemon) -> None:
    assert openvpn_udp_server.process.poll() is None
    with udp(clean_lab, 1194) as opened:
        opened.send(RESET)
        answer = opened.recv(2000)
    assert (len(answer), answer[0]) == (26, 0x40)
    assert b"session1" in answer


def test_openvpn_answers_a_reset_over_tcp(clean_lab: Lab, openvpn_tcp_server: Daemon) -> None:
    assert openvpn_tcp_server.process.poll() is None
    with tcp(clean_lab, 1194) as stream:
        stream.sendall(struct.pack(">H", len(RESET)) + RESET)
        answer = stream.recv(28, socket.MSG_WAITALL)
    assert answer[:3] == b"\x00\x1a\x40"


def test_openvpn_with_tls_crypt_closes_on_a_stranger_over_tcp(clean_lab: Lab, openvpn_tcp_tls_crypt_server: Daemon) -> None:
    assert openvpn_tcp_tls_crypt_server.process.poll() is None
    with tcp(clean_lab, 1194) as stream:
        stream.sendall(struct.pack(">H", len(RESET)) + RESET)
        assert stream.recv(100) == b""


def test_openvpn_with_tls_crypt_hears_a_stranger_over_udp_and_says_nothing(clean_lab: Lab, openvpn_udp_tls_crypt_server: Daemon) -> None:
    with udp(clean_lab, 1194) as opened:
        opened.send(RESET)
        # A closed port would have been refused by now: the second packet finds the first one's ICMP error.
        opened.send(RESET)
        opened.setblocking(False)
        with pytest.raises(BlockingIOError):
            opened.recv(100)
    assert openvpn_udp_tls_crypt_server.process.poll() is None


STARTS: dict[str, Callable[[Lab], AbstractContextManager[Daemon]]] = {
    "pptpd": pptpd,
    "xl2tpd": xl2tpd,
    "charon": strongswan,
    **{f"openvpn-{wrap}": lambda lab, wrap=wrap: openvpn(lab, wrap=wrap) for wrap in Wrap},
    "openvpn-tcp": lambda lab: openvpn(lab, transport=Transport.TCP, port=443),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_server_leaves_nothing_behind(clean_lab: Lab, name: str) -> None:
    try:
        with STARTS[name](clean_lab) as daemon:
            assert daemon.name == name.partition("-")[0]
            assert len(clean_lab.processes(SERVER)) >= 2
            folder = daemon.folder
            assert (folder / "log").exists()
    except CannotRun as lack:
        if lack.status is ExitStatus.MISSING:
            pytest.skip(str(lack))
        raise
    assert clean_lab.processes(SERVER) == []
    assert not folder.exists()


def test_pptpd_with_a_call_up_leaves_nothing_behind(clean_lab: Lab, pptpd_server: Daemon) -> None:
    """The call's programs have sessions of their own, and hold on to neither the namespace nor the connection."""
    with gre(clean_lab) as tunnel, tcp(clean_lab, 1723) as control:
        place_call(control)
        tunnel.recv(2000)
        assert len(clean_lab.processes(SERVER)) >= 4
        _stop(pptpd_server.process)
        assert clean_lab.processes(SERVER) == []
        assert control.recv(1000) == b""


@pytest.mark.parametrize(("scenario", "expected"), [("nat-with-alg", True), ("nat-without-alg", False)])
def test_a_nat_passes_the_server_s_gre_only_with_its_helper(scenario: str, expected: bool) -> None:
    try:
        require_tools()
    except CannotRun as lack:
        pytest.skip(str(lack))
    with Lab(load(scenario).topology, f"vplab-nat-{os.getpid()}") as lab, pptpd(lab), gre(lab) as tunnel, tcp(lab, 1723) as control:
        call_id = place_call(control)
        request = packet(LCP, Code.CONFIGURE_REQUEST, 9, encoded([(5, b"abcd")]))
        tunnel.sendto(struct.pack(">HHHHI", 0x3001, 0x880B, len(request), call_id, 0) + request, (str(lab.topology.server_address), 0))
        if expected:
            assert struct.unpack(">H", tunnel.recv(2000)[26:28])[0] == OUR_CALL_ID
        else:
            # The NAT refuses what it has no entry for, and pptpd, whose GRE is refused, ends the connection.
            while control.recv(1000):
                pass
            tunnel.setblocking(False)
            with pytest.raises(BlockingIOError):
                tunnel.recv(2000)
