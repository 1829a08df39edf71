"""The server agent as the client's probes see it: requests over the control channel, with all that comes back checked."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from vpnprobe.agents.capture_request import CaptureRequest
from vpnprobe.agents.control import VERSION, Channel, Message, readable, segments_told
from vpnprobe.agents.peer_clock import PeerClock
from vpnprobe.agents.records import (
    LATEST_S,
    list_of,
    read_addresses,
    read_all,
    read_known,
    read_lateness,
    read_opened,
    read_packet_record,
    read_queue,
    read_refusal,
    read_trace,
    unpacked,
)
from vpnprobe.agents.taken_rows import MOST_ASKED, read_taken_rows
from vpnprobe.endpoint.hop_search import LONGEST_BLANK_S, MOST_SUSPECTS
from vpnprobe.endpoint.pcap import encode_pcap
from vpnprobe.endpoint.probe_packets import Suspect
from vpnprobe.endpoint.recorder import MOST_ROWS
from vpnprobe.errors import CannotRun, DecodeError, ExitStatus
from vpnprobe.evidence.check_rows import LONGEST_TEXT, check_row, kept_row, read_check, read_mends
from vpnprobe.evidence.lateness import MOST_TIMES, Lateness
from vpnprobe.evidence.own_queues import MOST_QUEUES, OwnQueue
from vpnprobe.evidence.packet_records import Check, PacketRecord, Vantage
from vpnprobe.evidence.records import EndRecord, PathFacts, PortState, Refusal, TtlTrace
from vpnprobe.evidence.statistics import Background
from vpnprobe.evidence.taken import TakenPackets, Unnamed
from vpnprobe.firewall.mending import Kept, Mends
from vpnprobe.observations.schema import Direction, Transport
from vpnprobe.probes.peer import Job
from vpnprobe.probes.settings import WantedPort
from vpnprobe.transports.stack import Address, Packet

PORTS_OPEN_S: Final = 300.0
"""How long the server keeps the probe ports open, should the client vanish."""

FIREWALL_S: Final = 3.0
"""How long it may take to read the rules of a firewall."""
CONNECTIONS_OF_HANDOVER: Final = 12
CAPTURE_PATIENCE_S: Final = 0.8
"""A part of a capture takes longer to hand over than other answers."""


class RemotePeer:
    """A server agent at the other end of a control channel."""

    def __init__(self, channel: Channel, now: Callable[[], float]) -> None:
        self.channel = channel
        self._now = now
        self.refreshed_at = -math.inf
        """When the record was asked for that is known here, on the clock `now`."""
        self.about: Message = {}
        """What it said of itself: version, capabilities, whether it captures, the client's address as it sees it."""
        self._packet_records: list[PacketRecord | None] = []
        """In their places; None: about a check that this version does not have."""
        self._refusals: list[Refusal | None] = []
        self._unknown: set[str] = set()
        self._overflowed = False
        """It saw more than it could keep: what is not in its record may have come all the same."""
        self._seen_as = ""
        self._addresses: dict[Transport, list[str]] = {}
        self._dropped_on_input: frozenset[Check] = frozenset()
        self._dropped_on_output: frozenset[Check] = frozenset()
        self._taken = TakenPackets()
        self.named: dict[str, PacketRecord] = {}
        """By digest: what the server sent and this end's firewall took, as the server's record has it."""
        self._late: tuple[Lateness, ...] = ()
        self._queued: tuple[OwnQueue, ...] = ()
        self._clock = PeerClock()
        self._segments: dict[str, int] = {"sent": 0, "again": 0}
        self.no_capture = ""
        """Why its capture could not be had though it has one; empty: nothing stands against it."""
        self.programs: dict[tuple[Transport, int], str] = {}
        """Names of the programs that have ports there, as far as it sees them."""
        self.no_keys: dict[str, str] = {}
        """By protocol: why the keys that were handed over for it are of no use there."""

    @property
    def rtt_s(self) -> float:
        return self.channel.rtt_s or 0.05

    @property
    def answers_in_s(self) -> float:
        return max(1.5 * (self.channel.times.smoothed_s or self.rtt_s), self.channel.times.patience_s)

    def clock(self, began: float) -> tuple[float, float] | None:
        return self._clock.since(began)

    @property
    def seen_as(self) -> str | None:
        """The client's address as the server sees it: of the control channel, or of probes that came from another."""
        return self._seen_as or str(self.about.get("seen_as") or "") or None

    @property
    def opened_before(self) -> dict[Transport, float]:
        """What the server's packets of an earlier run may have opened towards this client, and how many seconds before this one."""
        with readable("hello"):
            return dict(read_opened(row) for row in list_of(self.about.get("opened", []), "opened"))

    def own_addresses(self, target: str) -> dict[Transport, str]:
        """By protocol: the server's own address at which what is sent to `target` comes to it; empty: it did not say.

        It may have several, and be sent to at others by other programs: where one of them is `target`, that is the one.
        """
        told = self._addresses or {Transport.TCP: [str(self.about["address"])] if self.about.get("address") else []}
        return {transport: target if target in own else own[0] for transport, own in told.items() if own}

    @property
    def unknown_checks(self) -> list[str]:
        """Checks that its rows are about and this version does not have: it is newer. Those rows count for nothing."""
        return sorted(self._unknown)

    @property
    def began(self) -> float | None:
        """When it began its record, Unix time by its own clock; None: it did not say."""
        told = self.about.get("began")
        return float(told) if isinstance(told, int | float) and abs(told) < LATEST_S else None

    @property
    def captures(self) -> bool:
        """Whether it sees the wire."""
        return bool(self.about.get("captures"))

    @property
    def no_raw(self) -> str:
        """Why it has no raw sockets; empty: it has."""
        return str(self.about.get("no_raw") or "")

    async def open(
        self, ports: Sequence[WantedPort], keys: Mapping[str, Mapping[str, str]] | None = None
    ) -> dict[tuple[Transport, int], PortState]:
        """Has probe ports opened; who is behind each. `keys`: by protocol, the server's half of the keys of this run."""
        wanted = [[port.transport.value, port.port] for port in ports]
        answer = await self._ask("open", ports=wanted, seconds=PORTS_OPEN_S, keys=keys or {})
        with readable("open"):
            lacking = answer.get("no_keys")
            if not isinstance(lacking, dict):
                raise DecodeError("no_keys", 0, "is no table")
            self.no_keys = {str(name): str(why) for name, why in lacking.items()}
            programs = read_all(answer.get("programs", []), lambda row: ((Transport(row[0]), int(row[1])), str(row[2])[:LONGEST_TEXT]))
            self.programs = dict(programs)
            return dict(read_all(answer.get("ports"), lambda row: ((Transport(row[0]), int(row[1])), PortState(row[2]))))

    async def send(
        self,
        job: Job,
        *,
        count: int,
        spacing_s: float,
        port: int = 0,
        to: Sequence[tuple[str, int]] = (),
        call_id: int = 0,
        key: str = "",
        beside: int | None = None,
        sizes: Sequence[int] = (),
    ) -> None:
        expect_s = count * spacing_s if beside is None else 0.0
        packets = {"job": job.value, "count": count, "spacing_s": spacing_s, "port": port, "to": list(to), "call_id": call_id, "key": key}
        await self._ask("send", expect_s=expect_s, place=0, beside=beside, sizes=list(sizes), **packets)

    async def refresh(self, *, carries: float | None = None, unnamed: Sequence[Unnamed] | None = None) -> EndRecord:
        """`carries`: what the line carries, bytes a second, where it is narrow; None: it is not known to be. `unnamed`: what was taken
        here and the server is to name; None: it is not asked yet what was taken there either.

        Raises CannotRun where the peer is gone.
        """
        began, more = self._now(), True
        asked = None if unnamed is None else [one.digest for one in unnamed[:MOST_ASKED]]
        while more:
            since, refused = len(self._packet_records), len(self._refusals)
            answer = await self._ask("rows", since=since, refused=refused, carries=carries, unnamed=asked)
            with readable("rows"):
                rows = read_known(unpacked(answer.get("rows")), read_packet_record, self._unknown)
                refusals = read_known(answer.get("refusals"), read_refusal, self._unknown)
            # By their numbers, since another request may have fetched the same rows meanwhile.
            self._packet_records[since : since + len(rows)] = rows
            self._refusals[refused : refused + len(refusals)] = refusals
            too_many = len(self._packet_records) > MOST_ROWS or len(self._refusals) > MOST_ROWS
            self._overflowed = self._overflowed or too_many or bool(answer.get("dropped"))
            with readable("rows"):
                self._dropped_on_input = self._checks(answer.get("dropped_on_input", []))
                self._dropped_on_output = self._checks(answer.get("dropped_on_output", []))
                self._late = tuple(read_all(answer.get("late"), read_lateness)[:MOST_TIMES])
                self._queued = tuple(read_all(answer.get("queued", []), read_queue)[:MOST_QUEUES])
            if "taken" in answer:
                with readable("rows"):
                    self._taken, self.named = read_taken_rows(answer, self._unknown)
                asked = None  # Told once, however many answers the rows take.
            with readable("rows"):
                self._addresses = read_addresses(answer.get("addresses", {}))
            self._seen_as = str(answer.get("seen_as") or "") or self._seen_as
            more = bool(answer.get("more")) and bool(rows or refusals) and not too_many
        self.refreshed_at = max(self.refreshed_at, began)
        return self.record()

    def _checks(self, rows: object) -> frozenset[Check]:
        return frozenset(check for check in read_known(rows, read_check, self._unknown) if check is not None)

    def record(self) -> EndRecord:
        """The server's record as far as it is known here."""
        # What the server says of the client's own packets is not its to say.
        return EndRecord(
            tuple(one for one in self._packet_records if one is not None and one.vantage is Vantage.SERVER),
            tuple(refusal for refusal in self._refusals if refusal is not None),
            recorded=not self._overflowed,
            sees_closed_ports=self.captures,
            dropped_on_input=self._dropped_on_input,
            dropped_on_output=self._dropped_on_output,
            sees_raw=not self.no_raw,
            late=self._late,
            queued=self._queued,
            taken=self._taken,
        )

    async def own_firewall(self, kept: Sequence[Kept]) -> Mends:
        """What lets through what the firewall of the server's host keeps. An agent that cannot tell says nothing."""
        try:
            answer = await self._ask("firewall", kept=[kept_row(one) for one in kept], expect_s=FIREWALL_S)
        except CannotRun as error:
            if error.status is ExitStatus.NO_PEER:
                raise
            return Mends()
        with readable("firewall"):
            return read_mends(kept, answer.get("manager"), answer.get("commands"))

    @property
    def control_ports(self) -> tuple[int, int] | None:
        return self.channel.ports

    async def trace(
        self, passing: Check, suspects: Sequence[Suspect], *, highest_ttl: int, loss: Background, starved: bool
    ) -> list[TtlTrace]:
        answer = await self._ask(
            "trace",
            passing=check_row(passing),
            suspects=[[check_row(suspect.check), [list(one) for one in suspect.lost]] for suspect in suspects[:MOST_SUSPECTS]],
            sizes=[suspect.outer_bytes for suspect in suspects[:MOST_SUSPECTS]],
            highest_ttl=highest_ttl,
            patience_s=1.5 * self.rtt_s + 0.03,
            loss=[loss.lost, loss.passed],
            starved=starved,
            expect_s=LONGEST_BLANK_S,
        )
        with readable("trace"):
            return read_all(answer.get("traces"), read_trace)

    async def capture(self, client_ports: Iterable[tuple[Transport, int]] | None, own: Sequence[Packet], *, note: str = "") -> bytes | None:
        """The server's capture as a pcap file; None: it may not capture, or it could not be had in time.

        `client_ports`: those that the probes used, by which the server tells them from other traffic; None: a NAT changes them.
        `own`: the client's capture, which holds most of what the server's does. `note`: what the file says besides.
        """
        ports = None if client_ports is None else [(transport.value, port) for transport, port in client_ports]
        request = CaptureRequest(partial(self._ask, expect_s=CAPTURE_PATIENCE_S + 20 * self.rtt_s), self._now)
        packets = await request.run(ports, own)
        if packets is None and request.too_slow:
            self.no_capture = "the path is too slow to hand it over"
        return encode_pcap(packets, note=note) if packets is not None else None

    async def bye(self) -> None:
        await self._ask("bye")

    def background(self) -> dict[Direction, Background]:
        """Loss of the control channel's segments: ours by our own count, the server's by its."""
        sent, again = self.channel.segments()
        theirs = self._segments
        return {
            Direction.C2S: Background(again, max(0, sent - again)),
            Direction.S2C: Background(theirs["again"], max(0, theirs["sent"] - theirs["again"])),
        }

    async def ping(self, padding: str = "") -> None:
        """Asks for nothing. `padding`: what makes request and answer longer."""
        await (self._ask("ping", padding=padding) if padding else self._ask("ping"))

    def prepare_handover(self) -> None:
        """Opens more connections where the path loses so much that a single one would be long over a capture.

        Not where the line is narrow: each takes a handshake, and a queue of our own makes TCP repeat what was not lost.
        """
        if self.lossy and self.channel.wide:
            self.channel.widen(CONNECTIONS_OF_HANDOVER)

    @property
    def lossy(self) -> bool:
        """Whether the path loses so much that a single connection waits most of the time."""
        return self.channel.lossy

    @property
    def sent_again(self) -> tuple[int, int]:
        """Segments that either end had to send again, as far as it is known."""
        return self.channel.segments()[1], self._segments["again"]

    async def pace(self, bytes_per_s: float) -> None:
        """Tells the server agent how fast it may send by itself."""
        await self._ask("pace", bytes_per_s=round(bytes_per_s))

    async def _ask(self, kind: str, *, expect_s: float = 0.0, place: int = 0, **arguments: object) -> Message:
        asked = self._now()
        answer = await self.channel.request(kind, expect_s=expect_s, place=place, **arguments)
        self._clock.told(asked, self._now(), answer.get("at"))
        sent, again = segments_told(answer)
        if sent > self._segments["sent"]:
            self._segments = {"sent": sent, "again": again}
        return answer


def known_at_first(peer: RemotePeer | None, *, client_address: str, server_address: str) -> PathFacts:
    """What is known of the path once the peer has said what it is, or is not there."""
    facts = PathFacts(client_address=client_address, server_address=server_address)
    if peer is None:
        return facts
    own = peer.own_addresses(server_address)
    return replace(facts, client_seen_as=peer.seen_as, server_own_addresses=own, opened_before=peer.opened_before)


def hello(session: str, tag: int) -> dict[str, object]:
    """The first message of a connection."""
    return {"number": 0, "ask": "hello", "version": VERSION, "session": session, "tag": tag}


def about_server(peer: RemotePeer | None, address: Address) -> dict[str, Any]:
    """What a result says of the server's end; `peer`: None where there is no agent."""
    if peer is None:
        return {"address": str(address)}
    told = {name: peer.about[name] for name in ("version", "platform", "capabilities", "no_raw", "seen_as") if peer.about.get(name)}
    lack = peer.no_capture or ("" if peer.captures else str(peer.about.get("no_raw") or "the server agent may not capture"))
    capture = f"none: {lack}" if lack else "server.pcap"
    unknown = {"unknown_checks": peer.unknown_checks} if peer.unknown_checks else {}
    return {"address": str(address), "rtt_ms": round(1000 * peer.rtt_s, 3), "capture": capture, **told, **unknown}
