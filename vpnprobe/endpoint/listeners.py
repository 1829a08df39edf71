"""Whether a program of this machine listens at an address: by reading /proc/net, without a connection, which could do something there.

Names but `localhost` are not looked up, since that would ask the network. Sockets of other network namespaces do not show.
"""

import os
import socket
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

from vpnprobe.endpoint.processes import read_file

MOST_BYTES: Final = 1 << 22
"""Of one table; of TCP's, those that listen come first."""
LISTEN: Final = "0A"
"""proc_pid_net(5), TCP_LISTEN of the kernel."""
ACCEPTS: Final = 0x10000
"""__SO_ACCEPTCON among the flags of a unix socket."""
LOCALHOST: Final = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
Address = IPv4Address | IPv6Address


def listens_tcp(host: str, port: int, *, proc: Path) -> bool:
    """Whether a TCP port of an address of this machine is listened at; False for an address of another."""
    return any(number == port and _takes(listener, host) for listener, number in _tcp(proc))


def listens_unix(path: str, folder: Path, *, proc: Path) -> bool:
    """Whether a unix socket is listened at; a relative path is taken as it stands, or as one of `folder`."""
    wanted = {os.path.realpath(folder / path)}
    name = os.path.basename(path)
    return any(found == path or (os.path.basename(found) == name and os.path.realpath(found) in wanted) for found in _unix(proc))


def _takes(listener: Address, host: str) -> bool:
    wanted = LOCALHOST if host == "localhost" else _addresses(host)
    # A socket of :: may take IPv4 too: what is not shown is taken for it.
    return any(listener == one or (listener.is_unspecified and listener.version >= one.version and _is_own(one)) for one in wanted)


def _addresses(host: str) -> tuple[Address, ...]:
    try:
        return (ip_address(host),)
    except ValueError:
        return ()


def _is_own(address: Address) -> bool:
    """Whether a socket can be bound to it; nothing is sent."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((str(address), 0))
    except OSError:
        return False
    return True


def _tcp(proc: Path) -> Iterator[tuple[Address, int]]:
    for table in ("tcp", "tcp6"):
        for line in _lines(proc / "net" / table):
            fields = line.split()
            if len(fields) > 3 and fields[3] == LISTEN:
                address, _, port = fields[1].partition(":")
                yield _decoded(address), int(port, 16)


def _decoded(digits: str) -> Address:
    """Words of 32 bits in the machine's own byte order."""
    words = (int(digits[at : at + 8], 16) for at in range(0, len(digits), 8))
    address = ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _unix(proc: Path) -> Iterator[str]:
    """Paths as they were bound; abstract names begin with @."""
    for line in _lines(proc / "net/unix"):
        fields = line.split(None, 7)
        if len(fields) > 7 and int(fields[3], 16) & ACCEPTS:
            yield fields[7]


def _lines(path: Path) -> list[str]:
    """Without the head; what the bound cuts off is left out."""
    return os.fsdecode(read_file(path, MOST_BYTES) or b"").rpartition("\n")[0].split("\n")[1:]
