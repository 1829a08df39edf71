"""Port unreachable from an end that had left: no refusal, and what it refuses no trial."""

from ipaddress import IPv4Address

import pytest
from capture_packets import CLIENT, ROUTER, SERVER, decoded, ip, udp

from vpnprobe.capture.ends import Ends
from vpnprobe.evidence.packet_records import Movement, Vantage
from vpnprobe.evidence.records import EndRecord, RefusalKind
from vpnprobe.wire.icmp import DestinationUnreachable, Quote, Unreachable
from vpnprobe.wire.ip import IpProtocol, IPv4Packet
from vpnprobe.wire.openvpn import DataV2, HardResetClientV2, HardResetServerV2, Reliable

ENDS = Ends(str(CLIENT), str(SERVER))
ONE, TWO = b"\1" * 8, b"\2" * 8


def client_reset(session_id: bytes, identification: int = 1) -> bytes:
    return udp(HardResetClientV2.plain(session_id, Reliable()).encode(), 5000, 1194, identification=identification)


def server_reset(session_id: bytes) -> bytes:
    return udp(HardResetServerV2.plain(b"\x09" * 8, Reliable((0,), session_id)).encode(), 1194, 5000, back=True)


def data(number: int, *, back: bool, identification: int = 1) -> bytes:
    packet = DataV2(0, number.to_bytes(4, "big") + bytes(60)).encode()
    ports = (1194, 5000) if back else (5000, 1194)
    return udp(packet, *ports, back=back, identification=identification)


def unreachable(packet: bytes, source: IPv4Address, *, code: int = Unreachable.PORT) -> bytes:
    quoted = IPv4Packet.decode(packet)
    error = DestinationUnreachable(code, Quote(IPv4Packet.decode(packet[:28]))).encode()
    return ip(error, IpProtocol.ICMP, source=source, destination=quoted.source)


def record(packets: list[bytes], vantage: Vantage) -> EndRecord:
    return decoded(packets).record(ENDS, vantage)


SESSION = [client_reset(ONE), server_reset(ONE), data(1, back=False), data(1, back=True)]
LATE = data(2, back=True, identification=77)


def sent_by_server(record: EndRecord) -> list[str]:
    return [one.key for one in record.packet_records if one.message == "P_DATA_V2" and one.movement is Movement.SENT]


def test_data_to_a_client_that_had_left_is_no_trial_and_its_error_no_refusal() -> None:
    found = record([*SESSION, LATE, unreachable(LATE, CLIENT), data(3, back=True, identification=78)], Vantage.SERVER)
    assert found.refusals == ()
    assert len(sent_by_server(found)) == 2, "the one that was refused came there, and the one after it says nothing"
    held = record([*SESSION, LATE], Vantage.SERVER)
    assert len(sent_by_server(held)) == 2


def test_an_error_about_a_packet_that_is_not_held_counts_from_when_it_came() -> None:
    unseen = data(2, back=True, identification=99)
    found = record([*SESSION, LATE, unreachable(unseen, CLIENT), data(3, back=True, identification=78)], Vantage.SERVER)
    assert found.refusals == ()
    assert len(sent_by_server(found)) == 2


@pytest.mark.parametrize(
    ("packets", "vantage", "kind"),
    [
        ([*SESSION, LATE, unreachable(LATE, ROUTER)], Vantage.SERVER, RefusalKind.PORT_UNREACHABLE),
        ([*SESSION, LATE, unreachable(LATE, CLIENT, code=13)], Vantage.SERVER, RefusalKind.PROHIBITED),
        ([*SESSION, LATE, unreachable(LATE, CLIENT), data(2, back=False)], Vantage.SERVER, RefusalKind.PORT_UNREACHABLE),
        ([*SESSION, client_reset(TWO, 80), unreachable(client_reset(TWO, 80), SERVER)], Vantage.CLIENT, RefusalKind.PORT_UNREACHABLE),
        ([client_reset(ONE, 80), unreachable(client_reset(ONE, 80), SERVER)], Vantage.CLIENT, RefusalKind.PORT_UNREACHABLE),
    ],
    ids=["by a router", "prohibited", "it speaks on", "a new session", "never heard"],
)
def test_what_remains_a_refusal(packets: list[bytes], vantage: Vantage, kind: RefusalKind) -> None:
    assert kind in {refusal.kind for refusal in record(packets, vantage).refusals}
