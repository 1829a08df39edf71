"""What both ends of a paired run need to speak WireGuard: keys made by the client for this one run.

The server's half goes over the control channel, which has proven both ends to each other. A client that handed over none is met with
silence, as a real peer meets whom it does not know.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from vpnprobe.conversations.wireguard import opening
from vpnprobe.conversations.wireguard_ends import Responder
from vpnprobe.errors import CannotRun, DecodeError, ExitStatus
from vpnprobe.wire.wireguard import HandshakeInitiation
from vpnprobe.wire.wireguard_noise import KEY, NO_MAC, Identity, key_of_text, key_text, lacking, public_key, read_initiation

ECHOES: Final = 6
"""Echo requests that the server's end sends through each tunnel."""
MOST_SEEN: Final = 4096
"""Of those that are kept: more than a client has conversations."""
PARTS: Final = ("private", "client", "preshared")


@dataclass(frozen=True, slots=True)
class RunKeys:
    """Both halves."""

    identity: Identity
    """The client's."""
    server_private: bytes = field(repr=False)

    def handed_over(self) -> dict[str, str]:
        """The server's half, as a part of a control message."""
        parts = (self.server_private, self.identity.public, self.identity.preshared)
        return {name: key_text(part) for name, part in zip(PARTS, parts, strict=True)}


def make_run_keys(entropy: Callable[[int], bytes]) -> RunKeys:
    """Fresh, for one run. Raises CannotRun (status MISSING) where the cryptography cannot be had."""
    _require_cryptography()
    client, server = entropy(KEY), entropy(KEY)
    return RunKeys(Identity(client, public_key(server), entropy(KEY)), server)


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """What lets one client's tunnels come up."""

    identity: Identity
    seen: set[bytes] = field(default_factory=set)
    """Ephemeral keys of initiations that were answered: a copy of one is answered by silence. Times do not tell copies apart here, since
    sessions on several ports begin at the same one."""


def accept(message: object) -> ServerKeys:
    """The server's, from a control message.

    Raises DecodeError where it cannot be used, CannotRun (status MISSING) where the cryptography cannot be had.
    """
    if not isinstance(message, dict):
        raise DecodeError("keys", 0, "are no table")
    _require_cryptography()
    private, client, preshared = (_key(message, name) for name in PARTS)
    return ServerKeys(Identity(private, client, preshared))


def _require_cryptography() -> None:
    if lack := lacking():
        raise CannotRun(lack, status=ExitStatus.MISSING)


def _key(message: dict[str, object], name: str) -> bytes:
    text = message.get(name)
    if not isinstance(text, str):
        raise DecodeError(name, 0, "is missing")
    return key_of_text(text, name)


def respond(data: bytes, keys: object | None, *, entropy: Callable[[int], bytes], unix_time_at_zero: float) -> Responder | None:
    """The end that answers an initiation; None: it is none, its client handed over no keys, or it comes again.

    One that cannot be read (a copy with a small TTL that arrived) is recorded and not answered.
    """
    key = opening(data)
    if not isinstance(keys, ServerKeys) or not key or _comes_again(data, keys):
        return None
    responder = Responder(keys.identity, entropy=entropy, unix_time_at_zero=unix_time_at_zero, echoes=ECHOES)
    responder.short_replies = True
    responder.tracker.key = key
    return responder


def _comes_again(data: bytes, keys: ServerKeys) -> bool:
    """Whether an initiation was answered before."""
    message = HandshakeInitiation.decode(data)
    try:
        read_initiation(message, keys.identity.private)
    except DecodeError:
        return False
    known = message.ephemeral in keys.seen
    if len(keys.seen) < MOST_SEEN:
        keys.seen.add(message.ephemeral)
    return known


def first_packet(index: bytes, entropy: Callable[[int], bytes]) -> tuple[bytes, str]:
    """What looks like an initiation of that sender index (4 bytes) to whoever has no keys, and its name. A peer drops it by its mac1."""
    message = HandshakeInitiation(int.from_bytes(index, "big"), entropy(32), entropy(48), entropy(28), entropy(16), NO_MAC)
    return message.encode(), message.NAME
