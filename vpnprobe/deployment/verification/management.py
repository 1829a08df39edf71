"""The lines of OpenVPN's management interface (management-notes.txt of OpenVPN), read and written. Pure.

Lines that begin with `>` come by themselves; the others answer commands and are passed over. Whatever a line is like, it is read as an
event or as None.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from vpnprobe.transports.stack import Address

SUBSCRIBE: Final = ("state on", "log on")
RELEASE: Final = "hold release"
END: Final = "signal SIGTERM"
LONGEST_WORD_BYTES: Final = 255
"""OpenVPN takes a longer one for a mistake."""
LONGEST_LINE_BYTES: Final = 900
"""OpenVPN empties its buffer of 1024 bytes where a line is longer, and takes what is left of it for a command."""


@dataclass(frozen=True, slots=True)
class Held:
    """It waits for leave to go on."""


@dataclass(frozen=True, slots=True)
class State:
    """Where it is: `CONNECTING`, `AUTH`, `GET_CONFIG`, `ADD_ROUTES`, `CONNECTED`, `RECONNECTING`, `EXITING`, ..."""

    name: str
    detail: str
    """Of CONNECTED: `SUCCESS`, or `ERROR` where routes or the like failed; of RECONNECTING and EXITING: why."""
    address: Address | None = None
    """Of the tunnel's end here; None: not said."""
    server: Address | None = None
    port: int | None = None
    address6: Address | None = None


@dataclass(frozen=True, slots=True)
class Logged:
    """A line of its log."""

    flags: str
    """`F` fatal, `N` not fatal, `W` warning, `I` information, `D` debug."""
    text: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """It asks for a secret."""

    kind: str
    """`Auth`, `Private Key`, ..."""
    with_name: bool
    """A user name too."""
    challenge: str = ""
    """Question for a second factor."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A secret was wrong."""

    kind: str


@dataclass(frozen=True, slots=True)
class Fatal:
    """It ends."""

    text: str


Event = Held | State | Logged | Wanted | Refused | Fatal


def decode(line: str) -> Event | None:
    """None: a line that nothing depends on."""
    kind, _, rest = line.partition(":")
    match kind:
        case ">HOLD":
            return Held()
        case ">STATE":
            return _state(rest.split(","))
        case ">LOG":
            _, _, logged = rest.partition(",")
            flags, _, text = logged.partition(",")
            return Logged(flags, text)
        case ">PASSWORD":
            return _password(rest)
        case ">FATAL":
            return Fatal(rest)
        case _:
            return None


def _state(fields: Sequence[str]) -> State:
    """time, name, detail, address, server, its port, own address and port, IPv6 address: what is missing is empty."""
    _, name, detail, address, server, port, _, _, address6 = (*fields, *[""] * 9)[:9]
    return State(name, detail, _address(address), _address(server), int(port) if port.isdecimal() else None, _address(address6))


def _address(text: str) -> Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None


def _password(rest: str) -> Wanted | Refused | None:
    kind = rest.split("'")[1] if rest.count("'") >= 2 else ""
    if rest.startswith("Verification Failed"):
        return Refused(kind)
    if not rest.startswith("Need"):
        return None
    _, has_challenge, challenge = rest.partition(" SC:")
    return Wanted(kind, "username/password" in rest, challenge.partition(",")[2] if has_challenge else "")


def why_unsaid(name: str, secret: str, *, what: str = "password") -> str:
    """Why these are not handed over; empty: they can be. Nothing of them is in it. `what`: the secret is called."""
    for called, word in (("user name", name), (what, secret)):
        try:
            length = len(word.encode())
        except UnicodeEncodeError:
            return f"the {called} is not UTF-8, and is not handed to openvpn"
        if any(one < " " or one == "\x7f" for one in word):
            return f"the {called} has a control character in it, and is not handed to openvpn"
        if length > LONGEST_WORD_BYTES:
            return f"the {called} is {length} bytes long, and openvpn's management interface takes {LONGEST_WORD_BYTES}"
    return ""


def answer(wanted: Wanted, name: str, secret: str) -> tuple[str, ...]:
    """The commands that give it; empty: they would be too long. A line feed in either would be another command: it is left out."""
    lines = [f"username {_quoted(wanted.kind)} {_quoted(name)}"] if wanted.with_name else []
    lines.append(f"password {_quoted(wanted.kind)} {_quoted(secret)}")
    return tuple(lines) if all(len(line.encode(errors="replace")) <= LONGEST_LINE_BYTES for line in lines) else ()


def _quoted(word: str) -> str:
    plain = "".join(one for one in word if one not in "\r\n\0")
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
