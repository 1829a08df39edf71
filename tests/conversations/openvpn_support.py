"""A pair of OpenVPN ends in memory: virtual time, loss, repetition and reordering, streams in any chunks; certificates, made once each."""

import heapq
import random
import ssl
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from vpnprobe.conversations.openvpn_ends import CIPHERS, Client, ClientOffer, Server
from vpnprobe.conversations.openvpn_session import Negotiation, SessionEnd, Stage, Wrapping
from vpnprobe.conversations.openvpn_tls import Identity, client_context, server_context
from vpnprobe.provisioning import certificates
from vpnprobe.provisioning.certificates import BasicConstraints, CertificateContent, Issuer, KeyAlgorithm, KeyPurpose, build_certificate
from vpnprobe.wire.ciphers import Cipher
from vpnprobe.wire.openvpn import (
    AckV1,
    ControlPacket,
    ControlV1,
    DataV1,
    DataV2,
    HardResetServerV2,
    Opcode,
    Reliable,
    decode_openvpn,
    frame,
)
from vpnprobe.wire.openvpn_keys import KeyDirection, ServerKeyV2, StaticKey
from vpnprobe.wire.openvpn_wrap import Wrap

UNIX_TIME: Final = 1_800_000_000.0
DELAY_S: Final = 0.01
"""One way."""
C_ID: Final = b"clientid"
S_ID: Final = b"serverid"
STATIC_KEY: Final = StaticKey(random.Random(1).randbytes(256))
OTHER_KEY: Final = StaticKey(random.Random(2).randbytes(256))
SERVER_KEY: Final = ServerKeyV2(random.Random(3).randbytes(128))
DATA_OPCODES: Final = (Opcode.DATA_V1, Opcode.DATA_V2)


# Certificates.


@cache
def key_of(name: str) -> ec.EllipticCurvePrivateKey:
    return certificates.make_key(KeyAlgorithm.EC_P256)


def certificate(
    name: str,
    *,
    issuer: str = "authority",
    purpose: str = "",
    days: tuple[int, int] = (-1, 365),
    authority: bool = False,
) -> str:
    """PEM of a certificate of this name, valid from and until so many days from now. `purpose`: server, client or none."""
    return _certificate(name, issuer, purpose, days, authority)


@cache
def _certificate(name: str, issuer: str, purpose: str, days: tuple[int, int], authority: bool) -> str:
    now = datetime.now(UTC)
    content = CertificateContent(
        subject=name,
        not_before=now + timedelta(days=days[0]),
        not_after=now + timedelta(days=days[1]),
        constraints=BasicConstraints(authority=authority),
        purposes=({"server": KeyPurpose.SERVER_AUTH, "client": KeyPurpose.CLIENT_AUTH}[purpose],) if purpose else (),
    )
    made = build_certificate(content, key_of(name), issuer=Issuer(issuer, key_of(issuer)))
    return certificates.certificate_pem(made).decode()


@cache
def rsa_certificate() -> tuple[str, str]:
    """PEM of a self-signed certificate with an RSA key of 2048 bits, and of the key."""
    key, start = certificates.make_key(KeyAlgorithm.RSA_2048), datetime.now(UTC) - timedelta(days=1)
    made = build_certificate(CertificateContent(subject="rsa", not_before=start, not_after=start + timedelta(days=2)), key)
    return certificates.certificate_pem(made).decode(), certificates.key_pem(key).decode()


def key_pem(name: str, passphrase: str = "") -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    return key_of(name).private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def authority(name: str = "authority") -> str:
    return certificate(name, issuer=name, authority=True)


def identity(name: str, *, issuer: str = "authority", purpose: str = "", days: tuple[int, int] = (-1, 365)) -> Identity:
    return Identity(certificate(name, issuer=issuer, purpose=purpose, days=days).encode(), key_pem(name))


def good_client_context() -> ssl.SSLContext:
    return client_context(ca_pem=authority(), identity=identity("client", purpose="client"))


def good_server_context() -> ssl.SSLContext:
    return server_context(identity("server", purpose="server"), clients_pem=authority())


# Wraps.


def wrappings(kind: str) -> tuple[Wrapping, Wrapping]:
    """The client's and the server's."""
    match kind:
        case "none":
            return Wrapping(), Wrapping()
        case "tls-auth":
            return Wrapping(Wrap.TLS_AUTH, STATIC_KEY), Wrapping(Wrap.TLS_AUTH, STATIC_KEY)
        case "tls-auth-sha256-directed":
            return (
                Wrapping(Wrap.TLS_AUTH, STATIC_KEY, KeyDirection.INVERSE, "SHA256"),
                Wrapping(Wrap.TLS_AUTH, STATIC_KEY, KeyDirection.NORMAL, "SHA256"),
            )
        case "tls-crypt":
            return Wrapping(Wrap.TLS_CRYPT, STATIC_KEY), Wrapping(Wrap.TLS_CRYPT, STATIC_KEY)
        case _:
            client_key = SERVER_KEY.wrap(STATIC_KEY, b"\x00user")
            return Wrapping(Wrap.TLS_CRYPT_V2, client_key=client_key), Wrapping(Wrap.TLS_CRYPT_V2, server_key=SERVER_KEY)


WRAPS: Final = ("none", "tls-auth", "tls-auth-sha256-directed", "tls-crypt", "tls-crypt-v2", "tls-crypt-v2-asked-again")


# Ends.


def make_client(
    *,
    stream: bool = False,
    wrapping: Wrapping | None = None,
    context: ssl.SSLContext | None = None,
    offer: ClientOffer | None = None,
    seed: int = 0,
) -> Client:
    return Client(
        session_id=C_ID,
        stream=stream,
        wrapping=wrapping or Wrapping(),
        context=context or good_client_context(),
        entropy=random.Random(f"client {seed}").randbytes,
        unix_time_at_zero=UNIX_TIME,
        offer=offer or ClientOffer(),
    )


def make_server(
    *,
    stream: bool = False,
    wrapping: Wrapping | None = None,
    context: ssl.SSLContext | None = None,
    ciphers: tuple[Cipher, ...] = CIPHERS,
    echoes: int = 12,
    ask_for_key_again: bool = False,
    seed: int = 0,
    kind: type[Server] = Server,
) -> Server:
    return kind(
        session_id=S_ID,
        stream=stream,
        wrapping=wrapping or Wrapping(),
        context=context or good_server_context(),
        entropy=random.Random(f"server {seed}").randbytes,
        unix_time_at_zero=UNIX_TIME,
        ciphers=ciphers,
        echoes=echoes,
        peer_id=7,
        ask_for_key_again=ask_for_key_again,
    )


def make_pair(
    *,
    stream: bool = False,
    wrap: str = "none",
    contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
    offer: ClientOffer | None = None,
    ciphers: tuple[Cipher, ...] = CIPHERS,
    seed: int = 0,
    server_kind: type[Server] = Server,
) -> "Pair":
    ours, theirs = wrappings(wrap)
    client_tls, server_tls = contexts or (None, None)
    client = make_client(stream=stream, wrapping=ours, context=client_tls, offer=offer, seed=seed)
    again = wrap.endswith("asked-again")
    server = make_server(
        stream=stream, wrapping=theirs, context=server_tls, ciphers=ciphers, ask_for_key_again=again, seed=seed, kind=server_kind
    )
    return Pair(client, server)


class SayingServer(Server):
    """A server that says what it is told to, where a real one says its key message or pushes."""

    keys: bytes | None = None
    """Instead of its key message; None: a good one."""
    says: bytes | None = None
    """Instead of the push reply, whether it was asked for or not; None: a good one."""

    def _keys_came(self, negotiation: Negotiation, now: float) -> None:
        if self.keys is None:
            super()._keys_came(negotiation, now)
        elif self.keys:
            assert negotiation.tls is not None
            negotiation.tls.write(self.keys)

    def _push(self, negotiation: Negotiation) -> None:
        assert negotiation.tls is not None
        if self.says is None:
            super()._push(negotiation)
        elif self.says:
            negotiation.tls.write(self.says)


def saying(*, keys: bytes | None = None, says: bytes | None = None, stream: bool = False, offer: ClientOffer | None = None) -> "Pair":
    """A pair whose server says this; run for as long as a client would wait."""
    pair = make_pair(stream=stream, offer=offer, server_kind=SayingServer)
    assert isinstance(pair.server, SayingServer)
    pair.server.keys, pair.server.says = keys, says
    return pair.complete()


def is_data(packet: bytes) -> bool:
    return bool(packet) and packet[0] >> 3 in DATA_OPCODES


@dataclass(slots=True)
class Path:
    """What a path does to datagrams."""

    loss: float = 0.0
    """0 to 1."""
    repeated: float = 0.0
    """0 to 1: share that comes twice."""
    jitter_s: float = 0.0
    """Longest additional delay; makes packets overtake each other."""
    spares_data: bool = True
    """Whether data packets are neither lost nor repeated, so that every echo must be answered."""
    chance: random.Random = field(default_factory=lambda: random.Random(0))

    def delays(self, packet: bytes) -> list[float]:
        """Of each copy that arrives."""
        spared = self.spares_data and is_data(packet)
        if not spared and self.chance.random() < self.loss:
            return []
        copies = 2 if not spared and self.chance.random() < self.repeated else 1
        return [DELAY_S + self.chance.random() * self.jitter_s for _ in range(copies)]


@dataclass(slots=True)
class Pair:
    """Two ends, and what is between them."""

    client: Client
    server: Server
    path: Path = field(default_factory=Path)
    chunks: Callable[[bytes], Iterable[bytes]] = lambda data: (data,)
    """How a stream is cut."""
    change: Callable[[SessionEnd, bytes], bytes | None] = lambda end, data: data
    """What happens to what `end` sent, on the way; None: it is lost."""
    now: float = 100.0
    sent: list[tuple[SessionEnd, bytes]] = field(default_factory=list)
    """Everything that either end sent, in order."""
    _flying: list[tuple[float, int, SessionEnd, bytes]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=count)

    def start(self) -> "Pair":
        self.server.start(self.now)
        self.client.start(self.now)
        return self

    def run(self, *, until: Callable[[], bool] | None = None, seconds: float = 120.0) -> "Pair":
        """Until nothing is left to happen, `until` holds, or so much virtual time has passed."""
        end = self.now + seconds
        self._collect()
        while (at := self._next()) is not None and at <= end and not (until is not None and until()):
            self.now = max(self.now, at)
            while self._flying and self._flying[0][0] <= self.now:
                _, _, target, data = heapq.heappop(self._flying)
                target.receive(data, self.now)
                self._collect()
            for side in (self.client, self.server):
                if (timer := side.next_timer()) is not None and timer <= self.now:
                    side.handle_timer(self.now)
            self._collect()
        return self

    def complete(self) -> "Pair":
        return self.start().run()

    def _next(self) -> float | None:
        times = [timer for side in (self.client, self.server) if (timer := side.next_timer()) is not None]
        return min([*times, *(flying[0] for flying in self._flying[:1])], default=None)

    def _collect(self) -> None:
        for side, other in ((self.client, self.server), (self.server, self.client)):
            for data in side.data_to_send(self.now):
                self.sent.append((side, data))
                changed = self.change(side, data)
                if changed is not None:
                    self._send(other, changed)

    def _send(self, target: SessionEnd, data: bytes) -> None:
        if target.stream:
            for chunk in self.chunks(data):
                heapq.heappush(self._flying, (self.now + DELAY_S, next(self._numbers), target, chunk))
            return
        for delay in self.path.delays(data):
            heapq.heappush(self._flying, (self.now + delay, next(self._numbers), target, data))


def completed(*, stream: bool = False, wrap: str = "none", offer: ClientOffer | None = None) -> Pair:
    """A pair whose tunnel is up and whose echoes are answered."""
    pair = make_pair(stream=stream, wrap=wrap, offer=offer).complete()
    assert pair.client.run.all_answered
    assert pair.server.run.all_answered
    return pair


def control(kind: type[ControlPacket], layer: Reliable, *, session_id: bytes = S_ID, key_id: int = 0, stream: bool = False) -> bytes:
    """A control packet that nothing wraps, as it comes in."""
    data = kind.plain(session_id, layer, key_id=key_id).encode()
    return frame(data) if stream else data


STAGES: Final = tuple(Stage)


def reached(stage: Stage, *, stream: bool = False) -> Pair:
    """A pair whose client is at this stage, and stays there; its server goes on as far as it can."""
    pair = make_pair(stream=stream, server_kind=SayingServer)
    assert isinstance(pair.server, SayingServer)
    if stage is Stage.TLS_UP:
        pair.server.keys = b""
    if stage is Stage.KEYS:
        pair.server.says = b""
    if stage is Stage.TLS_BEGUN:
        # The server's first flight does not fit into one packet any more.
        pair.server._room_and_kind = lambda negotiation: (100, ControlV1)  # type: ignore[method-assign]
    if stage is not Stage.IDLE:
        pair.change = _up_to(stage)
        pair.complete()
    pair.change = lambda end, data: data
    assert pair.client.stage is stage
    return pair


def _up_to(stage: Stage) -> Callable[[SessionEnd, bytes], bytes | None]:
    """What takes away what would lead further."""

    def change(end: SessionEnd, data: bytes) -> bytes | None:
        packet = decode_openvpn(data[2:] if end.stream else data)
        if isinstance(end, Client) or isinstance(packet, AckV1):
            return data
        if isinstance(packet, HardResetServerV2):
            return data if stage > Stage.RESET else None
        if isinstance(packet, DataV1 | DataV2):
            return data if stage is Stage.DATA else None
        first = isinstance(packet, ControlV1) and packet.reliable().packet_id == 1
        return data if stage > Stage.TLS_BEGUN or (stage is Stage.TLS_BEGUN and first) else None

    return change
