"""Connection attempts of both ends under one key, whatever a NAT makes of their ports.

A socket knows an attempt by the client's port alone, and so live records are keyed (`port_key`); a NAT may change the port. An end that
sees the wire also notes the initial sequence number of each SYN, which no NAT changes, in the record's detail (`SEQUENCE`). Before
anything is counted the server's records of attempts are put under the keys that the client has for the same sequence numbers. Pure.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from vpnprobe.evidence.packet_records import Check, Movement, PacketRecord
from vpnprobe.evidence.records import EndRecord, PathFacts
from vpnprobe.wire import fingerprint

SEQUENCE: Final = "initial_sequence"
"""Name in a packet record's detail: the initial sequence number of the attempt, 0 to 2**32 - 1; absent where the wire was not seen."""
SYN: Final = "SYN"
SYN_ACK: Final = "SYN-ACK"
_MESSAGES: Final = frozenset({SYN, SYN_ACK})
_PORT: Final = "port-"

Slot = tuple[Check, str]
"""An attempt as one end names it."""


def port_key(port: int) -> str:
    """The key of an attempt at an end that knows the client's port alone."""
    return f"{_PORT}{port}"


def is_port_key(key: str) -> bool:
    """Whether it names an attempt by the client's port."""
    return key.startswith(_PORT)


def under_clients_keys(client: EndRecord, server: EndRecord) -> EndRecord:
    """The server's record with each attempt under the key that the client has for it.

    Where the client has the sequence numbers of all its attempts, and some are seen to survive the path, they decide: an attempt whose
    number the client does not have is another's, though its port be the same. Otherwise (an end does not see the wire, or a firewall draws
    numbers anew) what has no number that both ends know stays under its port.
    """
    ours = tuple(_attempts(client.packet_records))
    of_client = {(s.check, s.detail[SEQUENCE]): s.key for s in ours if SEQUENCE in s.detail}
    seen = _sequences(server.packet_records)
    if not of_client or not seen:
        return server
    numbered = {(check, key) for (check, _), key in of_client.items()}
    unnumbered = {s.check for s in ours if (s.check, s.key) not in numbered}
    survive = any((check, number) in of_client for (check, _), times in seen.items() for _, number in times)
    renamed = tuple(
        _renamed(s, seen, of_client, unnumbered, survive=survive) if s.message in _MESSAGES else s for s in server.packet_records
    )
    return replace(server, packet_records=renamed)


def _renamed(
    packet_record: PacketRecord,
    seen: Mapping[Slot, list[tuple[float, int]]],
    of_client: Mapping[tuple[Check, int | str], str],
    unnumbered: set[Check],
    *,
    survive: bool,
) -> PacketRecord:
    times = seen.get((packet_record.check, packet_record.key))
    if times is None:
        return packet_record
    # A socket that was accepted has no sequence number: that of the SYN from the same port, the nearest in time.
    _, number = times[0] if len(times) == 1 else min(times, key=lambda time: abs(time[0] - packet_record.at))
    key = of_client.get((packet_record.check, number))
    if key == packet_record.key or (key is None and (not survive or packet_record.check in unnumbered)):
        return packet_record
    return replace(packet_record, key=key or fingerprint.attempt(number))


def unattributed(check: Check, client: EndRecord, server: EndRecord, facts: PathFacts) -> bool:
    """Whether SYNs came to the server of which nobody can say whether they are the client's.

    Behind a NAT a port says nothing, and these have no sequence number that both ends know. `server`: under the client's keys.
    """
    if facts.nat is False:
        return False
    ours = {s.key for s in _attempts(client.packet_records) if s.check == check and s.movement is Movement.SENT}
    came = (s for s in _attempts(server.packet_records) if s.check == check and s.movement is Movement.RECEIVED)
    return any(is_port_key(s.key) and s.key not in ours for s in came)


def _attempts(packet_records: Iterable[PacketRecord]) -> Iterable[PacketRecord]:
    return (s for s in packet_records if s.message in _MESSAGES)


def _sequences(packet_records: Iterable[PacketRecord]) -> dict[Slot, list[tuple[float, int]]]:
    """When this end saw which sequence number, by attempt as it names it."""
    seen: dict[Slot, list[tuple[float, int]]] = defaultdict(list)
    for s in _attempts(packet_records):
        if isinstance(number := s.detail.get(SEQUENCE), int):
            seen[s.check, s.key].append((s.at, number))
    return dict(seen)
