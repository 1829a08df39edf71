"""WireGuard as the wire shows it to somebody without keys: the messages of handshakes, by the index of the initiation."""

from collections.abc import Iterator

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.observing import MessageSeen
from vpnprobe.conversations.wireguard import key_of
from vpnprobe.errors import DecodeError
from vpnprobe.wire.wireguard import TransportData, decode_wireguard


class WireguardObserver:
    """One client port."""

    def saw(self, sender: Sender, data: bytes, *, gap: int = 0) -> Iterator[MessageSeen]:
        try:
            message = decode_wireguard(data)
        except DecodeError:
            return
        if not isinstance(message, TransportData):
            yield MessageSeen("handshake", key_of(message), message.NAME)

    def closed(self, sender: Sender) -> Iterator[MessageSeen]:
        """There is no stream."""
        yield from ()
