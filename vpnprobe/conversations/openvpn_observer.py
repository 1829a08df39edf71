"""OpenVPN as the wire shows it to somebody without keys: control packets by the client's session ID, where it stands in clear."""

from collections.abc import Iterator

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.observing import MessageSeen
from vpnprobe.conversations.openvpn import OpenvpnTracker, StreamClosed
from vpnprobe.errors import DecodeError
from vpnprobe.wire.openvpn import ControlPacket, HardResetClientV2, Packet, decode_openvpn


class OpenvpnObserver:
    """One client port. Over a stream the packets are cut by the tracker."""

    def __init__(self, *, stream: bool = False) -> None:
        self._stream = OpenvpnTracker(kept_steps=0) if stream else None
        self._key = ""

    def saw(self, sender: Sender, data: bytes, *, gap: int = 0) -> Iterator[MessageSeen]:
        packets = [data] if self._stream is None else list(self._stream.frames(sender, data, now=0.0, gap=gap))
        for packet in packets:
            yield from self._message(sender, packet)

    def closed(self, sender: Sender) -> Iterator[MessageSeen]:
        """A server that closes without a byte after the client's reset has refused it."""
        if sender is Sender.RESPONDER and self._key:
            yield MessageSeen("reset", self._key, StreamClosed.name)

    def _message(self, sender: Sender, data: bytes) -> Iterator[MessageSeen]:
        packet = _read(data)
        if not isinstance(packet, ControlPacket):
            return
        session_id = packet.session_id if sender is Sender.INITIATOR else packet.remote_session_id()
        if session_id is None:
            return
        if isinstance(packet, HardResetClientV2):
            self._key = session_id.hex()
        yield MessageSeen("reset", session_id.hex(), packet.name)


def _read(data: bytes) -> Packet | None:
    try:
        return decode_openvpn(data)
    except DecodeError:
        return None
