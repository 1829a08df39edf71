"""Where a profile connects to: `remote`, `port`, `proto` and what wraps the control channel, outside and inside of `<connection>` blocks.

As OpenVPN 2.6 does it (its `--verb 4` shows what it made of a profile): an option outside of the blocks counts for the blocks behind it; a
block's own remote is the only one that counts, so remotes outside are passed over where there are blocks; a block without a key of its
own for tls-auth, tls-crypt or tls-crypt-v2 takes the profile's together with its direction, wherever that stands; a block with a key of
its own takes nothing of either, and its direction counts where it stands with the key or behind it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from vpnprobe.observations.schema import Transport
from vpnprobe.profiles.errors import Place
from vpnprobe.profiles.keys import client_key_v2, static_key
from vpnprobe.profiles.known import IN_CONNECTION, KNOWN
from vpnprobe.profiles.lexing import Statement, statements
from vpnprobe.profiles.model import Note, Remote, Wrapping
from vpnprobe.profiles.options import check_arguments, is_placeholder, number_in
from vpnprobe.wire.openvpn_keys import KeyDirection
from vpnprobe.wire.openvpn_wrap import Wrap

PORT: Final = 1194
"""What IANA assigned to OpenVPN."""
SERVICES: Final = {"openvpn": PORT, "domain": 53, "http": 80, "https": 443, "imaps": 993}
"""Names that stand for a port (IANA's service names); OpenVPN takes all that its system knows, profiles use these."""
DIRECTIONS: Final = {"0": KeyDirection.NORMAL, "1": KeyDirection.INVERSE}
LEAST_FRAGMENT_BYTES: Final = 68
LEAST_MTU_BYTES: Final = 100
LARGEST_MTU_BYTES: Final = 65535
WRAPS: Final = frozenset({"tls-auth", "tls-crypt", "tls-crypt-v2"})
FOR_ALL: Final = frozenset({"explicit-exit-notify", "float", "link-mtu", "mssfix", "nobind"})
"""Options that a block may have and that `Profile` has once for all."""


@dataclass(frozen=True, slots=True)
class Connections:
    """Where to, and what was passed over on the way."""

    remotes: tuple[Remote, ...]
    wrapping: Wrapping
    """Outside of blocks."""
    inside: tuple[Statement, ...]
    """All statements of all blocks."""
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class _Link:
    """How one remote is reached, as far as it has been read."""

    port: int = PORT
    transport: Transport = Transport.UDP
    family: str = ""
    wraps: tuple[Statement, ...] = ()
    direction: KeyDirection = KeyDirection.BIDIRECTIONAL
    fragment: int | None = None
    fragment_mtu: bool = False
    tun_mtu: int | None = None


def read_connections(listed: Iterable[Statement], *, folder: Path, file: str) -> Connections:
    """All remotes of a profile. Raises ProfileError, also where there is none."""
    outside, plain = _Link(), list[Statement]()
    blocks: list[tuple[_Link, list[Statement]]] = []
    for statement in listed:
        if statement.option == "connection" and statement.content is not None:
            blocks.append((outside, _inside(statement)))
        elif statement.option == "remote":
            plain.append(statement)
        else:
            outside = _applied(outside, statement)
    wrapping = _wrapping(outside, folder)
    if blocks:
        remotes = [_of_block(link, inside, wrapping, folder) for link, inside in blocks]
    else:
        remotes = [_remote(statement, outside, wrapping) for statement in plain]
    if not remotes:
        raise Place(file, 0).wrong("there is no remote, so no server to connect to", "add a line: remote HOST PORT udp (or tcp)")
    inside = tuple(statement for _, block in blocks for statement in block)
    return Connections(tuple(remotes), wrapping, inside, tuple(_notes(plain if blocks else [], inside)))


def forced(remotes: tuple[Remote, ...], statement: Statement | None) -> tuple[Remote, ...]:
    """Those over the transport that `proto-force` wants; all where it is not there. Raises ProfileError where none is left."""
    if statement is None:
        return remotes
    transport, _ = _protocol(statement.arguments[0], statement)
    left = tuple(remote for remote in remotes if remote.transport is transport)
    if not left:
        raise statement.place.wrong(f"proto-force {statement.arguments[0]} leaves no remote", "take it out, or add a remote over it")
    return left


def _inside(block: Statement) -> list[Statement]:
    """The statements of a `<connection>` block, of which exactly one is a remote."""
    found = list(statements(block.content or "", file=block.place.file, first_line=block.line + 1))
    for statement in found:
        check_arguments(statement)
    remotes = sum(statement.option == "remote" for statement in found)
    if remotes != 1:
        raise block.place.wrong(f"this <connection> block has {remotes} remotes, and needs exactly one", "write one block for each remote")
    return found


def _of_block(outside: _Link, inside: list[Statement], wrapping: Wrapping, folder: Path) -> Remote:
    link = replace(outside, wraps=(), direction=KeyDirection.BIDIRECTIONAL)
    for statement in inside:
        if statement.option == "tls-auth":
            link = replace(link, direction=KeyDirection.BIDIRECTIONAL)
        link = _applied(link, statement)
    own = _wrapping(link, folder) if link.wraps else wrapping
    return _remote(next(statement for statement in inside if statement.option == "remote"), link, own)


def _remote(statement: Statement, link: _Link, wrapping: Wrapping) -> Remote:
    host, *rest = statement.arguments
    if not host or any(character.isspace() or not character.isprintable() for character in host):
        raise statement.place.wrong(f"{host!r} is no name or address of a server", "write: remote HOST PORT udp (or tcp)")
    port = _port(rest[0], statement) if rest else link.port
    transport, family = _protocol(rest[1], statement) if len(rest) > 1 else (link.transport, link.family)
    return Remote(host, port, transport, family, wrapping, statement.line, link.fragment, link.fragment_mtu, link.tun_mtu)


def _applied(link: _Link, statement: Statement) -> _Link:
    """The link after one more statement; the same where that is about something else."""
    match statement.option:
        case "port" | "rport":
            return replace(link, port=_port(statement.arguments[0], statement))
        case "proto":
            transport, family = _protocol(statement.arguments[0], statement)
            return replace(link, transport=transport, family=family)
        case "key-direction":
            return replace(link, direction=_direction(statement.arguments[0], statement))
        case "fragment":
            return replace(link, fragment=_size(statement, LEAST_FRAGMENT_BYTES), fragment_mtu=statement.arguments[1:] == ("mtu",))
        case "tun-mtu":
            return replace(link, tun_mtu=_size(statement, LEAST_MTU_BYTES))
        case option if option in WRAPS:
            if option == "tls-auth" and len(statement.arguments) > 1:
                link = replace(link, direction=_direction(statement.arguments[1], statement))
            if is_placeholder(statement) and any(wrap.option == option for wrap in link.wraps):
                return link
            return replace(link, wraps=(*(wrap for wrap in link.wraps if wrap.option != option), statement))
        case _:
            return link


def _size(statement: Statement, least: int) -> int:
    size = number_in(statement.arguments[0], least, LARGEST_MTU_BYTES)
    if size is None:
        wrong = f"{statement.option} {statement.arguments[0]!r} is no number from {least} to {LARGEST_MTU_BYTES}"
        raise statement.place.wrong(wrong, "write one that is")
    return size


def _port(text: str, statement: Statement) -> int:
    port = SERVICES.get(text) or number_in(text, 1, 65535)
    if port is None:
        raise statement.place.wrong(f"port {text!r} is no number from 1 to 65535", f"write the port's number, such as {PORT}")
    return port


def _protocol(text: str, statement: Statement) -> tuple[Transport, str]:
    """Transport, and IP version or nothing, of `udp`, `udp4`, `tcp6-client` and the like."""
    written = text.removesuffix("-client")
    base, family = (written[:-1], written[-1]) if written.endswith(("4", "6")) else (written, "")
    if base == "udp" and not text.endswith("-client"):
        return Transport.UDP, family
    if base == "tcp":
        return Transport.TCP, family
    if base.removesuffix("-server") in ("tcp", "tcp4", "tcp6"):
        raise statement.place.wrong(f"proto {text} is a server's: this is no client's profile", "write tcp, or give the client's profile")
    raise statement.place.wrong(f"{text!r} is no protocol of OpenVPN", "write udp or tcp, or udp4, udp6, tcp4, tcp6")


def _direction(text: str, statement: Statement) -> KeyDirection:
    direction = DIRECTIONS.get(text)
    if direction is None:
        raise statement.place.wrong(f"the key direction {text!r} is neither 0 nor 1", "write 1 where the server has 0")
    return direction


def _wrapping(link: _Link, folder: Path) -> Wrapping:
    """What wraps the control channel; at most one thing can. Raises ProfileError."""
    if not link.wraps:
        return Wrapping()
    first, *others = link.wraps
    if others:
        raise others[0].place.wrong(
            f"{others[0].option} stands beside the {first.option} of line {first.line}, and only one of them can wrap the control channel",
            "keep the one that the server has",
        )
    match Wrap(first.option):
        case Wrap.TLS_AUTH:
            return Wrapping(Wrap.TLS_AUTH, static_key(first, folder), link.direction)
        case Wrap.TLS_CRYPT_V2:
            return Wrapping(Wrap.TLS_CRYPT_V2, client_key_v2(first, folder))
        case kind:
            return Wrapping(kind, static_key(first, folder))


def _notes(passed_over: list[Statement], inside: tuple[Statement, ...]) -> Iterable[Note]:
    for statement in passed_over:
        yield Note(statement.line, "this remote is passed over, as OpenVPN does: there are <connection> blocks")
    for statement in inside:
        if statement.option in FOR_ALL:
            yield Note(statement.line, f"{statement.option} of one <connection> block alone is passed over")
        elif statement.option in KNOWN and statement.option not in IN_CONNECTION:
            yield Note(statement.line, f"{statement.option} cannot stand in a <connection> block, and is passed over")
