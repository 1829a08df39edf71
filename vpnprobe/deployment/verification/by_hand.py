"""What to do by hand where a tunnel cannot be proved from here: the same questions, with the programs that other systems have."""

from typing import Final

from vpnprobe.profiles.model import Profile

LINES: Final = (
    "1. Write down the routes (`netstat -rn`) and the resolver (Windows: `ipconfig /all`; macOS: `scutil --dns`) before the tunnel is up.",
    "2. Bring the tunnel up with {file} (OpenVPN GUI, Tunnelblick, OpenVPN Connect), and ping the server's address inside it.",
    "3. Watch the physical device while you browse: `tcpdump -n -i DEVICE 'not host {server} and not arp'` (Windows: Wireshark).",
    "   With a full tunnel nothing but neighbour discovery, DHCP and the local network may appear there.",
    "4. Ask for a name (`nslookup example.com`) and see that no packet to port 53 appears there; the same over IPv6 (`ping -6`).",
    "5. Send full-sized packets: `ping -f -l 1472 ADDRESS` (Windows), `ping -D -s 1472 ADDRESS` (macOS), to the server inside the tunnel.",
    "6. Take the tunnel down, and compare routes and resolver with what you wrote down.",
)


def by_hand(profile: Profile) -> list[str]:
    """The steps, with the profile's own names in them."""
    return [line.format(file=profile.file, server=profile.remotes[0].host) for line in LINES]
