"""Both ends of a WireGuard tunnel, for those that run one: what they share is in `wireguard_session`."""

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import ClassVar, Final

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.tunnel_echo import EchoRun
from vpnprobe.conversations.wireguard_session import DATA_SIZES, REKEY_TIMEOUT_S, WireguardEnd
from vpnprobe.wire.wireguard_noise import Identity

INITIATOR_TUNNEL: Final = IPv4Address("10.255.239.2")
RESPONDER_TUNNEL: Final = IPv4Address("10.255.239.1")
"""Tunnel addresses where both ends are ours: they are on no interface."""


class Initiator(WireguardEnd):
    """The end that begins."""

    SENDER: ClassVar[Sender] = Sender.INITIATOR

    def __init__(
        self,
        identity: Identity,
        *,
        index: bytes,
        entropy: Callable[[int], bytes],
        unix_time_at_zero: float,
        tunnel: tuple[IPv4Address, IPv4Address] = (INITIATOR_TUNNEL, RESPONDER_TUNNEL),
        echoes: int = 12,
        retransmit_after_s: float = REKEY_TIMEOUT_S,
    ) -> None:
        """`index`: the 4 bytes that this end calls its session by, whose tag tells the server agent whose it is."""
        super().__init__(
            identity,
            entropy=entropy,
            unix_time_at_zero=unix_time_at_zero,
            tunnel=tunnel,
            run=EchoRun(int.from_bytes(index[:2], "big"), echoes, DATA_SIZES),
            retransmit_after_s=retransmit_after_s,
        )
        self._first_index = int.from_bytes(index, "big")

    def start(self, now: float) -> None:
        self._begin(now, self._first_index)


class Responder(WireguardEnd):
    """The end that waits for an initiation."""

    SENDER: ClassVar[Sender] = Sender.RESPONDER

    def __init__(
        self,
        identity: Identity,
        *,
        entropy: Callable[[int], bytes],
        unix_time_at_zero: float,
        tunnel: tuple[IPv4Address, IPv4Address] = (RESPONDER_TUNNEL, INITIATOR_TUNNEL),
        echoes: int = 12,
    ) -> None:
        run = EchoRun(int.from_bytes(entropy(2), "big"), echoes, DATA_SIZES)
        super().__init__(identity, entropy=entropy, unix_time_at_zero=unix_time_at_zero, tunnel=tunnel, run=run)
