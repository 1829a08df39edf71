"""One host's network stack on the operating system: asyncio and the standard library's sockets.

stack.py          SystemStack, which joins the rest to the interface in `vpnprobe.transports.stack`
addresses.py      endpoints to and from the socket module's tuples
datagrams.py      what UDP and raw sockets share: TTLs, source addresses, ICMP errors
sockets.py        UDP ports over both address families
streams.py        TCP: connecting, listening, byte streams (TLS rides on them too)
raw.py            raw IP sockets and whole packets
packet_socket.py  packets on the wire (AF_PACKET)
capturing.py      those of one peer
watching.py       whatever leaves this host, device by device
routing.py        which way a packet would take, as the kernel says (rtnetlink)
own_firewall.py   what lets through what this host's own firewall keeps
holders.py        which program has a port
linux.py          numbers of the Linux socket interface that the socket module does not name

Everything works on Linux; on other systems with BSD sockets UDP and TCP work, raw IP and capture are missing capabilities.
"""

from vpnprobe.transports.system.stack import SystemStack

__all__ = ["SystemStack"]
