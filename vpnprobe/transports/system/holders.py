"""Which programs of this host have ports: by /proc (proc(5)), without a packet.

A socket's inode stands in /proc/net and behind a descriptor of whoever holds it. What this user may not see does not show: root sees all,
others their own processes. Sockets of the kernel itself are nobody's, and those of other network namespaces do not show.
"""

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from vpnprobe.transports.stack import LocalPort

MOST_PROCESSES: Final = 1 << 15
MOST_BYTES: Final = 1 << 22
"""Of one table of sockets; of TCP's, those that listen come first."""
LISTEN: Final = "0A"
"""TCP_LISTEN of the kernel, as it stands in the table."""
_SOCKET: Final = re.compile(r"socket:\[(\d+)\]")


def holders(ports: Collection[LocalPort], *, proc: Path = Path("/proc")) -> dict[LocalPort, str]:
    """The name of the program behind each port that a program is seen to have: that listens there, or has it open for UDP."""
    wanted = {inode: port for tcp in (True, False) for port, inode in _inodes(proc, tcp=tcp) if port in ports}
    found: dict[LocalPort, str] = {}
    for process in _processes(proc) if wanted else ():
        if (mine := {wanted[inode] for inode in _sockets(process) if inode in wanted}) and (name := _name(process)):
            found = {**dict.fromkeys(mine, name), **found}
    return found


def _inodes(proc: Path, *, tcp: bool) -> Iterator[tuple[LocalPort, str]]:
    """Ports that are open, with the inodes of their sockets."""
    # Of the thread: it may be in another network namespace than the process that it is of.
    for table in ("tcp", "tcp6") if tcp else ("udp", "udp6"):
        for line in _lines(proc / "thread-self/net" / table):
            fields = line.split()
            if len(fields) > 9 and (not tcp or fields[3] == LISTEN):
                yield LocalPort(int(fields[1].rpartition(":")[2], 16), tcp=tcp), fields[9]


def _lines(table: Path) -> list[str]:
    """Without the head."""
    try:
        with table.open("rb") as file:
            return os.fsdecode(file.read(MOST_BYTES)).split("\n")[1:]
    except OSError:
        return []


def _processes(proc: Path) -> Iterator[Path]:
    try:
        numbers = sorted(int(name) for name in os.listdir(proc) if name.isascii() and name.isdigit())
    except OSError:
        return
    yield from (proc / str(number) for number in numbers[:MOST_PROCESSES])


def _sockets(process: Path) -> Iterator[str]:
    """Inodes of the sockets that a process holds; none where it may not be looked into, or has ended."""
    try:
        descriptors = os.listdir(process / "fd")
    except OSError:
        return
    for descriptor in descriptors:
        try:
            if found := _SOCKET.fullmatch(os.readlink(process / "fd" / descriptor)):
                yield found[1]
        except OSError:
            continue


def _name(process: Path) -> str:
    """Of its program, as the kernel has it (15 characters at most); empty: it has ended."""
    try:
        return os.fsdecode((process / "comm").read_bytes()).rstrip("\n")
    except OSError:
        return ""
