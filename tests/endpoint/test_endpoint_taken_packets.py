"""What a host takes of what its wire shows: only what is whole and unbroken, and was due at a socket that was open and read in time."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from vpnprobe.endpoint import taken_packets as module
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.socket_log import Slot, SocketLog, digest_of
from vpnprobe.endpoint.taken_packets import READ_WITHIN_S, TakenPacketsObserver, named
from vpnprobe.evidence import checks
from vpnprobe.evidence.packet_records import Movement, PacketRecord, Vantage
from vpnprobe.evidence.taken import NOTHING_TAKEN, Taken, TakenPackets, Unnamed
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.fragments import fragmented
from vpnprobe.transports.simulated import SimulatedNetwork, run_virtual
from vpnprobe.transports.stack import Datagram, Endpoint, Packet
from vpnprobe.transports.topology import SERVER, Topology
from vpnprobe.wire.esp import EspPacket
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, UdpDatagram
from vpnprobe.wire.nonce import NoncePayload

TAG, PORT = 7, 1194
OWN, PEER = Topology().server_address, Topology().client_address
UDP = int(IpProtocol.UDP)
SLOT = Slot(UDP, PORT)
UNIX = 1767225600.0


def nonce(number: int, size: int = 56) -> bytes:
    return NoncePayload(TAG, number, size).encode()


def ip_packet(content: bytes, *, to: int = PORT) -> IPv4Packet:
    return IPv4Packet(PEER, OWN, UDP, 60, 5, UdpDatagram(40000, to, content).encode(PEER, OWN))


class End:
    """A server's end with one open UDP port and raw ESP."""

    def __init__(self, log: SocketLog, observer: TakenPacketsObserver, recorder: Recorder) -> None:
        self.log = log
        self.observer = observer
        self.recorder = recorder

    def shows(self, *packets: IPv4Packet) -> None:
        for packet in packets:
            self.observer(Packet(packet.encode(), self.recorder.stack.unix_time(), outgoing=False))

    def gets(self, content: bytes, slot: Slot = SLOT) -> None:
        self.log.delivered(slot, Datagram(content, Endpoint(PEER, 40000), 0.0))

    def some_come(self, count: int, *, but: Iterable[int] = ()) -> None:
        """So many on the wire, of which the socket gets all but some."""
        for number in range(count):
            self.shows(ip_packet(nonce(number)))
            if number not in but:
                self.gets(nonce(number))

    def found(self) -> TakenPackets:
        return self.observer.found({443})


Story = Callable[[End], None]


def at_end(story: Story, *, then: Story = lambda _: None, after_s: float = 2 * READ_WITHIN_S) -> TakenPackets:
    """What is taken where this happens, and `then` later."""

    async def main() -> TakenPackets:
        stack = SimulatedNetwork(Topology(), seed=1).stack(SERVER)
        log = SocketLog(stack)
        recorder = Recorder(stack, Vantage.SERVER)
        await log.watched.udp(lambda _: None, port=PORT)
        log.watched.raw(50, lambda _: None)
        await asyncio.sleep(1.0)
        end = End(log, TakenPacketsObserver(recorder, log, PEER, TAG), recorder)
        story(end)
        await asyncio.sleep(after_s)
        then(end)
        return end.found()

    return run_virtual(main())


def test_what_came_to_the_wire_and_not_out_of_the_socket_is_taken() -> None:
    found = at_end(lambda end: end.some_come(20, but=range(4, 10)))
    assert found.parts == (Taken(Transport.UDP, PORT, 6, 20, 84, 84),)
    assert [(s.check, s.key, s.vantage, s.movement, s.size) for s in found.packets] == [
        (checks.udp_reach(PORT), NoncePayload(TAG, number, 56).key, Vantage.SERVER, Movement.RECEIVED, 56) for number in range(4, 10)
    ]
    assert found.unnamed == ()


def test_esp_is_compared_with_its_raw_socket() -> None:
    packets = [EspPacket(0x1000, number, nonce(number)).encode() for number in range(12)]

    def story(end: End) -> None:
        end.shows(*(IPv4Packet(PEER, OWN, 50, 60, 5, packet) for packet in packets))
        for packet in packets[:6]:
            end.gets(packet, Slot(50))

    (part,) = at_end(story).parts
    assert (part.slot, part.taken, part.came) == ((Transport.ESP, None), 6, 12)


def test_a_size_above_which_all_is_taken_shows() -> None:
    def story(end: End) -> None:
        for number in range(10):
            content = nonce(number, 900 if number % 2 else 56)
            end.shows(ip_packet(content))
            if not number % 2:
                end.gets(content)

    assert at_end(story).parts == (Taken(Transport.UDP, PORT, 5, 10, 928, 84),)


def test_what_only_its_sender_can_read_is_told_by_its_digest_and_named_by_the_sender() -> None:
    def story(end: End) -> None:
        end.some_come(9)
        end.shows(*(ip_packet(bytes([number]) * 40) for number in range(4)))

    found = at_end(story)
    assert [one.digest for one in found.unnamed] == [digest_of(bytes([number]) * 40) for number in range(4)]
    assert found.parts[0].taken == 4
    sent = PacketRecord(Vantage.CLIENT, Movement.SENT, 3.0, checks.wireguard_data(PORT), "k.1", "data", 40, ttl=64, peer=("192.0.2.1", 1))
    (row,) = named(found.unnamed, {found.unnamed[0].digest: sent}.get, Vantage.SERVER)
    assert row == replace(sent, vantage=Vantage.SERVER, movement=Movement.RECEIVED, at=found.unnamed[0].at, ttl=None, peer=None)
    assert named([Unnamed("00", 1.0)], {}.get, Vantage.SERVER) == ()


def test_out_of_the_socket_before_it_shows_on_the_wire_is_not_taken() -> None:
    def story(end: End) -> None:
        for number in range(20):
            end.gets(nonce(number))
        end.some_come(20, but=range(20))

    assert at_end(story) == NOTHING_TAKEN


def test_a_copy_that_the_capture_or_the_path_made_is_not_taken() -> None:
    def story(end: End) -> None:
        end.some_come(20)
        end.some_come(20, but=range(20))

    assert at_end(story) == NOTHING_TAKEN


def spoiled(packet: IPv4Packet) -> IPv4Packet:
    return replace(packet, payload=packet.payload[:-1] + bytes([packet.payload[-1] ^ 1]))


@pytest.mark.parametrize(
    "never_delivered",
    [
        lambda packet: [spoiled(packet)],
        lambda packet: fragmented(packet, 44)[:-1],
        lambda packet: [replace(packet, payload=packet.payload[:-4], missing=4)],
        lambda packet: [replace(packet, source=OWN)],
        lambda packet: [replace(packet, destination=PEER, protocol=1)],
        lambda packet: [ip_packet(packet.payload[8:], to=53)],
    ],
    ids=["broken", "a fragment is missing", "cut", "somebody else's", "another protocol", "no socket"],
)
def test_what_no_socket_was_to_get_is_not_taken(never_delivered: Callable[[IPv4Packet], list[IPv4Packet]]) -> None:
    def story(end: End) -> None:
        end.some_come(9)
        for number in range(20, 30):
            end.shows(*never_delivered(ip_packet(nonce(number))))

    assert at_end(story) == NOTHING_TAKEN


def test_fragments_that_are_all_there_are_one_packet() -> None:
    def story(end: End) -> None:
        end.some_come(9)
        for number in range(20, 30):
            end.shows(*fragmented(replace(ip_packet(nonce(number, 400)), identification=number), 100))

    (part,) = at_end(story).parts
    assert (part.taken, part.smallest_taken) == (10, 428)


def test_a_checksum_that_the_network_card_was_to_make_is_none_that_is_wrong() -> None:
    def partial(content: bytes) -> IPv4Packet:
        packet = ip_packet(content)
        total = (int(PEER) + int(OWN) + UDP + len(packet.payload)) % 0xFFFF or 0xFFFF
        return replace(packet, payload=packet.payload[:6] + total.to_bytes(2, "big") + packet.payload[8:])

    def story(end: End) -> None:
        end.some_come(9)
        end.shows(*(partial(nonce(number)) for number in range(20, 30)))

    assert at_end(story).parts[0].taken == 10


class TestNobodyIsAccused:
    """It arrived, and nobody says that a firewall took it."""

    def test_while_the_program_is_late(self) -> None:
        def story(end: End) -> None:
            end.some_come(20, but=range(9))
            now = end.recorder.stack.now()
            end.recorder.was_late(now + 0.1, now + 0.3)

        found = at_end(story)
        assert (found.parts, len(found.packets)) == ((), 9)

    def test_unless_what_came_behind_it_is_out(self) -> None:
        """A socket is a queue."""

        def story(end: End) -> None:
            end.some_come(20, but=range(9))
            now = end.recorder.stack.now()
            end.recorder.was_late(now + 0.1, now + 2.0)

        def behind(end: End) -> None:
            end.shows(ip_packet(nonce(30)))
            end.gets(nonce(30))

        def behind_and_read_first(end: End) -> None:
            end.gets(nonce(30))
            end.shows(ip_packet(nonce(30)))

        assert at_end(story, then=behind).parts[0].taken == 9
        assert at_end(story, then=behind_and_read_first).parts[0].taken == 9

    def test_nor_right_after_it_came(self) -> None:
        found = at_end(lambda end: end.some_come(20, but=range(9)), after_s=READ_WITHIN_S / 2)
        assert (found.parts, len(found.packets)) == ((), 9)

    def test_nor_where_the_sockets_buffer_overflowed(self) -> None:
        def story(end: End) -> None:
            end.some_come(20, but=range(9))
            end.log.delivered(SLOT, Datagram(b"", Endpoint(PEER, 1), 0.0, overflowed=True))

        assert at_end(story).parts == ()

    def test_nor_where_the_socket_was_closed_soon_after(self) -> None:
        def story(end: End) -> None:
            end.some_come(20, but=range(9))
            end.log.closed(SLOT)

        assert at_end(story).parts == ()

    def test_nor_of_what_came_after_that(self) -> None:
        def story(end: End) -> None:
            end.some_come(20)
            end.log.closed(SLOT)
            end.shows(*(ip_packet(nonce(number)) for number in range(30, 40)))

        assert at_end(story) == NOTHING_TAKEN

    def test_nor_of_a_few(self) -> None:
        assert at_end(lambda end: end.some_come(20, but=range(3))).parts == ()

    def test_nor_where_all_is_kept_which_is_told_otherwise(self) -> None:
        assert at_end(lambda end: end.some_come(20, but=range(20))).parts == ()

    def test_nor_once_more_came_than_is_remembered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MOST_REMEMBERED", 15)
        assert at_end(lambda end: end.some_come(20, but=range(9))) == NOTHING_TAKEN
        ends: list[End] = []
        assert at_end(lambda end: end.some_come(9, but=range(9)), then=ends.append).packets != ()
        assert at_end(lambda end: [end.gets(nonce(number)) for number in range(20)] and None, then=ends.append) == NOTHING_TAKEN
        assert at_end(lambda end: end.some_come(20, but=range(20)), then=ends.append) == NOTHING_TAKEN
        kept, *given_up = ends
        assert held(kept) == 18
        assert [held(end) for end in given_up] == [0, 0], "what nobody will be told takes no room"

    def test_nor_where_the_record_is_full(self) -> None:
        def full(end: End) -> None:
            end.recorder.dropped = 1

        assert at_end(lambda end: end.some_come(20, but=range(9)), then=full) == NOTHING_TAKEN


def held(end: End) -> int:
    return sum(len(held) for held in vars(end.observer).values() if isinstance(held, dict | set))


def test_a_session_that_is_over_hears_no_more() -> None:
    def story(end: End) -> None:
        end.observer.close()
        end.observer.close()
        assert end.log.listeners == []

    at_end(story)
