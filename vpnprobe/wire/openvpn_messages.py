"""OpenVPN's control messages inside TLS, after key method 2: strings that each end in NUL (PUSH_REQUEST, PUSH_REPLY, AUTH_FAILED, EXIT...).

Words are divided by commas; what a PUSH_REPLY pushes are options as they would stand in a configuration file. `decode_message` is total:
what is not known is `Other`. Bytes that are not UTF-8 show as U+FFFD. Sources: OpenVPN Wire Protocol, and the manual page of OpenVPN 2.6
(push-peer-info, client-pending-auth).
"""

import re
from dataclasses import dataclass
from typing import Final, Self

from vpnprobe.errors import DecodeError

MOST_BUFFER: Final = 65536
"""Bytes that may be kept without a NUL."""
_TEMPORARY: Final = re.compile(r"TEMP(?:\[(?P<flags>[^\]]*)\])?(?::\s*|$)")
"""How the reason of an AUTH_FAILED begins that is put off: `TEMP[backoff 42,advance no]:` and the words."""
PUSH_REQUEST: Final = b"PUSH_REQUEST\0"
"""A client's request for its options, as it goes into TLS; sent again every few seconds until a PUSH_REPLY comes."""
MOST_PEER_ID: Final = 2**24 - 1


def split_messages(buffer: bytes) -> tuple[list[str], bytes]:
    """The whole messages at the front of what TLS gave out, and what is left; empty messages are left out.

    Raises DecodeError where more than 64 KiB are left without a NUL.
    """
    *whole, rest = buffer.split(b"\0")
    if len(rest) > MOST_BUFFER:
        raise DecodeError("control message", len(buffer) - len(rest), f"is longer than {MOST_BUFFER} bytes")
    return [message.decode("utf-8", "replace") for message in whole if message], rest


@dataclass(frozen=True, slots=True)
class PushRequest:
    """PUSH_REQUEST: a client wants its options."""

    def encode(self) -> bytes:
        return PUSH_REQUEST


@dataclass(frozen=True, slots=True)
class PushReply:
    """PUSH_REPLY: the options that a server gives a client."""

    options: tuple[str, ...]
    """Each as in a configuration file: `ifconfig 10.8.0.2 255.255.255.0`."""

    def encode(self) -> bytes:
        return _encode("PUSH_REPLY", *self.options)

    @classmethod
    def decode(cls, text: str) -> Self:
        """Raises DecodeError for another message."""
        name, *options = text.split(",")
        if name != "PUSH_REPLY":
            raise DecodeError("PUSH_REPLY", 0, f"is {name[:40]!r}")
        return cls(tuple(option for option in options if option))

    @property
    def address(self) -> str | None:
        """The client's IPv4 address in the tunnel (first word of ifconfig); None: not pushed."""
        return self._word("ifconfig", 0)

    @property
    def netmask(self) -> str | None:
        """Second word of ifconfig: the netmask, or the other end's address where the topology is net30 or p2p; None: not pushed."""
        return self._word("ifconfig", 1)

    @property
    def gateway(self) -> str | None:
        """route-gateway, the server's address in the tunnel; None: not pushed."""
        return self._word("route-gateway", 0)

    @property
    def topology(self) -> str | None:
        """subnet, net30 or p2p; None: not pushed, which is net30."""
        return self._word("topology", 0)

    @property
    def peer_id(self) -> int | None:
        """0 to 2**24 - 1; None: not pushed, so data goes as P_DATA_V1."""
        number = self._number("peer-id")
        return number if number is not None and number <= MOST_PEER_ID else None

    @property
    def cipher(self) -> str | None:
        """The data channel's, as the server spells it; None: not pushed."""
        return self._word("cipher", 0)

    @property
    def tun_mtu(self) -> int | None:
        """Bytes; None: not pushed."""
        return self._number("tun-mtu")

    @property
    def ping_s(self) -> int | None:
        """Seconds of silence before an end sends a ping; None: not pushed."""
        return self._number("ping")

    @property
    def ping_restart_s(self) -> int | None:
        """Seconds of the peer's silence before the client begins anew; None: not pushed."""
        return self._number("ping-restart")

    @property
    def protocol_flags(self) -> tuple[str, ...]:
        """cc-exit, tls-ekm, dyn-tls-crypt, aead-epoch; empty: not pushed."""
        return tuple(word for option in self.options if _name(option) == "protocol-flags" for word in option.split()[1:])

    @property
    def key_derivation(self) -> str | None:
        """tls-ekm; None: not pushed (see `protocol_flags`, which says it too)."""
        return self._word("key-derivation", 0)

    @property
    def continuation(self) -> int:
        """push-continuation: 0 the only message, 2 more will follow, 1 the last of several."""
        number = self._number("push-continuation")
        return number if number in (1, 2) else 0

    def _word(self, name: str, index: int) -> str | None:
        """A word of the last option of this name, counted after the name."""
        words = next((option.split()[1:] for option in reversed(self.options) if _name(option) == name), [])
        return words[index] if index < len(words) else None

    def _number(self, name: str) -> int | None:
        return _number(self._word(name, 0))


@dataclass(frozen=True, slots=True)
class AuthFailed:
    """AUTH_FAILED: the server refuses the credentials, or the conversation for another reason that it gives."""

    reason: str = ""
    """Its words; "TEMP..." means that a later attempt may succeed, "CRV1:..." asks for an answer. Empty: none given."""

    @property
    def is_temporary(self) -> bool:
        """Whether a later attempt may succeed, as the server says to clients that announce AUTH_FAIL_TEMP."""
        return _TEMPORARY.match(self.reason) is not None

    @property
    def backoff_s(self) -> int | None:
        """Seconds to wait before the next attempt; None: not said."""
        found = _TEMPORARY.match(self.reason)
        flags = (found["flags"] or "").split(",") if found is not None else []
        return next((_number(flag.split()[1]) for flag in flags if len(flag.split()) == 2 and flag.split()[0] == "backoff"), None)

    @property
    def words(self) -> str:
        """The reason without what is said to the program; empty: none given."""
        return _TEMPORARY.sub("", self.reason)

    def encode(self) -> bytes:
        return _encode("AUTH_FAILED", self.reason)


@dataclass(frozen=True, slots=True)
class AuthPending:
    """AUTH_PENDING: the user's authentication goes on elsewhere; PUSH_REQUEST is answered when it is done."""

    timeout_s: int | None = None
    """Seconds that the server gives it; None: not said."""
    text: str = ""
    """The message's words after its name."""

    def encode(self) -> bytes:
        return _encode("AUTH_PENDING", self.text or ("" if self.timeout_s is None else f"timeout {self.timeout_s}"))


@dataclass(frozen=True, slots=True)
class Restart:
    """RESTART: the server goes down or wants the client to begin anew."""

    text: str = ""

    def encode(self) -> bytes:
        return _encode("RESTART", self.text)


@dataclass(frozen=True, slots=True)
class Halt:
    """HALT: the server wants the client to end."""

    text: str = ""

    def encode(self) -> bytes:
        return _encode("HALT", self.text)


@dataclass(frozen=True, slots=True)
class Info:
    """INFO and INFO_PRE: words for the user, such as the address of a page where to log in."""

    text: str = ""

    def encode(self) -> bytes:
        return _encode("INFO", self.text)


@dataclass(frozen=True, slots=True)
class Exit:
    """EXIT: the sender ends."""

    def encode(self) -> bytes:
        return _encode("EXIT")


@dataclass(frozen=True, slots=True)
class Other:
    """Any other message, whole."""

    text: str

    def encode(self) -> bytes:
        return _encode(self.text)


Message = PushRequest | PushReply | AuthFailed | AuthPending | Restart | Halt | Info | Exit | Other


def decode_message(text: str) -> Message:
    """A message without its NUL. Total: what is not known is `Other`."""
    name, _, rest = text.partition(",")
    match name:
        case "PUSH_REQUEST":
            return PushRequest()
        case "PUSH_REPLY":
            return PushReply.decode(text)
        case "AUTH_FAILED":
            return AuthFailed(rest)
        case "AUTH_PENDING":
            return AuthPending(_timeout(rest), rest)
        case "RESTART":
            return Restart(rest)
        case "HALT":
            return Halt(rest)
        case "INFO" | "INFO_PRE":
            return Info(rest)
        case "EXIT":
            return Exit()
        case _:
            return Other(text)


def _timeout(words: str) -> int | None:
    for word in words.split(","):
        if _name(word) == "timeout":
            return _number(word.strip().partition(" ")[2].strip())
    return None


def _name(option: str) -> str:
    return option.split()[0] if option.split() else ""


def _number(word: str | None) -> int | None:
    """A decimal number of at most ten digits; None: anything else."""
    return int(word) if word is not None and word.isascii() and word.isdecimal() and len(word) <= 10 else None


def _encode(*words: str) -> bytes:
    return ",".join(word for word in words if word).encode("utf-8", "replace") + b"\0"
