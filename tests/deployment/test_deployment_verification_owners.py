"""Which process sent a packet: this one, of sockets that it has open."""

import os
import socket
import sys

import pytest

from vpnprobe.deployment.verification.owners import NOBODY, owner_of
from vpnprobe.deployment.verification.traffic import Judged, Kind
from vpnprobe.wire.ip import IpProtocol

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="proc(5) is Linux's")


@pytest.mark.parametrize(("kind", "protocol"), [(socket.SOCK_DGRAM, IpProtocol.UDP), (socket.SOCK_STREAM, IpProtocol.TCP)])
def test_a_socket_has_its_process(kind: int, protocol: IpProtocol) -> None:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        found = owner_of(Judged(Kind.LEAK, protocol=protocol, source_port=sock.getsockname()[1], port=53))
    assert (found.pid, found.is_this) == (os.getpid(), True)
    assert str(found).endswith(f"({os.getpid()})")


def test_what_cannot_be_told() -> None:
    assert owner_of(Judged(Kind.LEAK, protocol=IpProtocol.UDP, source_port=1, port=53)) == NOBODY
    assert owner_of(Judged(Kind.LEAK, protocol=IpProtocol.ICMP)) == NOBODY
    assert str(NOBODY) == ""
