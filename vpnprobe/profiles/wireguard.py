"""Reads a WireGuard profile as wg-quick and the providers' files have it (wg-quick(8), wg(8), CONFIGURATION FILE FORMAT).

`[Interface]` and `[Peer]` sections, in any case; `Key = Value`; `#` begins a comment anywhere. `read_wireguard(path)` and
`parse_wireguard(text, file=...)` give a `WireguardProfile`, or raise `ProfileError`. Nothing in it is executed. What wg-quick would do to
this machine (addresses, routes, resolver, hooks) is not done; a key that neither wg nor wg-quick knows is listed and never fatal. Keys
never stand in an error.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from vpnprobe.errors import CannotRun, DecodeError, ExitStatus
from vpnprobe.profiles.errors import Place, shown
from vpnprobe.profiles.files import check_text, read_text
from vpnprobe.profiles.model import Note, Unknown
from vpnprobe.profiles.options import number_in
from vpnprobe.profiles.wireguard_model import Network, TunnelAddress, WireguardPeer, WireguardProfile
from vpnprobe.wire.wireguard_noise import agree, key_of_text, lacking, public_key

INTERFACE: Final = "interface"
PEER: Final = "peer"
HOOKS: Final = ("preup", "postup", "predown", "postdown")
_INTERFACE_KEYS: Final = "privatekey listenport fwmark address dns mtu table saveconfig"
_PEER_KEYS: Final = "publickey presharedkey allowedips endpoint persistentkeepalive"
KNOWN: Final[Mapping[str, frozenset[str]]] = {
    INTERFACE: frozenset((*_INTERFACE_KEYS.split(), *HOOKS)),
    PEER: frozenset(_PEER_KEYS.split()),
}
"""Keys of wg and wg-quick by section, in lower case."""
UNCHANGED: Final[Mapping[str, str]] = {**dict.fromkeys(("s1", "s2", "s3", "s4"), "0"), "h1": "1", "h2": "2", "h3": "3", "h4": "4"}
"""AmneziaWG's keys that change WireGuard's own messages, and the value with which they do not."""
JUNK: Final = frozenset(["jc", "jmin", "jmax", "itime", "i1", "i2", "i3", "i4", "i5", "j1", "j2", "j3"])
"""Its keys for packets that are sent before a handshake, of which WireGuard takes no notice."""
FROM_SERVER: Final = "get the profile again from where the server is set up"
MOST_SHOWN: Final = 100
"""Characters of what a profile says that an error shows."""
_SECTION: Final = re.compile(r"\[\s*([^\]]*?)\s*\]")
_LIKE_A_KEY: Final = re.compile(r"[A-Za-z0-9+/]{40,}=*")
"""What may be a key that stands where none belongs."""

T = TypeVar("T")


class Entry(NamedTuple):
    """One line `Key = Value`."""

    place: Place
    section: int
    """Counted from 0: of several peers each has its own."""
    kind: str
    """`interface` or `peer`."""
    key: str
    """In lower case."""
    written: str
    """The key as it is written."""
    value: str

    @property
    def line(self) -> int:
        return self.place.line


def read_wireguard(path: Path) -> WireguardProfile:
    """The profile in a file. Raises ProfileError."""
    return parse_wireguard(read_text(path), file=str(path))


def is_wireguard(text: str) -> bool:
    """Whether a text begins as a WireGuard profile does: its first line that is no comment is a section's."""
    first = next((line for written in text.splitlines() if (line := written.partition("#")[0].strip())), "")
    return _SECTION.fullmatch(first) is not None


def parse_wireguard(text: str, *, file: str) -> WireguardProfile:
    """The profile that a text is; `file` names it in messages. Raises ProfileError."""
    check_text(text, file)
    sections = _sections(text, file)
    entries = list(_entries(text, file, sections))
    if INTERFACE not in sections.values():
        raise Place(file, 0).wrong("has no [Interface] section", "give the whole profile, with [Interface] and [Peer]")
    interface = Lines([entry for entry in entries if entry.kind == INTERFACE], Place(file, 0))
    of_section = {number: list(lines) for number, lines in groupby(entries, key=lambda entry: entry.section)}
    peers = [_peer(Lines(of_section.get(number, []), place)) for number, (place, kind) in enumerate(sections.items()) if kind == PEER]
    usable = tuple(peer for peer in peers if peer.host)
    if not peers:
        raise Place(file, 0).wrong("has no [Peer] section, so no server to connect to", FROM_SERVER)
    if not usable:
        raise Place(file, 0).wrong("no peer has an Endpoint: this is the profile of a server", "give a client's profile")
    return WireguardProfile(
        file=file,
        private_key=interface.needed("privatekey", "PrivateKey", _key),
        addresses=tuple(interface.each("address", _address)),
        dns=tuple(address for entry in interface.all("dns") for address in _resolvers(entry.value)),
        mtu=interface.one("mtu", _whole(576, 65535)),
        peers=usable,
        obfuscation=tuple(entry.written for entry in entries if entry.value != UNCHANGED.get(entry.key, entry.value)),
        notes=tuple(sorted(_notes(entries, [peer for peer in peers if not peer.host]))),
        unknown=tuple(
            Unknown(entry.line, shown(_without_keys(entry.written)), shown(f"{_without_keys(entry.written)} = ..."))
            for entry in entries
            if entry.key not in KNOWN[entry.kind] and entry.key not in JUNK and entry.key not in UNCHANGED
        ),
    )


def check_keys(profile: WireguardProfile, *, most: int | None = None) -> None:
    """Raises ProfileError where no handshake with a peer can be begun, CannotRun (status MISSING) where the cryptography cannot be had.

    `most`: so many peers are looked at; None: all.
    """
    if lack := lacking():
        raise CannotRun(lack, status=ExitStatus.MISSING)
    own = public_key(profile.private_key)
    for peer in profile.peers[:most]:
        if peer.public_key == own:
            raise Place(profile.file, peer.line).wrong(
                "PublicKey is this profile's own", "put the server's there (`wg show` there tells it)"
            )
        try:
            agree(profile.private_key, peer.public_key, "PublicKey")
        except DecodeError:
            raise Place(profile.file, peer.line).wrong("PublicKey is no key that a secret can be agreed with", FROM_SERVER) from None


class Lines:
    """The entries of one section, or of several of a kind."""

    def __init__(self, entries: list[Entry], place: Place) -> None:
        self.place = place
        self._entries = entries

    def all(self, key: str) -> list[Entry]:
        return [entry for entry in self._entries if entry.key == key]

    def one(self, key: str, read: Callable[[Entry], T]) -> T | None:
        """The last one's value, since later lines win; None: it is not there. Raises ProfileError."""
        found = self.all(key)
        return read(found[-1]) if found else None

    def needed(self, key: str, name: str, read: Callable[[Entry], T]) -> T:
        """Raises ProfileError where it is not there, too."""
        value = self.one(key, read)
        if value is None:
            raise self.place.wrong(f"has no {name}", FROM_SERVER)
        return value

    def each(self, key: str, read: Callable[[Entry, str], T]) -> Iterator[T]:
        """The parts of all of these, which commas part."""
        for entry in self.all(key):
            for part in entry.value.split(","):
                if part.strip():
                    yield read(entry, part.strip())


def _sections(text: str, file: str) -> dict[Place, str]:
    """The sections in order, by the place of their heads: `interface` or `peer`. Raises ProfileError."""
    found: dict[Place, str] = {}
    for number, line in _lines(text):
        head = _SECTION.fullmatch(line)
        if head is None:
            continue
        if (kind := head[1].lower()) not in KNOWN:
            name = _without_keys(head[1])
            raise Place(file, number).wrong(f"[{name}] is no section of a WireGuard profile", "give the file that wg-quick reads")
        found[Place(file, number)] = kind
    return found


def _entries(text: str, file: str, sections: Mapping[Place, str]) -> Iterator[Entry]:
    """All lines that are no heads of sections. Raises ProfileError."""
    kind, section = "", -1
    for number, line in _lines(text):
        place = Place(file, number)
        if place in sections:
            kind, section = sections[place], section + 1
            continue
        key, sign, value = (part.strip() for part in line.partition("="))
        if not sign:
            raise place.wrong(f"{_brief(line)} is no line of the form Key = Value", "correct the line, or take it out")
        if not kind:
            raise place.wrong(f"{_without_keys(key)} stands before any section", "put [Interface] in a line before it")
        other = INTERFACE if kind == PEER else PEER
        if key.lower() in KNOWN[other]:
            raise place.wrong(f"{key} belongs into [{other.capitalize()}]", "move the line there")
        yield Entry(place, section, kind, key.lower(), key, value)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines by number from 1 on, without comments and empty ones."""
    for number, written in enumerate(text.split("\n"), 1):
        if line := written.partition("#")[0].strip():
            yield number, line


def _brief(line: str) -> str:
    """The first word alone: what follows may be a key."""
    return repr(_without_keys(line.split()[0])[:20])


def _without_keys(text: str) -> str:
    """What is shown of it: a line that was broken or joined in the wrong place may have a key anywhere."""
    return _LIKE_A_KEY.sub("...", text)[:MOST_SHOWN]


def _peer(lines: Lines) -> WireguardPeer:
    """Without `host` where it has no endpoint. Raises ProfileError."""
    host, port = lines.one("endpoint", _endpoint) or ("", 0)
    return WireguardPeer(
        public_key=lines.needed("publickey", "PublicKey", _key),
        preshared_key=lines.one("presharedkey", _key),
        host=host,
        port=port,
        family=_family(host),
        allowed_ips=tuple(lines.each("allowedips", _network)),
        keepalive_s=lines.one("persistentkeepalive", _keepalive),
        line=lines.place.line,
    )


def _key(entry: Entry) -> bytes:
    """32 bytes. Raises ProfileError, which does not show them."""
    try:
        return key_of_text(entry.value)
    except DecodeError as error:
        todo = "copy the whole key again (wg genkey, wg pubkey and wg genpsk print them)"
        raise entry.place.wrong(f"{entry.written} {error.problem}", todo) from None


def _endpoint(entry: Entry) -> tuple[str, int]:
    """Host and port. Raises ProfileError."""
    host, colon, text = entry.value.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    port = number_in(text, 1, 65535)
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or port is None or not bare or (":" in bare) is not bracketed:
        raise entry.place.wrong(f"Endpoint {_without_keys(entry.value)!r} is no HOST:PORT", "write HOST:PORT, or [ADDRESS]:PORT for IPv6")
    return bare, port


def _family(host: str) -> str:
    """Of an address `4` or `6`; empty: a name, or nothing."""
    try:
        return str(ip_address(host.partition("%")[0]).version)
    except ValueError:
        return ""


def _address(entry: Entry, text: str) -> TunnelAddress:
    try:
        return ip_interface(text)
    except ValueError:
        raise entry.place.wrong(f"Address {_without_keys(text)!r} is no address", "write it as 10.8.0.2/24 or fd00::2/64") from None


def _network(entry: Entry, text: str) -> Network:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        raise entry.place.wrong(f"AllowedIPs {_without_keys(text)!r} is no network", "write it as 10.8.0.0/24, 0.0.0.0/0 or ::/0") from None


def _resolvers(value: str) -> Iterator[IPv4Address | IPv6Address]:
    """Of `DNS` the addresses; domains to search in may stand beside them."""
    for text in value.split(","):
        try:
            yield ip_address(text.strip())
        except ValueError:
            continue


def _whole(low: int, high: int) -> Callable[[Entry], int]:
    def read(entry: Entry) -> int:
        value = number_in(entry.value, low, high)
        if value is None:
            said = _without_keys(entry.value)
            raise entry.place.wrong(f"{entry.written} {said!r} is no number from {low} to {high}", "write one that is")
        return value

    return read


def _keepalive(entry: Entry) -> int:
    return 0 if entry.value.lower() == "off" else _whole(0, 65535)(entry)


def _notes(entries: Iterable[Entry], without_endpoint: Iterable[WireguardPeer]) -> Iterator[Note]:
    for entry in entries:
        if entry.key in HOOKS:
            yield Note(entry.line, f"{entry.written} is a command of the profile, and none is run")
        elif entry.key in JUNK:
            yield Note(entry.line, f"{entry.written} is AmneziaWG's, whose junk packets are not supported: none are sent")
        elif entry.value != UNCHANGED.get(entry.key, entry.value):
            yield Note(entry.line, f"{entry.written} is AmneziaWG's, whose messages are not supported: no server of this profile is tried")
        elif entry.key == "listenport":
            yield Note(entry.line, f"{entry.written} is this machine's own, and the test sends from another port")
    yield from (Note(peer.line, "this peer has no Endpoint, and is not tried") for peer in without_endpoint)
