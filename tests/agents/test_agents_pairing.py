"""Pairing over TLS on loopback: strangers get no byte, who holds the secret gets in, and every refusal is one line."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar

import pytest
from agents_support import SESSION, Talk, until_closed

from vpnprobe.agents.client import Greeter
from vpnprobe.agents.control import Channel, encode_frame
from vpnprobe.agents.pairing import NONCE_BYTES, admission, connector, credentials, listen, why_not
from vpnprobe.agents.peer import hello
from vpnprobe.agents.server import ServerAgent
from vpnprobe.agents.token import Token, server_token
from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.transports.stack import ConnectFailure, Endpoint
from vpnprobe.transports.system import SystemStack
from vpnprobe.transports.tls import TlsListener, client_context, connect_tls

T = TypeVar("T")
LOOPBACK = IPv4Address("127.0.0.1")
PATIENCE_S = 10.0


class Server:
    """A server agent on a free port of loopback."""

    def __init__(self, agent: ServerAgent, listener: TlsListener, token: Token) -> None:
        self.agent = agent
        self.listener = listener
        self.token = token
        self.remote = Endpoint(LOOPBACK, listener.local.port)

    async def stranger(self) -> Talk:
        """Encrypted, with the right certificate, and without the secret."""
        return Talk(await connect_tls(self.remote, self.token.fingerprint, source=LOOPBACK, deadline_s=5))


def served(tmp_path: Path, story: Callable[[Server], Awaitable[T]]) -> T:
    async def main() -> T:
        token, pem_path = server_token(tmp_path / "token")
        stack = SystemStack()
        agent = ServerAgent(stack, admits=admission(token))
        listener = await listen(agent, pem_path, port=0, address=LOOPBACK)
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await story(Server(agent, listener, token))
        finally:
            listener.close()
            agent.close()
            stack.close()

    return asyncio.run(main())


def greeting(proof: dict[str, Any]) -> bytes:
    return encode_frame({**hello(SESSION, 1), **proof})


GUESSES: list[bytes] = [
    greeting({}),
    greeting({"nonce": "00" * NONCE_BYTES}),
    greeting({"nonce": "00" * NONCE_BYTES, "proof": "00" * 32}),
    greeting({"nonce": "", "proof": ""}),
    greeting({"nonce": None, "proof": None}),
    greeting({"nonce": ["00"], "proof": {"a": 1}}),
    greeting({"nonce": "zz" * NONCE_BYTES, "proof": "zz" * 32}),
    encode_frame({"number": 1, "ask": "ping"}),
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\xff\xff\xff\xff" + b"x" * 100,
    (4097).to_bytes(4, "big") + b"x" * 4097,
]


@pytest.mark.parametrize("first", GUESSES)
def test_a_stranger_gets_no_byte_of_answer(tmp_path: Path, first: bytes) -> None:
    async def story(server: Server) -> tuple[bytes, int]:
        talk = await server.stranger()
        await talk.stream.send(first)
        return await until_closed(talk.stream), len(server.agent.sessions.everybody())

    assert served(tmp_path, story) == (b"", 0)


def test_a_proof_is_worth_nothing_for_another_nonce(tmp_path: Path) -> None:
    """What was overheard in one connection cannot be changed for the next."""

    async def story(server: Server) -> bytes:
        proof = {**credentials(server.token)(), "nonce": "11" * NONCE_BYTES}
        talk = await server.stranger()
        await talk.stream.send(greeting(proof))
        return await until_closed(talk.stream)

    assert served(tmp_path, story) == b""


def test_a_proof_for_another_server_is_worth_nothing_here(tmp_path: Path) -> None:
    async def story(server: Server) -> bytes:
        talk = await server.stranger()
        await talk.stream.send(greeting(dict(credentials(Token(server.token.secret, "ab" * 32))())))
        return await until_closed(talk.stream)

    assert served(tmp_path, story) == b""


def test_without_encryption_nothing_is_answered(tmp_path: Path) -> None:
    async def story(server: Server) -> bytes:
        reader, writer = await asyncio.open_connection(str(LOOPBACK), server.remote.port)
        writer.write(greeting(dict(credentials(server.token)())))
        received = await reader.read()
        writer.close()
        return received

    # At the most an alert of TLS itself (RFC 8446 section 6): content type 21.
    assert served(tmp_path, story)[:1] in (b"", b"\x15")


def test_tls_below_1_3_is_refused(tmp_path: Path) -> None:
    async def story(server: Server) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(str(LOOPBACK), server.remote.port, ssl=context)

    served(tmp_path, story)


def test_who_holds_the_secret_gets_in(tmp_path: Path) -> None:
    async def story(server: Server) -> tuple[str, int]:
        greeter = Greeter(connector(SystemStack(), server.remote, server.token), SESSION, 1, credentials(server.token))
        channel = Channel(greeter)
        await channel.open()
        await asyncio.gather(*(channel.request("ping") for _ in range(30)))
        sessions = len(server.agent.sessions.everybody())
        await channel.close()
        return str(greeter.about["seen_as"]), sessions

    assert served(tmp_path, story) == ("127.0.0.1", 1)


def test_the_same_greeting_does_not_open_a_second_connection_for_an_eavesdropper(tmp_path: Path) -> None:
    """Each connection proves the secret with a nonce of its own."""
    token = Token(bytes(32), "ab" * 32)
    fresh = credentials(token)
    assert len({str(fresh()["nonce"]) for _ in range(8)}) == 8


def refused(server: Server, token: Token) -> Awaitable[str]:
    async def story() -> str:
        stack = SystemStack()
        greeter = Greeter(connector(stack, server.remote, token), SESSION, 1, credentials(token))
        with pytest.raises(CannotRun) as caught:
            await Channel(greeter).open()
        assert caught.value.status is ExitStatus.NO_PEER
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return story()


def test_a_wrong_secret_is_one_line(tmp_path: Path) -> None:
    problem = served(tmp_path, lambda server: refused(server, Token(bytes(32), server.token.fingerprint)))
    assert "its token differs from ours" in problem


def test_another_certificate_is_one_line(tmp_path: Path) -> None:
    problem = served(tmp_path, lambda server: refused(server, Token(server.token.secret, "ab" * 32)))
    assert "not the one that the token names" in problem


def test_another_version_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpnprobe.agents.peer.VERSION", 99)
    problem = served(tmp_path, lambda server: refused(server, server.token))
    assert "version mismatch" in problem
    assert "install the same version at both ends" in problem


@pytest.mark.parametrize("failure", ConnectFailure)
def test_every_way_to_fail_has_its_line(failure: ConnectFailure) -> None:
    line = why_not(Endpoint(LOOPBACK, 7117), failure)
    assert line.startswith("127.0.0.1:7117 ")
    assert "\n" not in line


def test_nobody_listens(tmp_path: Path) -> None:
    async def story(server: Server) -> str:
        nowhere = Server(server.agent, server.listener, server.token)
        nowhere.remote = Endpoint(LOOPBACK, 1)
        return await refused(nowhere, server.token)

    assert "refuses the control connection" in served(tmp_path, story)


def test_a_control_port_that_is_taken(tmp_path: Path) -> None:
    async def story(server: Server) -> None:
        token, pem_path = server_token(tmp_path / "token")
        with pytest.raises(CannotRun, match="is in use by another program: choose another with --control-port") as caught:
            await listen(ServerAgent(SystemStack(), admits=admission(token)), pem_path, port=server.remote.port, address=LOOPBACK)
        assert caught.value.status is ExitStatus.MISSING

    served(tmp_path, story)


def test_two_clients_that_want_a_port_at_once_both_get_it(tmp_path: Path) -> None:
    """Neither takes the other's for another program's."""
    wanted = [["udp", 20053], ["tcp", 20443], ["udp", 20500]]

    async def story(server: Server) -> list[object]:
        talks = []
        for number in (1, 2):
            talk = await server.stranger()
            await talk.ask(**{**hello(f"{number:032x}", number), **credentials(server.token)()})
            talks.append(talk)
        answers = await asyncio.gather(*(talk.ask(number=1, ask="open", ports=wanted, seconds=60) for talk in talks))
        for talk in talks:
            await talk.stream.close()
        return [answer["ports"] for answer in answers]

    first, second = served(tmp_path, story)
    assert first == second == [[*port, "ours"] for port in wanted]


def test_many_strangers_do_not_keep_a_client_out(tmp_path: Path) -> None:
    """They hold their connections without a word; a client still gets in beside them."""

    async def story(server: Server) -> int:
        strangers = [await server.stranger() for _ in range(40)]
        channel = Channel(Greeter(connector(SystemStack(), server.remote, server.token), SESSION, 1, credentials(server.token)))
        await channel.open()
        await channel.request("ping")
        await channel.close()
        for stranger in strangers:
            stranger.stream.abort()
        return len(strangers)

    assert served(tmp_path, story) == 40


_ = client_context
