"""How soon data flows through a WireGuard tunnel, beside wireguard-go as client of the same server, wireguard-go too. Root.

Time is from the first initiation to the first data message that comes back, both read from captures at the client. Either end's first data
message carries an echo request, which it has before its handshake ends, and the server's kernel answers it: wireguard-go's is its own
kernel's ping, which has it begin. The two connect in turn with the same keys, each a fresh process.
"""

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from ipaddress import IPv4Address
from pathlib import Path

from tunnel_timing import PATIENCE_S, capturing, frames_of, ping_until_answered

from vpnprobe.conversations.wireguard_ends import Initiator
from vpnprobe.endpoint.driver import GoalBy
from vpnprobe.endpoint.recorder import Recorder
from vpnprobe.endpoint.sending import Nonces
from vpnprobe.evidence.checks import wireguard_handshake
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.wireguard_peers import PeerConfig, wireguard_peer
from vpnprobe.probes.context import ProbeContext, Settings
from vpnprobe.probes.conversing import over_udp
from vpnprobe.transports.system import SystemStack
from vpnprobe.transports.topology import CLIENT, Topology
from vpnprobe.wire.wireguard import PORT, HandshakeInitiation, TransportData, decode_wireguard
from vpnprobe.wire.wireguard_noise import Identity, public_key

RUNS = 15
CLIENT_PORT = 51821
CLIENT_TUNNEL, SERVER_TUNNEL = IPv4Address("10.95.0.2"), IPv4Address("10.95.0.1")
PING_EVERY_S = 1.0
"""Packets wait for the handshake: one is enough."""
FLOOR_RATIO = 2.0


def connect_ms(file: Path) -> float:
    """From the first initiation to the first data message of a session that the client began."""
    begun: dict[int, float] = {}
    for frame in frames_of(file):
        message = decode_wireguard(frame.udp.payload) if frame.udp is not None else None
        if isinstance(message, HandshakeInitiation) and frame.ports[1] == PORT:
            begun[message.sender_index] = frame.at
        if isinstance(message, TransportData) and frame.ports[0] == PORT and message.receiver_index in begun:
            return 1000 * (frame.at - min(begun.values()))
    raise SystemExit(f"no data came back: {file.name}")


async def session(address: IPv4Address, identity: Identity) -> None:
    """Our end, until data came back: over the probe's own socket, driver and recorder."""
    stack = SystemStack()
    context = ProbeContext(stack, address, Settings((PORT,)), Recorder(stack, Vantage.CLIENT), Nonces(stack, 1), None, None)
    initiator = Initiator(
        identity,
        index=stack.entropy(4),
        entropy=stack.entropy,
        unix_time_at_zero=stack.unix_time() - stack.now(),
        tunnel=(CLIENT_TUNNEL, SERVER_TUNNEL),
    )
    deadline = stack.now() + PATIENCE_S
    await over_udp(context, initiator, wireguard_handshake(PORT), until=lambda driver: GoalBy(driver, "data", deadline))
    context.close()


def ours(lab: Lab, identity: Identity, folder: Path) -> float:
    file = folder / "ours.pcap"
    keys = b"".join((identity.private, identity.peer, identity.preshared)).hex()
    command = [*lab.exec_prefix(CLIENT), sys.executable, __file__, str(lab.topology.server_address)]
    with capturing(lab, PORT, file):
        subprocess.run(command, input=keys, text=True, check=True)
    return connect_ms(file)


def theirs(lab: Lab, config: PeerConfig, folder: Path) -> float:
    """wireguard-go; its kernel pings the server through the tunnel once it is up."""
    file = folder / "theirs.pcap"
    with capturing(lab, PORT, file), wireguard_peer(lab, config, host=CLIENT):
        ping_until_answered(lab, SERVER_TUNNEL, every_s=PING_EVERY_S)
    return connect_ms(file)


def told(times_ms: tuple[float, ...]) -> str:
    return f"{statistics.median(times_ms):.2f} ms ({min(times_ms):.2f} to {max(times_ms):.2f})"


def main() -> None:
    if lacking := [name for name in ("wireguard-go", "wg", "tcpdump") if shutil.which(name) is None]:
        print(f"wireguard_connect: needs {' and '.join(lacking)}: skipped")
        return
    client_key, server_key, preshared = (os.urandom(32) for _ in range(3))
    identity = Identity(client_key, public_key(server_key), preshared)
    server = PeerConfig(server_key, public_key(client_key), SERVER_TUNNEL, CLIENT_TUNNEL, PORT, preshared)
    with Lab(Topology(routers=3), f"vpbench-{os.getpid()}") as lab, tempfile.TemporaryDirectory() as name:
        endpoint = f"{lab.topology.server_address}:{PORT}"
        client = PeerConfig(client_key, identity.peer, CLIENT_TUNNEL, SERVER_TUNNEL, CLIENT_PORT, preshared, endpoint)
        with wireguard_peer(lab, server):
            runs = [(ours(lab, identity, Path(name)), theirs(lab, client, Path(name))) for _ in range(RUNS)]
    own, real = zip(*runs, strict=True)
    ratio = statistics.median(own) / statistics.median(real)
    print(
        f"WireGuard: first data back after {told(own)}, wireguard-go's after {told(real)}, ratio {ratio:.2f} "
        f"(medians of {RUNS}, least and most; at most {FLOOR_RATIO:g})"
    )


if __name__ == "__main__":
    if sys.argv[1:]:
        key = bytes.fromhex(sys.stdin.read())
        asyncio.run(session(IPv4Address(sys.argv[1]), Identity(key[:32], key[32:64], key[64:])))
    else:
        main()
