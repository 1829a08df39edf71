"""What a process may do, and what is to be done by hand where it cannot run."""

from pathlib import Path

from vpnprobe.deployment.verification.by_hand import by_hand
from vpnprobe.deployment.verification.privileges import lacks_privilege, lacks_tun
from vpnprobe.profiles.ovpn import parse_profile


def test_capabilities_decide(tmp_path: Path) -> None:
    status = tmp_path / "status"
    for capabilities, lacks in (("000001ffffffffff", False), ("0000000000003000", False), ("0000000000001000", True), ("0", True)):
        status.write_text(f"Name:\tx\nCapEff:\t{capabilities}\n")
        assert lacks_privilege(status) is lacks


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    assert lacks_tun(tmp_path / "tun")


def test_by_hand_names_file_and_server() -> None:
    text = f"client\nremote vpn.example 1194\nauth-user-pass\npeer-fingerprint {':'.join(['00'] * 32)}\n"
    steps = "\n".join(by_hand(parse_profile(text, folder=Path(), file="office.ovpn")))
    assert "office.ovpn" in steps
    assert "not host vpn.example" in steps
