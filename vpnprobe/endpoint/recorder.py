"""One end's own record of what left it and what came, kept while a run goes on.

The list only grows, so that the other end can ask for what is new; it is bounded, since its length is in a stranger's hands at the server.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, repeat
from typing import Final, NamedTuple

from vpnprobe.conversations.contract import Conversation, Sender
from vpnprobe.conversations.registry import protocol_of
from vpnprobe.endpoint.said import Said, taken
from vpnprobe.endpoint.socket_log import digest_of
from vpnprobe.evidence.attempts import SYN, port_key
from vpnprobe.evidence.identify import PacketIdentity
from vpnprobe.evidence.lateness import Lateness, added
from vpnprobe.evidence.packet_records import BLOCK, Check, Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import EndRecord, Refusal
from vpnprobe.evidence.statistics import LEAST_TRIALS
from vpnprobe.evidence.taken import NOTHING_TAKEN
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import Datagram, Endpoint, NetworkStack
from vpnprobe.wire.nonce import Purpose

MOST_ROWS: Final = 50_000


def attempt_key(local: Endpoint) -> str:
    """What a socket knows a connection attempt by; `evidence.attempts` joins the two ends' where a NAT changes the client's port."""
    return port_key(local.port)


class Departures(NamedTuple):
    """What a conversation handed over at one moment."""

    at: float
    """On the network stack's clock, before the first was handed over."""
    said: tuple[bytes, ...]
    """The datagrams or chunks."""
    left: tuple[bool, ...]
    """Of each, whether it was taken."""


class Recorder:
    """Packet records and refusals at one end."""

    def __init__(self, stack: NetworkStack, vantage: Vantage) -> None:
        self.stack = stack
        self.vantage = vantage
        self.began = stack.now()
        self.packet_records: list[PacketRecord] = []
        self.refusals: list[Refusal] = []
        self.dropped = 0
        """Rows beyond MOST_ROWS that were not kept."""
        self.attempts: set[tuple[Check, str]] = set()
        """Connection attempts of this end's own, by check and key."""
        self.attempts_over: set[tuple[Check, str]] = set()
        """Those of them that did not come up and are waited for no more."""
        self.said = Said()
        self.said_as: dict[str, PacketRecord] = {}
        """By the digest of a datagram that a conversation sent: its record. The other end may have got it and be unable to read it."""
        self.taken = NOTHING_TAKEN
        """What this end's own firewall took in part: told at the end of a run."""
        self._block: int | None = None
        self.withheld: Counter[Check] = Counter()
        """Packets that the kernel refused to send: they have not left, and are no trials of the path."""
        self.late: tuple[Lateness, ...] = ()
        """When this end's program did not run though it was to, seconds since `began`."""
        self.given_up: dict[str, float] = {}
        """By key of a conversation: when this end ceased to listen to it, less what an answer takes, seconds since `began`."""

    @property
    def began_unix(self) -> float:
        """`began` as Unix time, by the clock as it stands now."""
        return self.stack.unix_time() - (self.stack.now() - self.began)

    def was_late(self, from_s: float, to_s: float) -> None:
        """This end's program did not run though it was to; on the network stack's clock."""
        if to_s > self.began:
            self.late = added(self.late, Lateness(max(0.0, from_s - self.began), to_s - self.began))

    def gave_up(self, conversation: Conversation, *, answer_s: float) -> None:
        """This end listens to a conversation no more, in which an answer takes so long."""
        self.given_up.setdefault(conversation.key, self.stack.now() - self.began - answer_s)

    @contextmanager
    def in_block(self, number: int | None) -> Iterator[None]:
        """What leaves meanwhile left at a moment drawn within that block, as its record says; None: within none."""
        before, self._block = self._block, number
        try:
            yield
        finally:
            self._block = before

    def _keep(self, packet_record: PacketRecord) -> None:
        if len(self.packet_records) < MOST_ROWS:
            self.packet_records.append(packet_record)
        else:
            self.dropped += 1

    def sent(
        self,
        check: Check,
        key: str,
        *,
        message: str = "",
        size: int = 0,
        ttl: int | None = None,
        to: Endpoint | None = None,
        detail: Mapping[str, int | str] | None = None,
        purpose: Purpose = Purpose.REACH,
        local: Endpoint | None = None,
        at: float | None = None,
    ) -> None:
        """A packet or message that left; with `ttl` it is a TTL-limited copy, whatever `purpose` says.

        `local`: where it left from. `at`: when it was handed over, on the network stack's clock; None: now.
        """
        at = (self.stack.now() if at is None else at) - self.began
        peer = (str(to.address), to.port) if to is not None else None
        own = (str(local.address), local.port) if local is not None else None
        ttl_limited = ttl is not None
        detail = {**(detail or {}), **({BLOCK: self._block} if self._block is not None else {})}
        purpose = Purpose.TRACE if ttl_limited else purpose
        self._keep(PacketRecord(self.vantage, Movement.SENT, at, check, key, message, size, ttl, ttl_limited, peer, detail, purpose, own))

    def leaving(
        self,
        send: Callable[[], bool],
        check: Check,
        key: str,
        *,
        message: str = "",
        size: int = 0,
        ttl: int | None = None,
        to: Endpoint | None = None,
        detail: Mapping[str, int | str] | None = None,
        purpose: Purpose = Purpose.REACH,
        local: Endpoint | None = None,
    ) -> None:
        """Sends a packet, and records it where the kernel took it: what it refused has not left."""
        at = self.stack.now()
        if send():
            self.sent(check, key, message=message, size=size, ttl=ttl, to=to, detail=detail, purpose=purpose, local=local, at=at)
        elif ttl is None:
            self.withheld[check] += 1

    def attempted(self, check: Check, local: Endpoint, *, to: Endpoint) -> str:
        """A connection that is about to be tried from `local`; returns its key. The wire may show its sequence number afterwards."""
        key = attempt_key(local)
        self.attempts.add((check, key))
        self.attempts_over.discard((check, key))
        self.sent(check, key, message=SYN, to=to, local=local)
        return key

    def received(
        self,
        check: Check,
        key: str,
        *,
        message: str = "",
        size: int = 0,
        ttl: int | None = None,
        source: Endpoint | None = None,
        detail: Mapping[str, int | str] | None = None,
        purpose: Purpose = Purpose.REACH,
    ) -> None:
        """A packet or message that came."""
        at = self.stack.now() - self.began
        peer = (str(source.address), source.port) if source is not None else None
        self._keep(PacketRecord(self.vantage, Movement.RECEIVED, at, check, key, message, size, ttl, False, peer, detail or {}, purpose))

    def arrived(self, identities: Iterable[PacketIdentity | None], datagram: Datagram) -> bool:
        """Records what a datagram was identified as; returns whether it was anything."""
        found = [identity for identity in identities if identity is not None]
        for identity in found:
            self.received(
                identity.check,
                identity.key,
                message=identity.message,
                size=len(datagram.data),
                ttl=datagram.ttl,
                source=datagram.source,
                detail=identity.detail,
                purpose=identity.purpose,
            )
        return bool(found)

    def steps(
        self, conversation: Conversation, check: Check, own: Sender, departures: Departures, *, remote: Endpoint | None = None
    ) -> None:
        """Records the messages that a conversation has sent and received since the last call.

        Those that the kernel refused have not left. A message that is no datagram by itself left with the last of them.
        """
        spec = protocol_of(check.probe, check.name)
        assert spec is not None, f"{check.probe}/{check.name} is no conversation's"
        left, said = chain(departures.left, repeat(departures.left[-1] if departures.left else True)), list(departures.said)
        for step in conversation.events():
            name, detail = spec.described(step.message)
            if not step.expected:
                detail = {**detail, "unexpected": 1}
            told, suffix = spec.bears_on(step.message)
            asked, key = check._replace(name=told), conversation.key + suffix
            if step.sender is own:
                data, took = taken(said, step.size, spec.length_bytes), next(left)
                if took:
                    self.sent(asked, key, message=name, size=step.size, to=remote, detail=detail, at=departures.at)
                else:
                    self.withheld[asked] += 1
                if took and data is not None:
                    self.said.keep(asked, name, key, data)
                    if asked.transport is Transport.UDP and not self.dropped:
                        self.said_as[digest_of(data)] = self.packet_records[-1]
            else:
                self.received(asked, key, message=name, size=step.size, source=remote, detail=detail)

    def refused(self, refusal: Refusal) -> None:
        if refusal not in self.refusals and len(self.refusals) < MOST_ROWS:
            self.refusals.append(replace(refusal, at=self.stack.now() - self.began))

    @property
    def refused_to_send(self) -> frozenset[Check]:
        """Checks of which the kernel refused LEAST_TRIALS or more and took none: this host's own doing."""
        if not self.withheld:
            return frozenset()
        left = {s.check for s in self.packet_records if s.movement is Movement.SENT}
        return frozenset(check for check, count in self.withheld.items() if count >= LEAST_TRIALS and check not in left)

    @property
    def call_ids(self) -> frozenset[int]:
        """Both ends', of the calls of this run."""
        return frozenset(int(s.detail["call_id"]) for s in self.packet_records if "call_id" in s.detail)

    @property
    def own_call_ids(self) -> frozenset[int]:
        """This end's: those that its requests for a call gave. What it sends in a call bears the other end's."""
        asked = (s for s in self.packet_records if s.movement is Movement.SENT and s.check.transport is Transport.TCP)
        return frozenset(int(s.detail["call_id"]) for s in asked if "call_id" in s.detail)

    def record(self, *, sees_closed_ports: bool = False, sees_raw: bool = True) -> EndRecord:
        """The record as it stands."""
        return EndRecord(
            tuple(self.packet_records),
            tuple(self.refusals),
            sees_closed_ports=sees_closed_ports,
            sees_raw=sees_raw,
            late=self.late,
            given_up=dict(self.given_up),
            taken=self.taken,
        )
