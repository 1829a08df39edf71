"""One nmap scan through python-nmap, in a process of its own: a request as JSON on standard input, the answer on standard output.

Run as `python -m vpnprobe.transports.nmap_helper`; nothing of vpnprobe is imported and nothing here is imported by vpnprobe, so that the
licences of nmap and python-nmap stay on their side of a pipe. The request's host must be an IP address already.
"""

import json
import os
import sys
from ipaddress import ip_address


def arguments_for(version: int, *, tcp: bool, udp: bool, privileged: bool) -> str:
    """nmap's options: no name lookups, no host discovery, and what this user may do."""
    # -vvv: otherwise more than 25 ports in one state are left out of the list.
    options = ["-n", "-Pn", "-T4", "--max-retries", "2", "-vvv"]
    if version == 6:
        options.append("-6")
    if tcp:
        options.append("-sS" if privileged else "-sT")
    if udp:
        options.append("-sU")
    return " ".join(options)


def scan(request: dict[str, object]) -> dict[str, object]:
    """The answer: `ports`, or `missing` (no nmap here), or `error`."""
    try:
        import nmap
    except ImportError:
        return {"missing": "python-nmap"}
    try:
        scanner = nmap.PortScanner()
    except nmap.PortScannerError:
        return {"missing": "nmap"}
    host = ip_address(str(request["host"]))
    privileged = os.geteuid() == 0
    tcp, udp = _ports(request["tcp"]), _ports(request["udp"]) if privileged else []
    if not tcp and not udp:
        return {"ports": []}
    chosen = ",".join([*(f"T:{port}" for port in tcp), *(f"U:{port}" for port in udp)])
    options = arguments_for(host.version, tcp=bool(tcp), udp=bool(udp), privileged=privileged)
    try:
        result = scanner.scan(hosts=str(host), ports=chosen, arguments=options)
    except nmap.PortScannerError as exc:
        return {"error": str(exc)}
    found: dict[str, dict[int, dict[str, str]]] = next(iter(result.get("scan", {}).values()), {})
    return {
        "ports": [
            {"transport": transport, "port": int(port), "state": str(entry["state"]), "reason": str(entry["reason"])}
            for transport in ("tcp", "udp")
            for port, entry in sorted(found.get(transport, {}).items())
        ]
    }


def _ports(value: object) -> list[int]:
    """Raises ValueError for what is no list of port numbers."""
    if not isinstance(value, list) or not all(isinstance(port, int) and 0 < port < 65536 for port in value):
        raise ValueError("ports must be numbers from 1 to 65535")
    return value


def main() -> int:
    request = json.load(sys.stdin)
    json.dump(scan(request), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
