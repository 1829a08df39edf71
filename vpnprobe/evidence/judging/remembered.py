"""What judgements of one run have worked out so far, each with the records that it rests on.

While a run lasts it is judged again and again, each time with a few records more: what rests on the same records as before is the same.
"""

from dataclasses import dataclass, field

from vpnprobe.evidence.comparison import Compared, of_controls
from vpnprobe.evidence.packet_counts import CountedRecords
from vpnprobe.evidence.packet_records import Check, PacketRecord
from vpnprobe.evidence.records import EndRecord

Rows = tuple[tuple[PacketRecord, ...], float]
"""Of one end, and how far its clock is ahead."""


@dataclass(slots=True)
class Remembered:
    """Of one run, at one end."""

    counts: dict[Check, CountedRecords] = field(default_factory=dict)
    _compared: tuple[tuple[Rows, Rows], Compared] | None = None

    def compared(self, client: EndRecord, server: EndRecord) -> Compared:
        """`Compared.of`; what it came to is to be left alone."""
        client, server = of_controls(client), of_controls(server)
        rows = (client.packet_records, client.ahead_s), (server.packet_records, server.ahead_s)
        if self._compared is None or self._compared[0] != rows:
            self._compared = rows, Compared.of(client, server)
        return self._compared[1]
