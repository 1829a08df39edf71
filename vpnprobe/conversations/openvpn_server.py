"""The server's end of a whole OpenVPN session, for one client: it pushes a tunnel address, and echo requests go both ways.

It needs no tunnel device: tunnel packets are made and read here. It asks for no credentials, since a client's certificate shows who it is.
"""

import ssl
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import ClassVar, Final

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.openvpn_echo import EchoingEnd
from vpnprobe.conversations.openvpn_failures import FailureCode
from vpnprobe.conversations.openvpn_negotiation import CIPHERS, CLIENT_TUNNEL, SERVER_TUNNEL, Negotiation, Stage, Wrapping
from vpnprobe.conversations.openvpn_sending import RETRANSMIT_AFTER_S
from vpnprobe.errors import DecodeError
from vpnprobe.wire.ciphers import Cipher
from vpnprobe.wire.cursor import Cursor
from vpnprobe.wire.openvpn import ControlPacket, ControlWkcV1, HardResetClientV3, HardResetServerV2, Opcode, Reliable
from vpnprobe.wire.openvpn_data import DataChannel
from vpnprobe.wire.openvpn_keying import IvProto, KeyMethod2, data_keys, options_string, read_peer_info
from vpnprobe.wire.openvpn_messages import AuthFailed, PushReply, PushRequest, decode_message
from vpnprobe.wire.openvpn_wrap import EARLY_NEGOTIATION, RESEND_WRAPPED_KEY, TlsCryptWrapper, Wrap, split_wrapped_key

TUNNEL_NETMASK: Final = IPv4Address("255.255.255.0")
PING_S: Final = 10
PING_RESTART_S: Final = 60


class Server(EchoingEnd):
    """The server's end, for one client session; it pushes a tunnel address, answers echo requests in it and sends its own."""

    SENDER: ClassVar[Sender] = Sender.RESPONDER
    OPENINGS: ClassVar[frozenset[Opcode]] = frozenset(
        {Opcode.HARD_RESET_CLIENT_V1, Opcode.HARD_RESET_CLIENT_V2, Opcode.HARD_RESET_CLIENT_V3}
    )

    def __init__(
        self,
        *,
        session_id: bytes,
        stream: bool,
        wrapping: Wrapping,
        context: ssl.SSLContext,
        entropy: Callable[[int], bytes],
        unix_time_at_zero: float,
        ciphers: tuple[Cipher, ...] = CIPHERS,
        echoes: int = 12,
        peer_id: int = 0,
        retransmit_after_s: float = RETRANSMIT_AFTER_S,
        ask_for_key_again: bool = False,
    ) -> None:
        """`ask_for_key_again`: with tls-crypt-v2, the client's wrapped key is wanted once more with the TLS stream, as an OpenVPN 2.6 does
        that keeps nothing before it has seen whether the client's address is its own."""
        super().__init__(
            session_id=session_id,
            stream=stream,
            wrapping=wrapping,
            context=context,
            entropy=entropy,
            unix_time_at_zero=unix_time_at_zero,
            retransmit_after_s=retransmit_after_s,
        )
        self.peer_id = peer_id
        self.cipher: Cipher | None = None
        self.client_info: Mapping[str, str] = {}
        """What the client told of itself (IV_*)."""
        self.begin_echoes(self.echo_run(echoes))
        self._ciphers = ciphers
        self._pushed = False
        self._ask_for_key_again = ask_for_key_again
        self._lacks_key = False
        """Whether the client's key was asked for again and has not come yet."""
        self._wrapped_key = b""

    def tunnel_ends(self) -> tuple[IPv4Address, IPv4Address] | None:
        return SERVER_TUNNEL, CLIENT_TUNNEL

    def _reset_came(self, packet: ControlPacket, data: bytes, now: float) -> None:
        try:
            layer = self._opening_layer(packet, data)
        except DecodeError as error:
            self._unread(error, now)
            return
        begins = self.remote_session_id is None and not layer.acks
        if layer.packet_id != 0 or not (begins or packet.session_id == self.remote_session_id):
            self._unread(DecodeError("session ID", 1, "is another session's, or the packet is no first one"), now)
            return
        self._saw(self.SENDER.other, packet, layer, now, len(data))
        if begins:
            self._answer(packet)
        first = self._negotiations.get(0)
        if first is not None:
            first.reliability.take(layer)

    def _answer(self, packet: ControlPacket) -> None:
        can_send_again = isinstance(packet, HardResetClientV3) and (self.wrapper.peer_packet_id or 0) >= EARLY_NEGOTIATION
        self._lacks_key = self._ask_for_key_again and can_send_again
        self.remote_session_id = packet.session_id
        self._reach(Stage.ANSWERED)
        payload = RESEND_WRAPPED_KEY if self._lacks_key else b""
        self._begin_negotiation(0).reliability.queue(HardResetServerV2, payload)

    def _opening_layer(self, packet: ControlPacket, data: bytes) -> Reliable:
        """Raises DecodeError where the reset is not wrapped as this server wants it."""
        wants_v2 = self.wrapping.kind is Wrap.TLS_CRYPT_V2
        if isinstance(packet, HardResetServerV2) or isinstance(packet, HardResetClientV3) != wants_v2:
            raise DecodeError("opcode", 0, f"{packet.name} is not what a client begins with here")
        if wants_v2:
            bare = self._without_wrapped_key(packet, data)  # First: it finds the wrapper.
            return Reliable.read(Cursor(self.wrapper.unwrap(bare)), has_packet_id=True)
        return self._layer(packet, data)

    def _without_wrapped_key(self, packet: ControlPacket, data: bytes) -> bytes:
        if not isinstance(packet, HardResetClientV3 | ControlWkcV1) or self.wrapping.server_key is None:
            if self._lacks_key:
                raise DecodeError("opcode", 0, f"{packet.name} comes without the wrapped key that was asked for")
            return data
        bare, wrapped = split_wrapped_key(data)
        if self.remote_session_id is None:
            client_key, _ = self.wrapping.server_key.unwrap(wrapped)
            self.wrapper = TlsCryptWrapper(client_key, server=True)
            self._wrapped_key = wrapped
        elif wrapped != self._wrapped_key:
            raise DecodeError("WKc", len(bare), "is not the key that the client's reset brought")
        elif isinstance(packet, ControlWkcV1):
            self._lacks_key = False
        return bare

    def _tls_up(self, negotiation: Negotiation) -> None:
        """The client's key message comes first."""

    def _keys_came(self, negotiation: Negotiation, now: float) -> None:
        assert negotiation.peer is not None
        assert negotiation.tls is not None
        assert self.remote_session_id is not None
        self.client_info = read_peer_info(negotiation.peer.peer_info)
        offered = self.client_info.get("IV_CIPHERS", "").split(":")
        self.cipher = next((cipher for cipher in self._ciphers if cipher in offered), None)
        options = options_string(
            transport="TCPv4_SERVER" if self.stream else "UDPv4", cipher=self.cipher or self._ciphers[0], auth="SHA1", server=True
        )
        negotiation.tls.write(KeyMethod2(negotiation.own, options).encode())
        if self.cipher is None:
            negotiation.tls.write(AuthFailed("Data channel cipher negotiation failed (no shared cipher)").encode())
            self._fail(FailureCode.NO_COMMON_DATA_CIPHER)
            return
        keys = data_keys(
            negotiation.peer.source, negotiation.own, client_session_id=self.remote_session_id, server_session_id=self.session_id
        )
        negotiation.channel = DataChannel(self.cipher, keys, server=True, key_id=negotiation.key_id, peer_id=self.peer_id)
        self._reach(Stage.KEYS)
        told = self.client_info.get("IV_PROTO", "")
        if told.isdecimal() and int(told[:9]) & IvProto.REQUEST_PUSH and not self._pushed:
            self._push(negotiation)

    def _push(self, negotiation: Negotiation) -> None:
        assert negotiation.tls is not None
        options = (
            f"route-gateway {SERVER_TUNNEL}",
            "topology subnet",
            f"ping {PING_S}",
            f"ping-restart {PING_RESTART_S}",
            f"ifconfig {CLIENT_TUNNEL} {TUNNEL_NETMASK}",
            f"peer-id {self.peer_id}",
            f"cipher {self.cipher}",
        )
        negotiation.tls.write(PushReply(options).encode())
        self._reach(Stage.CONFIGURED)
        self._pushed = True

    def _all_acknowledged(self, negotiation: Negotiation, now: float) -> None:
        negotiation.in_use = True
        if self._pushed and self.run.due is None and not self.run.requests:
            self.run.begin(now)

    def _message_came(self, text: str, now: float) -> None:
        newest = self._newest
        wanted = isinstance(decode_message(text), PushRequest) and not self._pushed
        if wanted and newest is not None and newest.channel is not None:
            self._push(newest)
