"""Which resolvers the system asks."""

from ipaddress import ip_address
from pathlib import Path

from vpnprobe.deployment.verification.naming import Resolvers, read_resolvers


def test_resolv_conf_is_read(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("# nameserver 192.0.2.9\nsearch example.com\nnameserver 192.0.2.53\n nameserver fe80::1%eth0\nnameserver nonsense\n")
    assert read_resolvers(path) == Resolvers((ip_address("192.0.2.53"), ip_address("fe80::1")), ())
    assert read_resolvers(tmp_path / "none") == Resolvers((), ())


def test_a_stub_is_not_who_is_asked() -> None:
    found = Resolvers((ip_address("127.0.0.53"),), (ip_address("192.0.2.53"), ip_address("192.0.2.53")))
    assert found.asked == (ip_address("192.0.2.53"),)
