"""All protocols that have conversations, each told once: one written list.

The server agent's responders, the passive observer of other programs' ports, the followers of captures, drivers, tracing, decoys and the
hand-over of keys dispatch by it, and the judge asks its tables. None of them names a protocol.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple, Protocol

from vpnprobe.conversations import (
    ikev1,
    ikev2,
    l2tp,
    l2tp_ends,
    lcp,
    openvpn,
    openvpn_reset,
    openvpn_responder,
    openvpn_session_keys,
    pptp,
    pptp_ends,
    wireguard,
    wireguard_run_keys,
)
from vpnprobe.conversations.contract import Conversation, TransitionTable
from vpnprobe.conversations.observing import Observer
from vpnprobe.conversations.openvpn_observer import OpenvpnObserver
from vpnprobe.conversations.session_tag import WHOLE
from vpnprobe.conversations.wireguard_observer import WireguardObserver
from vpnprobe.observations.schema import Transport
from vpnprobe.wire.isakmp import NAT_T_PORT
from vpnprobe.wire.isakmp import PORT as IKE_PORT
from vpnprobe.wire.l2tp import PORT as L2TP_PORT
from vpnprobe.wire.pptp import PORT as PPTP_PORT
from vpnprobe.wire.wireguard import PORT as WIREGUARD_PORT
from vpnprobe.wire.wireguard import SIZES as WIREGUARD_SIZES
from vpnprobe.wire.wireguard import MessageType

Described = tuple[str, Mapping[str, int | str]]
UNREADABLE: Final = "unreadable"
"""The name of a message that could not be decoded."""


class Opening(NamedTuple):
    """What came first at a server's port: a datagram, or the beginning of a stream."""

    data: bytes
    transport: Transport
    port: int


class Host(NamedTuple):
    """What a responder gets from the host that it runs on."""

    entropy: Callable[[int], bytes]
    unix_time_at_zero: float
    """Unix time when the caller's clock shows 0."""
    keys: object | None = None
    """What this client handed over for the protocol; None: nothing."""
    number: int = 0
    """Conversations of this client so far."""


class ClientKeys(Protocol):
    """Keys of one run, made by the client."""

    def handed_over(self) -> dict[str, str]:
        """The server's half, as a part of a control message."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolSpec:
    """All that the program knows of one protocol's conversations."""

    name: str
    probe: str
    """The probe that asks its checks."""
    checks: tuple[str, ...]
    """Names of its checks, in the order in which one conversation comes to them."""
    transports: frozenset[Transport]
    ports: frozenset[int]
    """Server ports that it lives on; empty: any that no other protocol of the list has."""
    usual_ports: tuple[int, ...] = ()
    """Of one that lives on any port: where it is tried by itself, the preferred one first."""
    table: TransitionTable[Any]
    opening: Callable[[Opening], str]
    """The key of the conversation that a client's first packet begins; empty: it begins none."""
    respond: Callable[[Opening, Host], Conversation | None] | None = None
    """The end that answers it; None: nothing here does."""
    observer: Callable[[Transport, int], Observer] | None = None
    """Reads one client port's packets to and from a port that another program has; None: it is not observed."""
    describe: Callable[[object], Described]
    """A decoded message's name and the numbers in it that matter to a judgement."""
    placed: Callable[[object], tuple[str, str]] | None = None
    """Which of `checks` a message bears on, and what its key has behind the conversation's; None: always the first, and nothing."""
    variant: Callable[[Opening], str] = lambda _: ""
    """What tells the check apart, by a client's first packet (OpenVPN's wrap); empty: the plain one."""
    stream_needs: Callable[[bytes], int] = lambda _: 1
    """Bytes of a stream's beginning that it takes to recognise it."""
    length_bytes: int = 0
    """Of each packet's length, which stands before it in a stream."""
    identifier_bytes: int = WHOLE
    """Of what a client calls a conversation by, which carries its session's tag."""
    first_packet: Callable[[bytes, Callable[[int], bytes]], tuple[bytes, str]] | None = None
    """From an identifier and random bytes, a client's first packet and its name, for TTL-limited copies. None: it cannot be copied."""
    decoy_bytes: int | None = None
    """About the size of a client's first packet; None: that of the shortest payload of ours."""
    head_bytes: Callable[[bytes], int] = len
    """Bytes at the beginning of one of its packets that tell anything; what follows is ciphertext."""
    call_ids: Callable[[Conversation], tuple[int, int] | None] = lambda _: None
    """Call IDs of the call that a conversation has set up: this end's and the peer's. None: there is none, or none yet."""
    make_keys: Callable[[Callable[[int], bytes]], ClientKeys] | None = None
    """Makes the keys of one run at the client, from random bytes; None: it takes none."""
    accept_keys: Callable[[object], object] | None = None
    """The server's half out of a control message. Raises DecodeError and CannotRun."""

    def lives_on(self, transport: Transport, port: int) -> bool:
        return transport in self.transports and port in self.ports

    def described(self, message: object) -> Described:
        """`describe`; what could not be decoded is `unreadable`."""
        return (UNREADABLE, {"problem": str(message)}) if isinstance(message, Exception) else self.describe(message)

    def bears_on(self, message: object) -> tuple[str, str]:
        """The check that a message bears on, and what its key has behind the conversation's."""
        return (self.checks[0], "") if self.placed is None else self.placed(message)


UDP: Final = frozenset({Transport.UDP})
TCP: Final = frozenset({Transport.TCP})
OPENVPN_PORTS: Final = (1194, 443, 53, 80, 8443, 51194)
"""The registered one, those that firewalls tend to pass, and the seed's."""
IKE_PORTS: Final = frozenset({IKE_PORT, NAT_T_PORT})


def _marked(port: int) -> bool:
    """Whether ISAKMP stands behind the non-ESP marker there (RFC 3948 section 2.2)."""
    return port == NAT_T_PORT


def _number(host: Host, most: int = 65535) -> int:
    """1 to `most`."""
    return 1 + int.from_bytes(host.entropy(2), "big") % most


def _pptp_responder(_: Opening, host: Host) -> Conversation:
    return pptp_ends.Responder(_number(host, 0xFFFE))


def _pptp_calls(conversation: Conversation) -> tuple[int, int] | None:
    assert isinstance(conversation, pptp_ends.Responder)
    peer = conversation.peer_call_id if conversation.reached("control") else None
    return None if peer is None else (conversation.call_id, peer)


def _l2tp_responder(opening: Opening, host: Host) -> Conversation | None:
    if not l2tp.opening(opening.data):
        return None
    return l2tp_ends.Responder(tunnel_id=_number(host), session_id=_number(host), retransmit_after_s=1.0, entropy=host.entropy)


def _ikev1_responder(opening: Opening, host: Host) -> Conversation | None:
    marker = _marked(opening.port)
    known = ikev1.opening(opening.data, non_esp_marker=marker)
    return ikev1.Responder(entropy=host.entropy(ikev1.ENTROPY_BYTES), non_esp_marker=marker) if known else None


def _ikev2_responder(opening: Opening, host: Host) -> Conversation | None:
    marker = _marked(opening.port)
    known = ikev2.opening(opening.data, non_esp_marker=marker)
    return ikev2.Responder(entropy=host.entropy(ikev2.ENTROPY_BYTES), non_esp_marker=marker) if known else None


def _openvpn_packet(opening: Opening) -> bytes:
    """The client's first packet, without the length that it has in a stream."""
    return opening.data[openvpn.FRAME_LENGTH :] if opening.transport is Transport.TCP else opening.data


def _openvpn_opening(opening: Opening) -> str:
    packet = _openvpn_packet(opening)
    return openvpn_reset.session_of(packet) if openvpn_responder.wrap_of(packet) is not None else ""


def _openvpn_responder(opening: Opening, host: Host) -> Conversation | None:
    return openvpn_responder.respond(
        _openvpn_packet(opening),
        host.keys,
        stream=opening.transport is Transport.TCP,
        entropy=host.entropy,
        unix_time_at_zero=host.unix_time_at_zero,
        number=host.number,
    )


def _wireguard_responder(opening: Opening, host: Host) -> Conversation | None:
    return wireguard_run_keys.respond(opening.data, host.keys, entropy=host.entropy, unix_time_at_zero=host.unix_time_at_zero)


PROTOCOLS: Final[tuple[ProtocolSpec, ...]] = (
    ProtocolSpec(
        name="pptp",
        probe="pptp",
        checks=("control",),
        transports=TCP,
        ports=frozenset({PPTP_PORT}),
        table=pptp.TABLE,
        opening=lambda opening: pptp.opening(opening.data),
        respond=_pptp_responder,
        observer=lambda *_: pptp.PptpObserver(),
        describe=pptp.describe,
        call_ids=_pptp_calls,
    ),
    ProtocolSpec(
        name="lcp",
        probe="pptp",
        checks=("lcp",),
        transports=frozenset({Transport.GRE}),
        ports=frozenset(),
        table=lcp.TABLE,
        opening=lambda _: "",
        describe=lcp.describe,
    ),
    ProtocolSpec(
        name="ikev1",
        probe="ike",
        checks=("ikev1-main",),
        transports=UDP,
        ports=IKE_PORTS,
        table=ikev1.TABLE,
        opening=lambda opening: ikev1.opening(opening.data, non_esp_marker=_marked(opening.port)),
        respond=_ikev1_responder,
        observer=lambda _, port: ikev1.observer(non_esp_marker=_marked(port)),
        describe=ikev1.describe,
        decoy_bytes=300,
    ),
    ProtocolSpec(
        name="ikev2",
        probe="ike",
        checks=("ikev2-init",),
        transports=UDP,
        ports=IKE_PORTS,
        table=ikev2.TABLE,
        opening=lambda opening: ikev2.opening(opening.data, non_esp_marker=_marked(opening.port)),
        respond=_ikev2_responder,
        observer=lambda _, port: ikev2.observer(non_esp_marker=_marked(port)),
        describe=ikev2.describe,
        decoy_bytes=300,
    ),
    ProtocolSpec(
        name="l2tp",
        probe="l2tp",
        checks=("control", "data"),
        transports=UDP,
        ports=frozenset({L2TP_PORT}),
        table=l2tp.TABLE,
        opening=lambda opening: l2tp.opening(opening.data),
        respond=_l2tp_responder,
        observer=lambda *_: l2tp.L2tpObserver(),
        describe=l2tp.describe,
        placed=l2tp.placed,
        decoy_bytes=100,
    ),
    ProtocolSpec(
        name="openvpn",
        probe="openvpn",
        checks=("reset", "handshake", "data"),
        transports=UDP | TCP,
        ports=frozenset(),
        usual_ports=OPENVPN_PORTS,
        table=openvpn.TABLE,
        opening=_openvpn_opening,
        respond=_openvpn_responder,
        observer=lambda transport, _: OpenvpnObserver(stream=transport is Transport.TCP),
        describe=openvpn.describe,
        placed=openvpn.placed,
        variant=lambda opening: openvpn_responder.variant(_openvpn_packet(opening)),
        stream_needs=openvpn_reset.stream_needs,
        length_bytes=openvpn.FRAME_LENGTH,
        head_bytes=openvpn.head_bytes,
        first_packet=openvpn_reset.first_packet,
        make_keys=openvpn_session_keys.make_session_keys,
        accept_keys=openvpn_responder.accept,
    ),
    ProtocolSpec(
        name="wireguard",
        probe="wireguard",
        checks=("handshake", "data"),
        transports=UDP,
        ports=frozenset(),
        table=wireguard.TABLE,
        usual_ports=(WIREGUARD_PORT,),
        opening=lambda opening: wireguard.opening(opening.data),
        respond=_wireguard_responder,
        observer=lambda *_: WireguardObserver(),
        describe=wireguard.describe,
        placed=wireguard.placed,
        identifier_bytes=wireguard.INDEX_BYTES,
        first_packet=wireguard_run_keys.first_packet,
        decoy_bytes=WIREGUARD_SIZES[MessageType.HANDSHAKE_INITIATION],
        make_keys=wireguard_run_keys.make_run_keys,
        accept_keys=wireguard_run_keys.accept,
    ),
)
"""In the order in which a first packet is offered to them."""


@cache
@lru_cache(maxsize=1024)
def at_port(transport: Transport, port: int) -> tuple[ProtocolSpec, ...]:
    """The protocols that may be spoken at a server's port."""
    own = tuple(spec for spec in PROTOCOLS if spec.lives_on(transport, port))
    return own or tuple(spec for spec in PROTOCOLS if transport in spec.transports and not spec.ports and spec.respond is not None)


def protocol_named(name: str) -> ProtocolSpec:
    """The protocol of that name, which is in the list."""
    return next(spec for spec in PROTOCOLS if spec.name == name)


@lru_cache(maxsize=1024)
def protocol_of(probe: str, check: str) -> ProtocolSpec | None:
    """The protocol whose conversations a check is about; None: it is about no conversation."""
    return next((spec for spec in PROTOCOLS if spec.probe == probe and check in spec.checks), None)


@cache
def registered_ports(transport: Transport) -> tuple[int, ...]:
    """Ports that protocols of the list have for themselves, in the list's order."""
    return tuple(dict.fromkeys(port for spec in PROTOCOLS if transport in spec.transports for port in sorted(spec.ports)))


def usual_ports() -> tuple[int, ...]:
    """Ports on which protocols that live on any are tried by themselves, in the list's order."""
    return tuple(dict.fromkeys(port for spec in PROTOCOLS for port in spec.usual_ports))


def tried_on(spec: ProtocolSpec, port: int, named: Container[int] = ()) -> bool:
    """Whether a protocol that lives on any port is tried on a candidate: one of its usual ports, nobody's, or one that the user named."""
    return port in spec.usual_ports or port in named or port not in usual_ports()


def candidates_over(transport: Transport, ports: Iterable[int], named: Container[int] = ()) -> list[int]:
    """Those of the candidate ports that any protocol is tried on over that transport."""
    specs = [spec for spec in PROTOCOLS if transport in spec.transports and not spec.ports and spec.respond is not None]
    return [port for port in ports if any(tried_on(spec, port, named) for spec in specs)]


def decoy_bytes(port: int, named: Container[int] = ()) -> int | None:
    """About the size of the first packet of a protocol that is tried at that UDP port; None: the shortest payload's."""
    own = [spec for spec in at_port(Transport.UDP, port) if spec.ports or tried_on(spec, port, named)]
    return next((spec.decoy_bytes for spec in own if spec.decoy_bytes is not None), None)
