"""Which process sent a packet, as far as it shows: its socket by its ports, in /proc of this network namespace (Linux, proc(5)).

A socket that is gone when it is looked for, or that belongs to a process that does not show to this user, is not told.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vpnprobe.deployment.verification.traffic import Judged
from vpnprobe.wire.ip import IpProtocol

TABLES: Final = {int(IpProtocol.TCP): "tcp", int(IpProtocol.UDP): "udp", int(IpProtocol.ICMP): "icmp", int(IpProtocol.ICMPV6): "icmp"}
SEARCH_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Owner:
    """A process."""

    pid: int
    """0: it could not be told."""
    name: str = ""

    @property
    def is_this(self) -> bool:
        """Whether it is this very program."""
        return self.pid == os.getpid()

    def __str__(self) -> str:
        return f"{self.name} ({self.pid})" if self.pid else ""


NOBODY: Final = Owner(0)


def owner_of(packet: Judged, *, proc: Path = Path("/proc")) -> Owner:
    """NOBODY where it cannot be told. Of raw sockets, which have no ports, those of this program do not count."""
    local = packet.source_port if packet.source_port is not None else packet.identifier
    table = TABLES.get(packet.protocol)
    if table is not None and local is not None and (inodes := set(_listed(proc, table, local))):
        return _holder(inodes, proc)
    if packet.source_port is not None or (table == "icmp" and local is None):
        return NOBODY
    return _holder(set(_listed(proc, "raw", packet.protocol)), proc, but=os.getpid())


def _listed(proc: Path, table: str, port: int) -> Iterator[str]:
    for name in (table, f"{table}6"):
        with suppress(OSError):
            for line in (proc / "self/net" / name).read_text().splitlines()[1:]:
                fields = line.split()
                # "sl local_address rem_address st ... inode": the port is hexadecimal.
                if len(fields) > 9 and int(fields[1].rpartition(":")[2], 16) == port and fields[9] != "0":
                    yield fields[9]


def _holder(inodes: set[str], proc: Path, *, but: int = 0) -> Owner:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    deadline = time.monotonic() + SEARCH_S
    for pid in sorted((int(name) for name in os.listdir(proc) if name.isdigit() and int(name) != but), reverse=True):
        if time.monotonic() > deadline or not wanted:
            break
        with suppress(OSError), os.scandir(proc / str(pid) / "fd") as descriptors:
            for descriptor in descriptors:
                if os.readlink(descriptor.path) in wanted:
                    return Owner(pid, (proc / str(pid) / "comm").read_text().strip())
    return NOBODY
