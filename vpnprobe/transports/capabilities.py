"""What this process may do on this host, found by trying, and the one command that mends each lack.

Trying, since the user's number says little: root in a container may lack CAP_NET_RAW, and anybody may be given it.
"""

import errno
import os
import shlex
import socket
import sys
from typing import Final, assert_never

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.transports.stack import Capability

_LOW_PORT: Final = 1
"""tcpmux (RFC 1078): nobody uses it, so trying it disturbs nobody."""
_GRE: Final = 47


def may_open_raw() -> bool:
    """Whether raw IP sockets can be opened. Only Linux counts: elsewhere headers and TTLs behave in other ways."""
    if sys.platform != "linux":
        return False
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, _GRE).close()
    except OSError:
        return False
    return True


def may_capture() -> bool:
    """Whether packet sockets can be opened: Linux with CAP_NET_RAW."""
    if sys.platform != "linux":
        return False
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0).close()
    except OSError:
        return False
    return True


def may_use_low_ports() -> bool:
    """Whether ports below 1024 can be bound; a port that is in use says yes."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        try:
            sock.bind(("127.0.0.1", _LOW_PORT))
        except OSError as exc:
            return exc.errno == errno.EADDRINUSE
    return True


def found() -> frozenset[Capability]:
    """What this process has."""
    tests = {Capability.RAW_IP: may_open_raw, Capability.CAPTURE: may_capture, Capability.LOW_PORTS: may_use_low_ports}
    return frozenset(capability for capability, test in tests.items() if test())


def mend(capability: Capability) -> str:
    """The one command that gives it; where no command can, what to do instead."""
    if sys.platform != "linux":
        return "run vpnprobe on Linux" if capability is not Capability.LOW_PORTS else "run vpnprobe with sudo"
    if os.geteuid() == 0:
        # Root without the capability: a container that was started without it. No command inside can give it.
        return f"start the container with --cap-add={_kernel_name(capability).upper()}"
    python = os.path.realpath(sys.executable)
    return f"sudo setcap cap_net_raw,cap_net_bind_service+ep {shlex.quote(python)}"


def _kernel_name(capability: Capability) -> str:
    match capability:
        case Capability.RAW_IP | Capability.CAPTURE:
            return "net_raw"
        case Capability.LOW_PORTS:
            return "net_bind_service"
        case _:
            assert_never(capability)


def lacking(capability: Capability) -> CannotRun:
    """The error to raise for a capability that is missing: one line with the mend."""
    match capability:
        case Capability.RAW_IP:
            what = "raw IP sockets may not be opened here"
        case Capability.CAPTURE:
            what = "packets may not be captured here"
        case Capability.LOW_PORTS:
            what = "ports below 1024 may not be opened here"
        case _:
            assert_never(capability)
    return CannotRun(f"{what}: run it with sudo, or: {mend(capability)}", status=ExitStatus.MISSING)
