"""One end's own record of what left it and what came, kept while a run goes on.

The list only grows, so that the other end can ask for what is new; it is bounded, since its length is in a stranger's hands at the server.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from vpnprobe.conversations.contract import Conversation, Sender
from vpnprobe.conversations.registry import protocol_of
from vpnprobe.evidence.attempts import SYN, port_key
from vpnprobe.evidence.identify import PacketIdentity
from vpnprobe.evidence.packet_records import BLOCK, Check, Movement, PacketRecord, Vantage
from vpnprobe.evidence.records import EndRecord, Refusal
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.stack import Datagram, Endpoint, NetworkStack
from vpnprobe.wire.nonce import Purpose

MOST_ROWS: Final = 50_000


def attempt_key(local: Endpoint) -> str:
    """What a socket knows a connection attempt by; `evidence.attempts` joins the two ends' where a NAT changes the client's port."""
    return port_key(local.port)


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
        self._block: int | None = None

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
    ) -> None:
        """A packet or message that left; with `ttl` it is a TTL-limited copy, whatever `purpose` says. `local`: where it left from."""
        at = self.stack.now() - self.began
        peer = (str(to.address), to.port) if to is not None else None
        own = (str(local.address), local.port) if local is not None else None
        ttl_limited = ttl is not None
        detail = {**(detail or {}), **({BLOCK: self._block} if self._block is not None else {})}
        purpose = Purpose.TRACE if ttl_limited else purpose
        self._keep(PacketRecord(self.vantage, Movement.SENT, at, check, key, message, size, ttl, ttl_limited, peer, detail, purpose, own))

    def attempted(self, check: Check, local: Endpoint, *, to: Endpoint) -> str:
        """A connection that is about to be tried from `local`; returns its key. The wire may show its sequence number afterwards."""
        key = attempt_key(local)
        self.attempts.add((check, key))
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

    def steps(self, conversation: Conversation, check: Check, own: Sender, *, remote: Endpoint | None = None) -> None:
        """Records the messages that a conversation has sent and received since the last call."""
        spec = protocol_of(check.probe, check.name)
        assert spec is not None, f"{check.probe}/{check.name} is no conversation's"
        for step in conversation.events():
            name, detail = spec.described(step.message)
            if not step.expected:
                detail = {**detail, "unexpected": 1}
            told, suffix = spec.bears_on(step.message)
            asked, key = check._replace(name=told), conversation.key + suffix
            if step.sender is own:
                self.sent(asked, key, message=name, size=step.size, to=remote, detail=detail)
            else:
                self.received(asked, key, message=name, size=step.size, source=remote, detail=detail)

    def refused(self, refusal: Refusal) -> None:
        if refusal not in self.refusals and len(self.refusals) < MOST_ROWS:
            self.refusals.append(replace(refusal, at=self.stack.now() - self.began))

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
        return EndRecord(tuple(self.packet_records), tuple(self.refusals), sees_closed_ports=sees_closed_ports, sees_raw=sees_raw)
