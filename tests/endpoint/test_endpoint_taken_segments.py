"""Segments that came where the next was due, came again, and were never acknowledged in between."""

import struct
from typing import Any

import pytest

from vpnprobe.endpoint.taken_segments import ACKNOWLEDGED_WITHIN_S, TakenSegments
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.evidence.taken import Taken
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import Packet
from vpnprobe.transports.topology import Topology
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, TcpFlag, TcpSegment

CLIENT, SERVER = Topology().client_address, Topology().server_address
ACK, SYN, RST = TcpFlag.ACK.value, TcpFlag.SYN.value, TcpFlag.RST.value
PORT, LARGE, SMALL = 443, b"x" * 900, b"x" * 40
AGAIN_S = 2 * ACKNOWLEDGED_WITHIN_S


class AtClient:
    """The client's wire, on which connections to the server's port show."""

    def __init__(self) -> None:
        self.seen = TakenSegments(Vantage.CLIENT)
        self.at = 0.0

    def left(
        self, acknowledgment: int, *, flags: int = ACK, window: int = 1000, own: int = 40000, again: tuple[int, int] | None = None
    ) -> None:
        """`again`: from and up to which number something came once more, as the acknowledgment says."""
        options = b"" if again is None else b"\x01\x01\x05\x0a" + struct.pack("!II", *again)
        self._shows(TcpSegment(own, PORT, 5, acknowledgment, flags, window, options), outgoing=True)

    def came(self, sequence: int, payload: bytes, *, flags: int = ACK, own: int = 40000, broken: bool = False) -> None:
        self._shows(TcpSegment(PORT, own, sequence, 6, flags, payload=payload), outgoing=False, broken=broken)

    def _shows(self, segment: TcpSegment, *, outgoing: bool, broken: bool = False) -> None:
        ends = (CLIENT, SERVER) if outgoing else (SERVER, CLIENT)
        data = segment.encode(*ends)
        data = data[:-1] + bytes([data[-1] ^ 1]) if broken else data
        self.seen(Packet(IPv4Packet(*ends, int(IpProtocol.TCP), 60, 5, data).encode(), self.at, outgoing))

    def connected(self, own: int = 40000) -> None:
        self.left(0, flags=SYN, own=own)
        self.came(100, b"", flags=SYN | ACK, own=own)
        self.left(101, own=own)

    def again_and_again(self, sequence: int, payload: bytes, *, times: int = 6, **told: Any) -> None:
        for _ in range(times):
            self.came(sequence, payload, **told)
            self.at += AGAIN_S

    @property
    def parts(self) -> list[Taken]:
        return list(self.seen.parts({PORT}))


def test_what_comes_again_and_is_not_acknowledged_is_taken() -> None:
    end = AtClient()
    end.connected()
    end.came(101, SMALL)
    end.left(141)
    end.again_and_again(141, LARGE)
    assert end.parts == [Taken(Transport.TCP, PORT, 5, 8, 940, 80)]
    assert list(end.seen.parts({80})) == []


def test_an_answer_to_a_syn_is_too() -> None:
    end = AtClient()
    for own in range(40000, 40006):
        end.left(0, flags=SYN, own=own)
        end.came(100, b"", flags=SYN | ACK, own=own)
        end.at += AGAIN_S
        end.left(0, flags=SYN, own=own)
        end.came(100, b"", flags=SYN | ACK, own=own)
        end.left(101, own=own)
    (part,) = end.parts
    assert (part.taken, part.came) == (6, 12)


def test_what_the_kernel_has_had_says_nothing_of_what_it_has_not() -> None:
    end = AtClient()
    end.connected()
    end.came(101, SMALL)
    end.left(141)
    end.again_and_again(141, LARGE)
    end.left(141, again=(101, 141))
    end.left(1041, again=(1041, 1941))
    assert end.parts[0].taken == 5


def test_numbers_begin_again_at_zero() -> None:
    end = AtClient()
    end.connected()
    end.left(0xFFFFFFF0)
    end.came(0xFFFFFFF0, SMALL)
    end.left(24)
    end.again_and_again(24, LARGE)
    assert end.parts[0].largest_let_in == 80


class TestNobodyIsAccused:
    """It is the path, or the other end, or nobody."""

    def test_where_the_path_loses_the_acknowledgments(self) -> None:
        end = AtClient()
        end.connected()
        for _ in range(9):
            end.came(101, LARGE)
            end.left(1001)
            end.at += AGAIN_S
        assert end.parts == []

    @pytest.mark.parametrize("late", [False, True])
    def test_where_this_host_loses_or_delays_them_itself(self, late: bool) -> None:
        """In a queue before its network card: what the kernel has, it says so of where it comes again."""
        end = AtClient()
        end.connected()
        for sequence in range(101, 9101, 900):
            end.again_and_again(sequence, LARGE, times=3)
            if late:
                end.left(sequence + 900)
            end.left(sequence + 900, again=(sequence, sequence + 900))
        assert end.parts == []

    def test_where_this_host_loses_those_of_answers_to_a_syn(self) -> None:
        end = AtClient()
        for own in range(40000, 40006):
            end.left(0, flags=SYN, own=own)
            end.again_and_again(100, b"", times=3, flags=SYN | ACK, own=own)
            end.left(0, flags=RST, own=own)
        assert end.parts == []

    def test_where_something_is_missing_before_it(self) -> None:
        end = AtClient()
        end.connected()
        end.again_and_again(2000, LARGE)
        assert end.parts == []

    def test_where_it_comes_again_at_once(self) -> None:
        end = AtClient()
        end.connected()
        for _ in range(9):
            end.came(101, LARGE)
        assert end.parts == []

    def test_where_no_room_is_left(self) -> None:
        end = AtClient()
        end.connected()
        end.left(101, window=0)
        end.again_and_again(101, SMALL)
        assert end.parts == []

    @pytest.mark.parametrize("flags", [RST, TcpFlag.FIN.value])
    def test_where_the_connection_is_over(self, flags: int) -> None:
        end = AtClient()
        end.connected()
        end.left(101, flags=flags | ACK)
        end.again_and_again(101, SMALL)
        assert end.parts == []

    def test_where_the_other_end_resets_it(self) -> None:
        end = AtClient()
        end.connected()
        end.came(101, b"", flags=RST)
        end.again_and_again(101, SMALL)
        assert end.parts == []

    def test_where_it_is_broken(self) -> None:
        end = AtClient()
        end.connected()
        end.again_and_again(101, SMALL, broken=True)
        assert end.parts == []

    def test_where_a_server_has_not_acknowledged_anything_yet(self) -> None:
        """A listener whose queue is full lets segments of connections drop that are not accepted."""
        seen = TakenSegments(Vantage.SERVER)

        def shows(segment: TcpSegment, at: float, *, outgoing: bool) -> None:
            ends = (SERVER, CLIENT) if outgoing else (CLIENT, SERVER)
            seen(Packet(IPv4Packet(*ends, int(IpProtocol.TCP), 60, 5, segment.encode(*ends)).encode(), at, outgoing))

        shows(TcpSegment(40000, PORT, 99, 0, SYN), 0.0, outgoing=False)
        shows(TcpSegment(PORT, 40000, 5, 100, SYN | ACK), 0.0, outgoing=True)
        for number in range(9):
            shows(TcpSegment(40000, PORT, 100, 6, ACK, payload=SMALL), number * AGAIN_S, outgoing=False)
        assert list(seen.parts({PORT})) == []
        shows(TcpSegment(PORT, 40000, 6, 140, ACK), 9.0, outgoing=True)
        shows(TcpSegment(40000, PORT, 140, 6, ACK, payload=SMALL), 9.1, outgoing=False)
        shows(TcpSegment(PORT, 40000, 6, 180, ACK), 9.1, outgoing=True)
        for number in range(9):
            shows(TcpSegment(40000, PORT, 180, 6, ACK, payload=SMALL), 10 + number * AGAIN_S, outgoing=False)
        (part,) = seen.parts({PORT})
        assert part.taken == 8


def test_bytes_that_are_no_packet_are_left_out() -> None:
    seen = TakenSegments(Vantage.CLIENT)
    for data in (b"", b"\x45" * 9, b"\x45\0\0\x28" + bytes(5) + b"\x06" + bytes(10), b"\x60" + bytes(60)):
        seen(Packet(data, 0.0, outgoing=False))
    assert list(seen.parts({PORT})) == []


def test_only_so_many_connections_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpnprobe.endpoint.taken_segments.MOST_CONNECTIONS", 1)
    end = AtClient()
    end.connected()
    end.connected(own=50000)
    end.again_and_again(101, SMALL)
    assert end.parts == []
