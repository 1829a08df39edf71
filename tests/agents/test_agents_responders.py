"""What the server agent answers at its ports: whole OpenVPN sessions for clients that handed over keys, resets for others.

Strangers get nothing.
"""

import asyncio
import base64
import os
import random
from collections.abc import Iterable
from ipaddress import IPv4Address
from itertools import pairwise
from typing import Any

import pytest
from agents_support import SESSION, Agents, outcomes, simulated, until_closed

from vpnprobe.agents import sessions
from vpnprobe.agents.control import Message
from vpnprobe.agents.responders import TcpResponder
from vpnprobe.conversations import openvpn_responder
from vpnprobe.conversations.openvpn_ends import Client, ClientOffer
from vpnprobe.conversations.openvpn_session import Stage
from vpnprobe.conversations.openvpn_session_keys import SessionKeys, make_session_keys
from vpnprobe.conversations.openvpn_tls import client_context
from vpnprobe.conversations.wireguard_run_keys import make_run_keys
from vpnprobe.probes.settings import Settings
from vpnprobe.transports.stack import Datagram, Endpoint, Packet, TcpStream, UdpPort
from vpnprobe.wire.ip import IpProtocol, IPv4Packet, UdpDatagram
from vpnprobe.wire.nonce import PURPOSE_SHIFT, STREAM_BYTES, NoncePayload, Purpose
from vpnprobe.wire.openvpn import HardResetClientV2, HardResetServerV2, decode_openvpn
from vpnprobe.wire.openvpn import Reliable as Layer
from vpnprobe.wire.openvpn_wrap import Wrap

OPENVPN = frozenset({"openvpn", "udp", "tcp"})
MATERIAL = make_session_keys(random.Random(1).randbytes)
KEYS = MATERIAL.handed_over()
HANDED_OVER = {"openvpn": KEYS, "wireguard": make_run_keys(random.Random(2).randbytes).handed_over()}
TAG = 1
PORT = 1194


def reset(number: int = 0, *, tag: int = TAG) -> bytes:
    """A plain client's first packet, of a session of this tag."""
    return HardResetClientV2.plain(number.to_bytes(4, "big") + tag.to_bytes(4, "big"), Layer()).encode()


def client(*, wrap: Wrap = Wrap.NONE, tag: int = TAG, session_keys: SessionKeys = MATERIAL, echoes: int = 6, seed: int = 0) -> Client:
    entropy = random.Random(seed).randbytes
    return Client(
        session_id=entropy(4) + tag.to_bytes(4, "big"),
        stream=False,
        wrapping=session_keys.wrapping(wrap),
        context=client_context(ca_pem=None, identity=session_keys.identity),
        entropy=entropy,
        unix_time_at_zero=1.8e9,
        offer=ClientOffer(echoes=echoes),
    )


def first_packet(wrap: Wrap) -> bytes:
    one = client(wrap=wrap)
    one.start(0.0)
    (packet,) = one.data_to_send(0.0)
    return packet


async def converse(both: Agents, one: Client, *, seconds: float = 5.0) -> Client:
    """Runs a client over UDP for so long."""

    def flush() -> None:
        for data in one.data_to_send(both.client.now()):
            port.send(data, Endpoint(both.remote.address, PORT))

    def came(datagram: Datagram) -> None:
        one.receive(datagram.data, both.client.now())
        flush()

    port: UdpPort = await both.client.udp(came)
    one.start(both.client.now())
    flush()
    end = both.client.now() + seconds
    while both.client.now() < end:
        await asyncio.sleep(0.01)
        if (due := one.next_timer()) is not None and due <= both.client.now():
            one.handle_timer(both.client.now())
            flush()
    return one


async def opened(both: Agents, keys: object = HANDED_OVER) -> Message:
    return await (await both.talk(tag=TAG)).ask(number=1, ask="open", ports=[["udp", PORT], ["tcp", PORT]], seconds=60, keys=keys)


class TestWholeRuns:
    def test_over_both_transports_in_each_wrap(self) -> None:
        async def story(both: Agents) -> dict[str, str]:
            return outcomes(await both.run(Settings((PORT,), OPENVPN)).measure())

        found = simulated(story)
        for transport in ("udp", "tcp"):
            for form in ("", "tls-crypt-", "tls-crypt-v2-"):
                names = [f"openvpn-{check}-{form}{transport}-{PORT}" for check in ("reset", "handshake", "data")]
                ways = [f"{names[0]}-both", f"{names[1]}-both", f"{names[2]}-c2s", f"{names[2]}-s2c"]
                assert {name: found.get(name) for name in ways} == dict.fromkeys(ways, "pass")

    def test_a_host_without_ciphers_gets_resets_alone_and_says_why(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(openvpn_responder, "lacking", lambda: "no AES here")

        async def story(both: Agents) -> dict[str, tuple[str, object]]:
            measured = await both.run(Settings((PORT,), OPENVPN)).measure()
            return {row.id: (row.outcome.value, row.detail.get("reason")) for row in measured.observations}

        found = simulated(story)
        for transport in ("udp", "tcp"):
            assert found[f"openvpn-reset-{transport}-{PORT}-both"][0] == "pass"
            for name in ("handshake-{}-both", "data-{}-c2s", "data-{}-s2c"):
                assert found["openvpn-" + name.format(f"{transport}-{PORT}")] == ("skipped", "at the server: no AES here")
        assert not any("tls-crypt" in name for name in found)

    def test_ports_of_another_program_name_the_way_to_more(self) -> None:
        async def story(both: Agents) -> dict[str, tuple[str, object]]:
            await both.server.udp(lambda datagram: None, port=PORT)
            await both.server.listen(lambda stream: stream.abort(), port=PORT)
            measured = await both.run(Settings((PORT,), OPENVPN)).measure()
            return {row.id: (row.outcome.value, row.detail.get("reason")) for row in measured.observations}

        found = simulated(story)
        for transport in ("udp", "tcp"):
            for name in ("handshake-{}-both", "data-{}-c2s", "data-{}-s2c"):
                outcome, reason = found["openvpn-" + name.format(f"{transport}-{PORT}")]
                assert outcome == "skipped"
                assert "another program answers there" in str(reason)
                assert "--profile FILE.ovpn" in str(reason)


class TestOpening:
    def test_with_keys_nothing_is_in_the_way(self) -> None:
        assert simulated(opened)["no_keys"] == {}

    @pytest.mark.parametrize("keys", [None, {}, [], "keys", 5, {"another": KEYS}])
    def test_without_keys(self, keys: object) -> None:
        async def story(both: Agents) -> Message:
            return await opened(both, keys)

        answer = simulated(story)
        assert answer["no_keys"] == dict.fromkeys(("openvpn", "wireguard"), "the client handed over no keys")
        assert [state for _, _, state in answer["ports"]] == ["ours", "ours"]

    @pytest.mark.parametrize(
        "keys",
        [
            5,
            "keys",
            [],
            {},
            {**KEYS, "key": None},
            {**KEYS, "certificate": "*"},
            {**KEYS, "certificate": base64.b64encode(b"\xff").decode()},
            {**KEYS, "client_certificate": base64.b64encode("é".encode()).decode()},
            {**KEYS, "key": base64.b64encode(MATERIAL.identity.key_pem).decode()},
            {**KEYS, "tls_crypt": "AAAA"},
            {**KEYS, "tls_crypt_v2": "A" * 100_000},
        ],
        ids=range(11),
    )
    def test_garbage_is_no_error_of_the_run(self, keys: Any) -> None:
        async def story(both: Agents) -> Message:
            return await opened(both, {"openvpn": keys})

        answer = simulated(story)
        assert "error" not in answer
        assert answer["no_keys"]["openvpn"]
        assert len(answer["ports"]) == 2

    def test_the_keys_that_came_last_count(self) -> None:
        async def story(both: Agents) -> tuple[Client, Client]:
            await opened(both)
            talk = await both.talk(tag=TAG)
            other = make_session_keys(os.urandom)
            await talk.ask(number=2, ask="open", ports=[["udp", PORT]], seconds=60, keys={"openvpn": other.handed_over()})
            return await converse(both, client()), await converse(both, client(session_keys=other, seed=1))

        before, after = simulated(story)
        assert before.failure is not None
        assert after.run.all_answered


class TestSessions:
    @pytest.mark.parametrize("wrap", [Wrap.NONE, Wrap.TLS_CRYPT, Wrap.TLS_CRYPT_V2])
    def test_one_to_its_end(self, wrap: Wrap) -> None:
        async def story(both: Agents) -> Client:
            await opened(both)
            return await converse(both, client(wrap=wrap))

        done = simulated(story)
        assert done.run.all_answered
        assert done.requests_answered == openvpn_responder.ECHOES
        assert done.failure is None

    def test_without_keys_a_reset_is_answered_and_nothing_else(self) -> None:
        async def story(both: Agents) -> list[Client]:
            await opened(both, None)
            return [await converse(both, client(wrap=wrap)) for wrap in (Wrap.NONE, Wrap.TLS_CRYPT, Wrap.TLS_CRYPT_V2)]

        assert [one.stage for one in simulated(story)] == [Stage.ANSWERED, Stage.RESET, Stage.RESET]

    def test_keys_of_another_run_do_not_fit(self) -> None:
        async def story(both: Agents) -> Client:
            await opened(both)
            return await converse(both, client(wrap=Wrap.TLS_CRYPT, session_keys=make_session_keys(os.urandom)))

        assert simulated(story).stage is Stage.RESET

    def test_several_clients_have_their_own_keys(self) -> None:
        async def story(both: Agents) -> tuple[Client, Client, Client]:
            await opened(both)
            other = make_session_keys(os.urandom)
            talk = await both.talk(session="cd" * 16, tag=2)
            await talk.ask(number=1, ask="open", ports=[["udp", PORT]], seconds=60, keys={"openvpn": other.handed_over()})
            return (
                await converse(both, client()),
                await converse(both, client(tag=2, session_keys=other, seed=1)),
                await converse(both, client(tag=2, wrap=Wrap.TLS_CRYPT, seed=2)),
            )

        own, others, mixed = simulated(story)
        assert own.run.all_answered
        assert others.run.all_answered
        assert mixed.stage is Stage.RESET

    def test_a_hostile_client_begins_no_more_than_so_many(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each costs memory; from then on its resets are answered, as everybody's are."""
        monkeypatch.setattr(sessions, "MOST_WITH_KEYS", 5)

        async def story(both: Agents) -> tuple[int, int, Client]:
            await opened(both)
            answers: list[bytes] = []
            for number in range(20):
                port = await both.client.udp(lambda datagram: answers.append(datagram.data))
                port.send(reset(number), Endpoint(both.remote.address, PORT))
            await asyncio.sleep(0.1)
            resets = sum(isinstance(decode_openvpn(data), HardResetServerV2) for data in answers)
            session = both.agent.sessions.get(SESSION)
            assert session is not None
            assert session.keys["openvpn"]
            return session.begun["openvpn"], resets, await converse(both, client())

        begun, resets, late = simulated(story)
        assert begun == 5
        assert resets == 20
        assert late.stage is Stage.ANSWERED

    def test_an_own_session_beside_a_flood_from_one_port(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def story(both: Agents) -> Client:
            await opened(both)
            port = await both.client.udp(lambda datagram: None)
            for number in range(100):
                port.send(reset(number), Endpoint(both.remote.address, PORT))
            return await converse(both, client())

        assert simulated(story).run.all_answered

    def test_garbage_amid_a_session_does_no_harm(self) -> None:
        async def story(both: Agents) -> Client:
            await opened(both)
            chance = random.Random(5)

            async def noise() -> None:
                port = await both.client.udp(lambda datagram: None)
                for _ in range(300):
                    port.send(bytes([chance.choice([0x20, 0x28, 0x38, 0x48, 0x50])]) + chance.randbytes(chance.randrange(90)), remote)
                    await asyncio.sleep(0.001)

            remote = Endpoint(both.remote.address, PORT)
            making = asyncio.get_running_loop().create_task(noise())
            done = await converse(both, client())
            await making
            return done

        assert simulated(story).run.all_answered


def framed(packet: bytes) -> bytes:
    return len(packet).to_bytes(2, "big") + packet


class TestFirstBytes:
    """What is spoken over TCP is told by the first message, however the path cuts it."""

    def said_in_parts(self, data: bytes, *cuts: int) -> tuple[bytes, set[str]]:
        """What is answered, and the names of the messages that the server agent has recorded beside the handshake."""

        async def story(both: Agents) -> tuple[bytes, set[str]]:
            await opened(both)
            stream = await both.client.connect(Endpoint(both.remote.address, PORT), deadline_s=3)
            for first, last in pairwise((0, *cuts, len(data))):
                await stream.send(data[first:last])
                await asyncio.sleep(0.5)
            answer = await stream.receive()
            stream.abort()
            session = both.agent.sessions.get(SESSION)
            assert session is not None
            return answer, {row.message for row in session.recorder.packet_records} - {"SYN", "SYN-ACK"}

        return simulated(story)

    @pytest.mark.parametrize("cuts", [(), (1,), (2,), (10,), (20,), (1, 2, 3), range(1, 32)], ids=str)
    def test_our_payload(self, cuts: Iterable[int]) -> None:
        payload = NoncePayload(TAG, 5, STREAM_BYTES)
        answer, messages = self.said_in_parts(payload.encode(), *cuts)
        assert (answer, messages) == (payload.answer().encode(), {"payload"})

    @pytest.mark.parametrize("cuts", [(), (1,), (40,), (64,), (31, 33), range(1, 96)], ids=str)
    def test_a_decoy_stream_is_answered_to_its_end_and_not_recorded(self, cuts: tuple[int, ...]) -> None:
        payloads = [NoncePayload(TAG, Purpose.STREAM << PURPOSE_SHIFT | number, STREAM_BYTES) for number in range(3)]

        async def story(both: Agents) -> tuple[bytes, set[str]]:
            await opened(both)
            stream, data, answer = await both.client.connect(Endpoint(both.remote.address, PORT), deadline_s=3), b"", b""
            data = b"".join(payload.encode() for payload in payloads)
            for first, last in pairwise((0, *cuts, len(data))):
                await stream.send(data[first:last])
                await asyncio.sleep(0.1)
            async with asyncio.timeout(5):
                while len(answer) < len(data) and (chunk := await stream.receive()):
                    answer += chunk
            stream.abort()
            session = both.agent.sessions.get(SESSION)
            assert session is not None
            return answer, {row.message for row in session.recorder.packet_records}

        assert simulated(story) == (b"".join(payload.answer().encode() for payload in payloads), {"SYN", "SYN-ACK"})

    @pytest.mark.parametrize("second", [b"GET / HTTP/1.1\r\nHost: server\r\n\r\n", NoncePayload(TAG + 1, 7, STREAM_BYTES).encode()])
    def test_a_decoy_stream_ends_where_something_else_comes(self, second: bytes) -> None:
        first = NoncePayload(TAG, Purpose.STREAM << PURPOSE_SHIFT | 1, STREAM_BYTES)

        async def story(both: Agents) -> bytes:
            await opened(both)
            stream = await both.client.connect(Endpoint(both.remote.address, PORT), deadline_s=3)
            await stream.send(first.encode())
            answer = await stream.receive()
            await stream.send(second)
            return answer + await until_closed(stream, within_s=10)

        assert simulated(story) == first.answer().encode()

    @pytest.mark.parametrize("cuts", [(), (1,), (2,), (3,), (10,), (15,), (1, 2), range(1, 16)], ids=str)
    def test_a_reset(self, cuts: Iterable[int]) -> None:
        """Inside its length, right behind it, and later."""
        answer, messages = self.said_in_parts(framed(reset()), *cuts)
        assert isinstance(decode_openvpn(answer[2:]), HardResetServerV2)
        assert messages == {"P_CONTROL_HARD_RESET_CLIENT_V2", "P_CONTROL_HARD_RESET_SERVER_V2"}

    @pytest.mark.parametrize("first", [b"v", b"vp" + bytes(10), b"\0", framed(reset())[:9], b"GET / HTTP/1.1\r\n\r\n", b""])
    def test_a_stream_that_ends_before_is_closed_without_an_answer(self, first: bytes) -> None:
        async def story(both: Agents) -> bytes:
            await opened(both)
            stream = await both.client.connect(Endpoint(both.remote.address, PORT), deadline_s=3)
            if first:
                await stream.send(first)
            await stream.close()
            return await until_closed(stream, within_s=10)

        assert simulated(story) == b""

    def test_a_client_that_ends_its_side_after_its_first_message_is_answered(self) -> None:
        async def story(both: Agents) -> bytes:
            await opened(both)
            stream = await both.client.connect(Endpoint(both.remote.address, PORT), deadline_s=3)
            await stream.send(framed(reset()))
            await stream.close()
            return await until_closed(stream, within_s=10)

        assert isinstance(decode_openvpn(simulated(story)[2:]), HardResetServerV2)


def test_a_port_that_closes_while_a_client_connects_leaves_no_connection_behind() -> None:
    async def story(both: Agents) -> bytes:
        await opened(both)
        accepted: asyncio.Future[TcpStream] = asyncio.get_running_loop().create_future()
        await both.server.listen(accepted.set_result, port=80)
        stream = await both.client.connect(Endpoint(both.remote.address, 80), deadline_s=3)
        port = TcpResponder(both.server, both.agent.sessions, 80, lambda: None)
        port._connected(await accepted)
        port.close()
        return await until_closed(stream, within_s=1)

    assert simulated(story) == b""


class TestStrangers:
    def answers_to(self, source: str, packet: bytes) -> int:
        """Packets that leave the server for an address from which this came."""

        async def story(both: Agents) -> int:
            await opened(both)
            seen: list[Packet] = []
            address, there = IPv4Address(source), both.network.topology.server_address
            both.server.capture(address, seen.append)
            datagram = UdpDatagram(40000, PORT, packet).encode(address, there)
            both.client.send_packet(IPv4Packet(address, there, IpProtocol.UDP, 64, 9, datagram).encode())
            await asyncio.sleep(10)
            assert any(not packet.outgoing for packet in seen)
            return sum(packet.outgoing and packet.data[9] == IpProtocol.UDP for packet in seen)

        return simulated(story)

    @pytest.mark.parametrize("wrap", [Wrap.NONE, Wrap.TLS_CRYPT, Wrap.TLS_CRYPT_V2])
    def test_a_forged_source_gets_nothing(self, wrap: Wrap) -> None:
        """Though the session ID bears a paired session's tag: else this agent could be made to send to anybody."""
        assert self.answers_to("10.78.1.1", first_packet(wrap)) == 0

    def test_the_paired_address_does(self) -> None:
        assert self.answers_to("10.78.0.1", first_packet(Wrap.NONE)) > 0

    @pytest.mark.parametrize("tag", [0, 2, 0xFFFFFFFF])
    def test_a_reset_of_nobodys_session_gets_nothing(self, tag: int) -> None:
        """From the paired address: another program there."""
        assert self.answers_to("10.78.0.1", reset(tag=tag)) == 0

    def test_over_tcp_a_tag_of_nobody_begins_no_session(self) -> None:
        async def story(both: Agents) -> int:
            await opened(both)
            stream = await both.client.connect(Endpoint(both.remote.address, PORT), deadline_s=3)
            await stream.send(framed(reset(tag=77)))
            await asyncio.sleep(1)
            session = both.agent.sessions.get(SESSION)
            assert session is not None
            assert session.keys["openvpn"]
            return session.begun["openvpn"]

        assert simulated(story) == 0
