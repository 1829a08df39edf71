"""The calls in GRE (RFC 2637) between two hosts: how far their LCP came, which Call IDs they carry, what is proved to have come.

A packet that acknowledges a sequence number proves that the packet with it came; an answer of LCP proves it of the request with its
Identifier. Both prove it wherever the capture was taken.
"""

from collections import Counter
from typing import Final

from vpnprobe.capture.account import FRAMES_TOLD, Fact
from vpnprobe.capture.followers.flows import HostPort
from vpnprobe.conversations.contract import Sender
from vpnprobe.conversations.lcp import PEER_STATES, LcpTracker, State
from vpnprobe.errors import DecodeError
from vpnprobe.wire.gre import EnhancedGre
from vpnprobe.wire.ppp import PROTOCOL_LCP, ConfigureAck, ConfigureNak, ConfigureReject, ConfigureRequest, PppFrame

CALLS_LIMIT: Final = 1000
"""Most calls between two hosts whose LCP is followed."""
WAITING_LIMIT: Final = 10_000
"""Most packets of one direction whose receipt is waited for."""
ANSWER_CODES: Final = frozenset((ConfigureAck.CODE, ConfigureNak.CODE, ConfigureReject.CODE))
DEAF_LEAST: Final = 3
"""Requests of LCP that an end answers none of, from which on it is held not to get them."""


class Call:
    """The LCP of one call. Each direction carries the Call ID of the end that it goes to."""

    def __init__(self, first: HostPort) -> None:
        self.senders: set[HostPort] = set()
        """The ends whose packets of this call were seen."""
        self._initiator = first
        self._tracker = LcpTracker(kept_steps=0)

    def take(self, sender: HostPort, payload: bytes, at: float) -> None:
        self._tracker.saw_frame(Sender.INITIATOR if sender == self._initiator else Sender.RESPONDER, payload, now=at)

    def state(self, client: HostPort) -> State:
        """How far it came, seen from the client."""
        state = self._tracker.state
        return state if client == self._initiator else PEER_STATES.get(state, state)


class Calls:
    """The calls between two hosts, one after another or at the same time."""

    def __init__(self) -> None:
        self._by_call_id: dict[tuple[HostPort, int], Call] = {}
        """By the sender and the Call ID that its packets carry."""
        self._calls: list[Call] = []

    def take(self, sender: HostPort, call_id: int, payload: bytes, at: float) -> None:
        call = self._by_call_id.get((sender, call_id))
        if call is None:
            if len(self._calls) >= CALLS_LIMIT:
                return
            call = next((known for known in reversed(self._calls) if sender not in known.senders), None)
            if call is None:
                call = Call(sender)
                self._calls.append(call)
            call.senders.add(sender)
            self._by_call_id[sender, call_id] = call
        call.take(sender, payload, at)

    def furthest(self, client: HostPort) -> State:
        """How far the LCP of any of them came, seen from the client."""
        order = list(State)
        return max((call.state(client) for call in self._calls), key=order.index)


class Receipts:
    """What is proved to have come, of packets in calls between two hosts."""

    def __init__(self) -> None:
        self._numbered: dict[tuple[HostPort, int], int] = {}
        """Frames by sender and sequence number."""
        self._asked: dict[tuple[HostPort, int], list[int]] = {}
        """Frames of Configure-Requests by sender and Identifier."""
        self.proved: dict[int, HostPort] = {}
        """By frame: its sender."""
        self.requests: Counter[HostPort] = Counter()
        self.answers: Counter[HostPort] = Counter()
        """Answers to the other end's requests, by who answers."""
        self.frames: dict[HostPort, list[int]] = {}
        """The last frames of each end's requests."""
        self.call_ids: dict[HostPort, dict[int, int]] = {}
        """By sender: the Call IDs that its packets carry, with the first frame of each."""

    def take(self, number: int, sender: HostPort, other: HostPort, packet: EnhancedGre) -> None:
        """`number`: of the frame. `other`: whom it goes to."""
        carried = self.call_ids.setdefault(sender, {})
        if len(carried) < CALLS_LIMIT:
            carried.setdefault(packet.call_id, number)
        acknowledged = packet.acknowledgment_number
        if acknowledged:  # Some clients acknowledge 0 before anything has come.
            self._prove(self._numbered.get((other, acknowledged)), other)
        if packet.sequence_number is None:
            return
        if len(self._numbered) < WAITING_LIMIT:
            self._numbered.setdefault((sender, packet.sequence_number), number)
        code, identifier = _configure(packet)
        if code == ConfigureRequest.CODE:
            self.requests[sender] += 1
            self.frames[sender] = [*self.frames.get(sender, []), number][-FRAMES_TOLD:]
            self._asked[sender, identifier] = [*self._asked.get((sender, identifier), []), number][-FRAMES_TOLD:]
        elif code in ANSWER_CODES:
            self.answers[sender] += 1
            asked = self._asked.get((other, identifier))
            # Of copies the last before the answer: an earlier one would have been answered earlier.
            self._prove(asked[-1] if asked else None, other)

    def _prove(self, number: int | None, sender: HostPort) -> None:
        if number is not None:
            self.proved[number] = sender

    def facts(self, client: HostPort, server: HostPort, state: State) -> list[Fact]:
        """Why LCP did not open; empty: it did, or nothing shows it."""
        if state is State.OPENED:
            return []
        names = {client: "client", server: "server"}
        for end, other in ((client, server), (server, client)):
            acknowledged = sum(sender == other for sender in self.proved.values())
            if self.requests[other] >= DEAF_LEAST and not self.answers[end]:
                # It speaks and answers nothing; that what it sends is answered shows that the other way passes.
                words = {"by": names[end], "to": names[other], "times": self.requests[other], "acknowledged": acknowledged}
                heard = self.requests[end] and self.answers[other]
                silent = not self.requests[end]
                fact = "lcp-deaf" if heard else "lcp-silent" if silent else "lcp-unanswered"
                return [{"fact": fact, **words, "frames": self.frames.get(other, [])}]
        if self.requests:
            return [{"fact": "lcp-not-opened", "state": state.value, "times": sum(self.requests.values()), "frames": []}]
        return []


def _configure(packet: EnhancedGre) -> tuple[int, int]:
    """Code and Identifier of the LCP packet in it, of which more need not be there (RFC 1661 section 5); zeros: there is none."""
    try:
        frame = PppFrame.decode(packet.payload)
    except DecodeError:
        return 0, 0
    of_lcp = frame.protocol == PROTOCOL_LCP and len(frame.information) >= 2
    return (frame.information[0], frame.information[1]) if of_lcp else (0, 0)
