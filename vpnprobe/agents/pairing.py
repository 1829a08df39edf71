"""Pairing over TLS 1.3: the server proves itself by the certificate that the token names, the client by the token's secret.

The proof is in the first message of each connection: an HMAC over a nonce and the certificate's fingerprint. A connection whose first
message proves nothing is closed without a byte of answer.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from vpnprobe.agents.control import Connector, Message
from vpnprobe.agents.server import ServerAgent
from vpnprobe.agents.token import Token, proof, proves
from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.transports.stack import Address, ConnectError, ConnectFailure, Endpoint, NetworkStack, PortUnavailable, TcpStream
from vpnprobe.transports.tls import TlsListener, TlsStream, connect_tls, listen_tls, server_context

CONTROL_PORT: Final = 7117
CONNECT_DEADLINE_S: Final = 7.5
NONCE_BYTES: Final = 16


def connector(stack: NetworkStack, remote: Endpoint, token: Token) -> Connector:
    """What opens control connections to a server agent that listens for TLS."""

    async def connect() -> TcpStream:
        try:
            source = stack.source_address(remote.address)
            return await connect_tls(remote, token.fingerprint, source=source, deadline_s=CONNECT_DEADLINE_S)
        except ConnectError as error:
            raise CannotRun(why_not(remote, error.failure)) from error

    return connect


def why_not(remote: Endpoint, failure: ConnectFailure) -> str:
    """One line: what happened with the control port, and what to do."""
    match failure:
        case ConnectFailure.REFUSED:
            return f"{remote} refuses the control connection: start `vpnprobe serve` there, or name its port with --control-port"
        case ConnectFailure.UNREACHABLE:
            return f"{remote} cannot be reached: check the address and the route to it"
        case ConnectFailure.TIMED_OUT:
            return f"{remote} does not answer: is `vpnprobe serve` running there, and does a firewall let its control port through?"
        case ConnectFailure.RESET:
            return f"{remote} closed the control connection: does the token here fit the server's? Copy its token file again"


def credentials(token: Token) -> Callable[[], Message]:
    """What goes into the first message of each connection, with a fresh nonce each."""

    def fresh() -> Message:
        nonce = os.urandom(NONCE_BYTES)
        return {"nonce": nonce.hex(), "proof": proof(token.secret, token.fingerprint, nonce).hex()}

    return fresh


def admission(token: Token) -> Callable[[TcpStream, Message], bool]:
    """Whether a first message proves the secret; the stream is told, so that it no longer counts as a stranger's."""

    def admits(stream: TcpStream, message: Message) -> bool:
        try:
            nonce, claimed = bytes.fromhex(str(message["nonce"])), bytes.fromhex(str(message["proof"]))
        except (KeyError, ValueError):
            return False
        if len(nonce) != NONCE_BYTES or not proves(token, nonce, claimed):
            return False
        if isinstance(stream, TlsStream):
            stream.admit()
        return True

    return admits


async def listen(agent: ServerAgent, pem_path: Path, *, port: int, address: Address | None) -> TlsListener:
    """Accepts clients until the listener is closed. Raises CannotRun where the control port is not to be had."""
    serving: set[asyncio.Task[None]] = set()

    def connected(stream: TlsStream) -> None:
        task = asyncio.get_running_loop().create_task(agent.serve(stream))
        serving.add(task)
        task.add_done_callback(serving.discard)

    agent.responders.reserve(port)
    try:
        return await listen_tls(connected, port=port, context=server_context(pem_path), address=address)
    except PortUnavailable as error:
        problem = "is in use by another program" if error.in_use else "may not be opened (ports below 1024 need root)"
        raise CannotRun(f"the control port {port} {problem}: choose another with --control-port", status=ExitStatus.MISSING) from error
