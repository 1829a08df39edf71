"""The client's end of a whole OpenVPN session: reset, TLS, keys, push, and echo requests through the tunnel.

It needs no tunnel device: tunnel packets are made and read here. It offers AEAD ciphers only, and no TLS-EKM, for which the standard
library has no exporter; a server of 2.x then derives keys by OpenVPN's own PRF.
"""

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import ClassVar, Final, assert_never

from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.openvpn import KeysAgreed
from vpnprobe.conversations.openvpn_failures import Failure, FailureCode
from vpnprobe.conversations.openvpn_negotiation import CIPHERS, CLIENT_TUNNEL, Negotiation, Stage, Wrapping
from vpnprobe.conversations.openvpn_sending import CONTROL_PAYLOAD, RETRANSMIT_AFTER_S
from vpnprobe.conversations.openvpn_tls import TlsEnd
from vpnprobe.conversations.openvpn_tunnel import TunnelSettings, ipv4_of, tunnel_gateway
from vpnprobe.conversations.openvpn_tunnel_client import TunnelClient
from vpnprobe.errors import DecodeError
from vpnprobe.wire.ciphers import Cipher
from vpnprobe.wire.openvpn import (
    ControlPacket,
    ControlV1,
    ControlWkcV1,
    HardResetClientV2,
    HardResetClientV3,
    HardResetServerV2,
    Opcode,
    Reliable,
)
from vpnprobe.wire.openvpn_data import EXIT_NOTIFY, Compression, DataChannel
from vpnprobe.wire.openvpn_keying import IvProto, KeyMethod2, data_keys, options_string, peer_info, read_options
from vpnprobe.wire.openvpn_messages import (
    PUSH_REQUEST,
    AuthFailed,
    AuthPending,
    Exit,
    Halt,
    Info,
    Other,
    PushReply,
    PushRequest,
    Restart,
    decode_message,
)
from vpnprobe.wire.openvpn_wrap import FLAG_RESEND_WRAPPED_KEY, Wrap, early_flags, with_wrapped_key

LARGE_CONTROL: Final = 1000
"""Bytes of a control packet that is nearly as large as they come (`max-packet-size` is 1250): where one passes, size is not the matter."""
PUSH_AGAIN_S: Final = 1.0
"""Between two push requests."""
MOST_PUSH_REQUESTS: Final = 10
MOST_PUSHED_CHARACTERS: Final = 1 << 18
MOST_OPTIONS: Final = 4096
"""Pushed options that are kept."""
MORE_TO_COME: Final = 2
"""The value of push-continuation in every message of several but the last."""
VERSION: Final = "2.6.14"
"""The release of OpenVPN whose protocol this end speaks: servers read it as `IV_VER`."""


@dataclass(frozen=True, slots=True)
class ClientOffer:
    """What a client brings besides its keys."""

    ciphers: tuple[Cipher, ...] = CIPHERS
    auth: str = "SHA1"
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    tunnel: TunnelSettings = field(default_factory=TunnelSettings)
    asks_options: bool = False
    """Whether the server is asked for its options where nobody answers echo requests."""
    other_ciphers: tuple[str, ...] = ()
    """Names of data ciphers that the profile has and this end cannot do: a server that takes one shows what a real client would use."""
    may_sign_in: bool = False
    """Whether the profile has a user name and password; without, a refusal is about something else."""
    program: str = "vpnprobe"
    """Told as `IV_GUI_VER`, where front ends name themselves."""
    echoes: int = 12
    """Echo requests that it sends through the tunnel."""
    check_certificate: Callable[[bytes], Failure | None] = lambda _: None
    """What is wrong with the server's certificate (DER) beyond its chain; None: nothing."""
    check_tls: Callable[[TlsEnd], Failure | None] = lambda _: None
    """Why what TLS has agreed on leaves open what the profile's own client would have; None: it does not."""


class Client(TunnelClient):
    """The client's end."""

    SENDER: ClassVar[Sender] = Sender.INITIATOR
    OPENINGS: ClassVar[frozenset[Opcode]] = frozenset({Opcode.HARD_RESET_SERVER_V1, Opcode.HARD_RESET_SERVER_V2})

    def __init__(
        self,
        *,
        session_id: bytes,
        stream: bool,
        wrapping: Wrapping,
        context: ssl.SSLContext,
        entropy: Callable[[int], bytes],
        unix_time_at_zero: float,
        offer: ClientOffer,
        retransmit_after_s: float = RETRANSMIT_AFTER_S,
    ) -> None:
        super().__init__(
            session_id=session_id,
            stream=stream,
            wrapping=wrapping,
            context=context,
            entropy=entropy,
            unix_time_at_zero=unix_time_at_zero,
            retransmit_after_s=retransmit_after_s,
        )
        self.offer = offer
        self.push: PushReply | None = None
        self.server_options: Mapping[str, str] = {}
        """The options string of the server's key method 2 message."""
        self.cipher: Cipher | None = None
        self.use_tunnel(offer.tunnel)
        self.asks_options = offer.asks_options
        self.begin_echoes(self.echo_run(offer.echoes))
        self._pushed: tuple[str, ...] = ()
        self._resend_wrapped_key = False
        self._packets_of_tls = 0
        self._push_due: float | None = None
        self._push_requests = 0

    @property
    def gateway(self) -> IPv4Address | None:
        """Whom the echo requests go to: the server's own address in the tunnel; None: it told none."""
        return tunnel_gateway(self.push) if self.push is not None else None

    @property
    def certificate_acknowledged(self) -> bool:
        """Whether the server acknowledged all of our side of the TLS handshake: what refuses our certificate does not."""
        first = self._negotiations.get(0)
        return first is not None and first.started and first.reliability.acknowledged_up_to(self._packets_of_tls)

    @property
    def tls_version(self) -> str:
        """TLSv1.2, TLSv1.3; empty while unknown."""
        newest = self._newest
        return newest.tls.version if newest is not None and newest.tls is not None else ""

    @property
    def server_certificate(self) -> bytes | None:
        """DER; None: no TLS handshake was completed."""
        newest = self._newest
        return newest.tls.peer_certificate if newest is not None and newest.tls is not None else None

    @property
    def hello_acknowledged(self) -> bool:
        """Whether the server acknowledged the first of our TLS handshake."""
        first = self._negotiations.get(0)
        return first is not None and first.reliability.largest_acknowledged > 0

    def large_lost(self) -> str | None:
        """What shows that large packets of the handshake are lost and small ones are not, with the sizes; None: nothing does."""
        first = self._negotiations.get(0)
        if first is None or self.stream or self.stage >= Stage.KEYS:
            return None
        largest, waiting = first.reliability.largest_acknowledged, first.reliability.unacknowledged
        if first.reliability.has_gap and self.largest_control_received < LARGE_CONTROL:
            return f"of the server's packets those of up to {self.largest_control_received} bytes come, and larger ones before them do not"
        if largest and waiting and min(waiting) > max(largest, LARGE_CONTROL // 2):
            return f"of our packets those with up to {largest} bytes of TLS are acknowledged, and none with {min(waiting)} bytes and more"
        return None

    def start(self, now: float) -> None:
        kind = HardResetClientV3 if self.wrapping.kind is Wrap.TLS_CRYPT_V2 else HardResetClientV2
        self._begin_negotiation(0).reliability.queue(kind)
        self._reach(Stage.RESET)
        self._flush(now)

    def goodbye(self, now: float) -> None:
        """Tells the server that this client is gone, so that it keeps nothing (`explicit-exit-notify`).

        Where nothing shows that it understands our data, what it may understand follows: other framings, and the control channel, after
        which a server from 2.6 on keeps the session for 5 s and older ones do nothing.
        """
        self.send_payload(EXIT_NOTIFY, now)
        if not any(request.answered_at is not None for request in self.run.requests.values()):
            self.in_other_framings(EXIT_NOTIFY, now)
            if self.stage >= Stage.KEYS:  # Before them words inside TLS are taken for keys.
                self._tell(Exit().encode(), last=True)
                self._flush(now)

    def _own_timers(self) -> Sequence[float | None]:
        return (self._push_due if self.failure is None else None, *super()._own_timers())

    def _on_timer(self, now: float) -> None:
        if self._push_due is not None and now >= self._push_due and self.failure is None:
            self._ask_for_push(now)
        super()._on_timer(now)

    def tunnel_ends(self) -> tuple[IPv4Address, IPv4Address] | None:
        if self.push is None or self.gateway is None:
            return None
        return ipv4_of(self.push.address) or CLIENT_TUNNEL, self.gateway

    # The opening.

    def _reset_came(self, packet: ControlPacket, data: bytes, now: float) -> None:
        if not isinstance(packet, HardResetServerV2):
            self._unread(DecodeError("opcode", 0, f"{packet.name} comes from a client"), now)
            return
        try:
            layer = self._layer(packet, data)
            flags = early_flags(layer.payload)
        except DecodeError as error:
            self._unread(error, now)
            return
        # A reset that is sent again need not acknowledge ours again: then an acknowledgment before it ties its session to ours.
        ours = layer.acks or packet.session_id == self._acknowledged_by
        if not ours or self.remote_session_id not in (None, packet.session_id):
            self._unread(DecodeError("remote session ID", 0, "is not our session"), now)
            return
        first = self._negotiations.get(0)
        if first is None:
            self._unread(DecodeError("opcode", 0, f"{packet.name} comes before our reset, or long after it"), now)
            return
        self._acknowledged_by = packet.session_id
        self._saw(self.SENDER.other, packet, layer, now, len(data))
        first.reliability.take(Reliable(layer.acks, layer.remote_session_id, layer.packet_id))
        if self.remote_session_id is None:
            self.remote_session_id = packet.session_id
            self._resend_wrapped_key = bool(flags & FLAG_RESEND_WRAPPED_KEY)
            self._reach(Stage.ANSWERED)
            self._feed(first, b"", now)

    def _room_and_kind(self, negotiation: Negotiation) -> tuple[int, type[ControlPacket]]:
        client_key = self.wrapping.client_key
        if not self._resend_wrapped_key or client_key is None:
            return CONTROL_PAYLOAD, ControlV1
        self._resend_wrapped_key = False
        return max(1, CONTROL_PAYLOAD - len(client_key.wrapped)), ControlWkcV1

    def _with_wrapped_key(self, packet: ControlPacket, data: bytes) -> bytes:
        client_key = self.wrapping.client_key
        if isinstance(packet, HardResetClientV3 | ControlWkcV1) and client_key is not None:
            return with_wrapped_key(data, client_key.wrapped)
        return data

    # Keys and push.

    def _tls_up(self, negotiation: Negotiation) -> None:
        assert negotiation.tls is not None
        wrong = self.offer.check_certificate(negotiation.tls.peer_certificate or b"")
        wrong = wrong or self.offer.check_tls(negotiation.tls)
        if wrong is not None:
            self._fail(wrong.code, wrong.detail)
            return
        # In packets of their own: whether the server takes our certificate shows by what of it is acknowledged.
        self._pack_tls(negotiation)
        self._packets_of_tls = negotiation.reliability.queued
        negotiation.tls.write(self._key_message(negotiation).encode())

    def _key_message(self, negotiation: Negotiation) -> KeyMethod2:
        carrier = "TCPv4_CLIENT" if self.stream else "UDPv4"
        options = options_string(
            transport=carrier,
            cipher=(*self.offer.ciphers, *CIPHERS)[0],
            auth=self.offer.auth,
            server=False,
            tun_mtu=self.tunnel.tun_mtu,
            device=self.tunnel.device,
            comp_lzo=self.tunnel.compression is not Compression.NONE,
            fragment=self.tunnel.fragment is not None,
        )
        # Not CC_EXIT_NOTIFY: with it a server of 2.6 keeps a session for 5 s after the goodbye, and the next of the identity displaces it.
        protocol = IvProto.DATA_V2 | IvProto.REQUEST_PUSH | IvProto.AUTH_PENDING_KW | IvProto.AUTH_FAIL_TEMP
        told = peer_info(
            {
                "IV_VER": VERSION,
                "IV_PLAT": "linux",
                "IV_TCPNL": "1",
                "IV_MTU": "1600",
                "IV_NCP": "2",
                "IV_CIPHERS": ":".join((*self.offer.ciphers, *self.offer.other_ciphers)),
                "IV_PROTO": str(int(protocol)),
                "IV_LZO_STUB": "1",
                "IV_COMP_STUB": "1",
                "IV_COMP_STUBv2": "1",
                "IV_GUI_VER": self.offer.program,
            }
        )
        return KeyMethod2(negotiation.own, options, self.offer.username, self.offer.password, told)

    def _keys_came(self, negotiation: Negotiation, now: float) -> None:
        assert negotiation.peer is not None
        self.server_options = read_options(negotiation.peer.options)
        self.tracker.saw(self.SENDER.other, KeysAgreed(), now=now)
        self._reach(Stage.KEYS)
        if self.push is None:
            self._ask_for_push(now)
        else:
            self._open_channel(negotiation, self.push)

    def _ask_for_push(self, now: float) -> None:
        self._push_requests += 1
        self._push_due = now + PUSH_AGAIN_S if self._push_requests < MOST_PUSH_REQUESTS else None
        self._tell(PUSH_REQUEST)

    def _tell(self, message: bytes, *, last: bool = False) -> None:
        """A control message, with its NUL, over the newest negotiation whose TLS is up."""
        up = [negotiation for negotiation in self._negotiations.values() if negotiation.started]
        if up:
            self._say(up[-1], message, last=last)

    def _all_acknowledged(self, negotiation: Negotiation, now: float) -> None:
        """The server has had our keys for as long as we have had its own."""

    def _message_came(self, text: str, now: float) -> None:
        message = decode_message(text)
        match message:
            case PushReply():
                self._pushed_options(message, now)
            case AuthFailed():
                refusal = _of_refusal(message, self.offer)
                self._fail(refusal.code, refusal.detail)
            case AuthPending():
                self._fail(FailureCode.CHALLENGE_WANTED, message.text)
            case Restart():
                self._fail(FailureCode.RESTART_ASKED, message.text)
            case Halt():
                self._fail(FailureCode.HALTED, message.text)
            case Exit():
                self._fail(FailureCode.CLOSED_BY_PEER, "the server says that it exits")
            case Info() | Other() | PushRequest():
                pass
            case _:
                assert_never(message)

    def _pushed_options(self, message: PushReply, now: float) -> None:
        """Options may come in several messages; once they are whole, no more are taken."""
        if self.push is not None:
            return
        room = MOST_PUSHED_CHARACTERS - sum(len(option) for option in self._pushed)
        self._pushed = (self._pushed + tuple(option for option in message.options if len(option) <= room))[:MOST_OPTIONS]
        if message.continuation != MORE_TO_COME:
            self._configured(PushReply(self._pushed), now)

    def _configured(self, push: PushReply, now: float) -> None:
        self.push = push
        self._push_due = None
        self.peer_id = push.peer_id
        refused = self.tunnel.refuses(push)
        if refused is not None:
            self._fail(FailureCode.PUSH_REFUSED, refused)
            return
        self.use_tunnel(self.tunnel.after(push))
        self._reach(Stage.CONFIGURED)
        for negotiation in self._negotiations.values():
            self._open_channel(negotiation, push)
        if self.channel is not None:
            self.begin_data(now)

    def _open_channel(self, negotiation: Negotiation, push: PushReply) -> None:
        """Makes the data keys, under which the server can read at once: it had our key message before it sent its own."""
        assert negotiation.peer is not None
        assert self.remote_session_id is not None
        chosen = push.cipher or self.server_options.get("cipher", "")
        self.cipher = next((cipher for cipher in Cipher if cipher == chosen.upper()), None)
        if self.cipher is None and chosen in (*self.offer.other_ciphers, *map(str.upper, self.offer.other_ciphers)):
            self._fail(FailureCode.NOT_SUPPORTED, f"the data cipher is {chosen}, which both ends have")
            return
        if self.cipher is None or self.cipher not in self.offer.ciphers:
            offered = ", ".join(self.offer.ciphers)
            self._fail(FailureCode.NO_COMMON_DATA_CIPHER, f"the server wants {chosen or 'none that it names'}, offered were {offered}")
            return
        keys = data_keys(
            negotiation.own,
            negotiation.peer.source,
            client_session_id=self.session_id,
            server_session_id=self.remote_session_id,
        )
        negotiation.channel = DataChannel(self.cipher, keys, server=False, key_id=negotiation.key_id, peer_id=self.peer_id)
        negotiation.in_use = True


def _of_refusal(message: AuthFailed, offer: ClientOffer) -> Failure:
    """What an AUTH_FAILED means: TEMP puts the login off; 2.6 tells by it that no cipher is common; CRV1 asks for a second factor."""
    reason = message.reason
    if message.is_temporary:
        later = f"to be tried again after {message.backoff_s} s" if message.backoff_s is not None else ""
        return Failure(FailureCode.LOGIN_PUT_OFF, "; ".join(filter(None, (message.words, later))))
    if "cipher" in reason.lower():
        return Failure(FailureCode.NO_COMMON_DATA_CIPHER, reason)
    if reason.startswith("CRV1:"):
        return Failure(FailureCode.CHALLENGE_WANTED, reason)
    if offer.username:
        return Failure(FailureCode.CREDENTIALS_REFUSED, reason)
    return Failure(FailureCode.CREDENTIALS_WANTED if offer.may_sign_in else FailureCode.SESSION_REFUSED, reason)
