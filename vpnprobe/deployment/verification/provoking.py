"""Traffic of our own while it is watched, so that a machine that is idle does not pass for one that leaks nothing.

Small packets go to addresses that nobody has (RFC 5737, RFC 3849), to one address of each route and rule that leads around the tunnel,
and to the system's resolvers: echo requests, UDP datagrams and TCP SYNs. The system's own resolver is asked for a name that does not
exist. A packet that this machine does not take (no route, refused) is not counted: IPv6 that is blocked shows that way.
"""

import asyncio
import errno
import os
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from vpnprobe.deployment.verification.leak_watch import Sent
from vpnprobe.transports.stack import Address
from vpnprobe.transports.system.routing import Flow
from vpnprobe.wire.icmp import EchoRequest
from vpnprobe.wire.ip import IpProtocol

EVERY_S: Final = 0.4
FIRST_ROUNDS: Final = 4
"""Resolvers are asked in each of these, and then as seldom."""
PORT: Final = 443
SO_MARK: Final = 36
ECHO_REQUEST6: Final = 128
ECHOES: Final = {4: int(IpProtocol.ICMP), 6: int(IpProtocol.ICMPV6)}
TRANSPORTS: Final = (int(IpProtocol.UDP), int(IpProtocol.TCP))
FAMILIES: Final = {4: socket.AF_INET, 6: socket.AF_INET6}
REFUSED: Final = frozenset((errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL, errno.EINVAL))


@dataclass(slots=True)
class Provoker:
    """Sends rounds until it is cancelled."""

    sent: Sent
    flows: Callable[[], Sequence[Flow]]
    """Where to, asked anew for each round."""
    resolvers: Sequence[Address]
    _rounds: int = 0

    async def run(self) -> None:
        """One round after the other."""
        while True:
            self.round()
            await asyncio.sleep(EVERY_S)

    def round(self) -> None:
        """One packet of each kind to each."""
        if self._rounds < FIRST_ROUNDS or self._rounds % FIRST_ROUNDS == 0:
            self._ask_system()
            for resolver in self.resolvers:
                self._udp(Flow(resolver, port=53), _query(self.sent.new_name()), "dns")
        self._rounds += 1
        for flow in self.flows():
            for protocol in (flow.protocol,) if flow.protocol is not None else (ECHOES[flow.destination.version], *TRANSPORTS):
                self._send(flow, protocol)

    def _send(self, flow: Flow, protocol: int) -> None:
        match protocol:
            case IpProtocol.UDP:
                self._udp(flow, b"vpnprobe", "udp")
            case IpProtocol.TCP:
                self._tcp(flow)
            case _:
                self._echo(flow)

    def _echo(self, flow: Flow) -> None:
        protocol = IpProtocol.ICMP if flow.destination.version == 4 else IpProtocol.ICMPV6
        identifier = int.from_bytes(os.urandom(2), "big") or 1
        self.sent.identifiers.add(identifier)
        message = EchoRequest(identifier, 1, b"vpnprobe").encode()
        if flow.destination.version == 6:
            message = struct.pack("!BBHHH", ECHO_REQUEST6, 0, 0, identifier, 1) + b"vpnprobe"
        with suppress(OSError), socket.socket(FAMILIES[flow.destination.version], socket.SOCK_RAW, protocol) as sock:
            _prepare(sock, flow)
            sock.sendto(message, (str(flow.destination), 0))
            self.sent.counts[_kind("icmp", flow)] += 1

    def _udp(self, flow: Flow, payload: bytes, kind: str) -> None:
        with suppress(OSError), socket.socket(FAMILIES[flow.destination.version], socket.SOCK_DGRAM) as sock:
            _prepare(sock, flow, source_port=flow.source_port or 0)
            self.sent.ports.add((int(IpProtocol.UDP), sock.getsockname()[1]))
            sock.sendto(payload, (str(flow.destination), flow.port or PORT))
            self.sent.counts[_kind(kind, flow)] += 1

    def _tcp(self, flow: Flow) -> None:
        """A SYN, and no second one."""
        with suppress(OSError), socket.socket(FAMILIES[flow.destination.version], socket.SOCK_STREAM) as sock:
            _prepare(sock, flow, source_port=flow.source_port or 0)
            self.sent.ports.add((int(IpProtocol.TCP), sock.getsockname()[1]))
            code = sock.connect_ex((str(flow.destination), flow.port or PORT))
            self.sent.counts[_kind("tcp", flow)] += code not in REFUSED

    def _ask_system(self) -> None:
        """In a thread of its own that nobody waits for: the resolver may take long."""
        self.sent.counts["names"] += 1
        threading.Thread(target=_resolve, args=(self.sent.new_name(),), daemon=True).start()


def _prepare(sock: socket.socket, flow: Flow, *, source_port: int | None = None) -> None:
    sock.setblocking(False)
    if flow.mark:
        sock.setsockopt(socket.SOL_SOCKET, SO_MARK, flow.mark)
    any_address = "0.0.0.0" if flow.destination.version == 4 else "::"
    if source_port is not None:
        sock.bind((str(flow.source or any_address), source_port))
    elif flow.source is not None:
        sock.bind((str(flow.source), 0))


def _kind(kind: str, flow: Flow) -> str:
    return f"{kind}6" if flow.destination.version == 6 else kind


def _resolve(name: str) -> None:
    with suppress(OSError):
        socket.getaddrinfo(name, None)


def _query(name: str) -> bytes:
    """A query for an address, RFC 1035 section 4.1."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return os.urandom(2) + struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)
