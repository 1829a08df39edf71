"""What this process may do to bring a tunnel up, by its capabilities (capabilities(7)) and by opening the device that makes tunnels."""

import os
import re
from pathlib import Path
from typing import Final

NEEDED: Final = 1 << 12 | 1 << 13
"""CAP_NET_ADMIN and CAP_NET_RAW."""
TUN: Final = Path("/dev/net/tun")


def lacks_privilege(status: Path = Path("/proc/self/status")) -> bool:
    """Whether devices, routes or captures are forbidden."""
    try:
        found = re.search(r"^CapEff:\s*([0-9a-f]+)", status.read_text(), re.MULTILINE)
    except OSError:
        return os.geteuid() != 0
    return (int(found[1], 16) if found else 0) & NEEDED != NEEDED


def lacks_tun(device: Path = TUN) -> bool:
    """Whether there is no such device, or it may not be opened."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return True
    return False
