"""The server agent at the far end of an ssh connection: its standard input and output are the control channel.

Started by `vpnprobe serve --stdio` where vpnprobe is installed, or from the archive that the client sends. ssh has authenticated the
client, so there is no token. Standard library alone.
"""

import asyncio
import contextlib
import os
import sys
from ipaddress import ip_address

from vpnprobe.agents.server import ServerAgent
from vpnprobe.transports.stack import Address, ConnectError, ConnectFailure, Endpoint
from vpnprobe.transports.system import SystemStack


class PipeStream:
    """Standard input and output as a stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, local: Endpoint, remote: Endpoint) -> None:
        self._reader = reader
        self._writer = writer
        self._local = local
        self._remote = remote

    @property
    def local(self) -> Endpoint:
        return self._local

    @property
    def remote(self) -> Endpoint:
        return self._remote

    async def send(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise ConnectError(ConnectFailure.RESET, self._remote) from error

    async def receive(self, limit: int = 65536) -> bytes:
        return await self._reader.read(limit)

    def segments(self) -> tuple[int, int] | None:
        """Not known: ssh's own connection is not ours to ask."""
        return None

    async def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        self._writer.close()


def client_of(connection: str) -> tuple[Endpoint, Endpoint] | None:
    """Client and server endpoint of SSH_CONNECTION (sshd(8)); None: not there, or not in that form."""
    words = connection.split()
    try:
        client, client_port, server, server_port = words
        return Endpoint(ip_address(client), int(client_port)), Endpoint(ip_address(server), int(server_port))
    except ValueError:
        return None


async def _pipes(local: Endpoint, remote: Endpoint) -> PipeStream:
    loop = asyncio.get_running_loop()
    # The program may be read from descriptor 0 up to here: only what follows is the control channel.
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(0, "rb", 0))
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(os.dup(1), "wb", 0))
    # Whatever else is printed must not end up between the messages.
    os.dup2(2, 1)
    return PipeStream(reader, asyncio.StreamWriter(transport, protocol, reader, loop), local, remote)


async def serve_pipes() -> None:
    """Serves the one client at the other end of the pipes until it goes."""
    ends = client_of(os.environ.get("SSH_CONNECTION", ""))
    nowhere: Address = ip_address("0.0.0.0")
    remote, local = ends or (Endpoint(nowhere, 0), Endpoint(nowhere, 0))
    stack = SystemStack()
    agent = ServerAgent(stack)
    agent.start()
    try:
        await agent.serve(await _pipes(local, remote))
    finally:
        agent.close()
        stack.close()


def main() -> int:
    """Runs until the client has gone; returns the exit status."""
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(serve_pipes())
    sys.stderr.flush()
    return 0
