"""doctor: what it finds, and the command it names for each lack."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from vpnprobe.cli.doctor import (
    DropPolicy,
    State,
    check_certificates,
    check_program,
    doctor,
    drop_policies,
    install_command,
    read_os_release,
)
from vpnprobe.deployment.settings import Lifetimes, Settings
from vpnprobe.deployment.site import new_site
from vpnprobe.transports.capabilities import found

RULESET = """table ip nat {
	chain POSTROUTING {
		type nat hook postrouting priority srcnat; policy accept;
	}
}
table inet filter {
	chain helper {
		drop
	}
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
	chain out {
		type filter hook output priority filter; policy drop;
	}
}
"""


def test_every_check_has_a_state_and_every_lack_a_command() -> None:
    done = CliRunner().invoke(doctor, ["--json"])
    assert done.exit_code == 0
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    expected = {"python", "raw-ip", "capture", "low-ports", "ipv6", "nmap", "openvpn", "ssh", "local-firewall"}
    assert set(checks) == expected
    assert all(check["state"] in ("ok", "missing", "note", "unknown") for check in checks.values())
    assert all(check["mend"] for check in checks.values() if check["state"] == "missing")
    assert {name for name in ("raw-ip", "capture", "low-ports") if checks[name]["state"] == "ok"} == {str(one) for one in found()}


def test_text_names_what_json_names() -> None:
    done = CliRunner().invoke(doctor, [])
    assert done.exit_code == 0
    assert all(name in done.stdout for name in ("raw-ip", "nmap", "local-firewall"))
    assert "\x1b" not in done.stdout


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give privileges up")
def test_without_privileges_and_programs_each_lack_is_mended_by_one_command(tmp_path: Path) -> None:
    program = "import vpnprobe.cli.doctor as d; d._which = lambda name: None; d.doctor()"
    # It may read this installation wherever that lies, and no more.
    caps = [f"--{name}=-all,+dac_read_search" for name in ("inh-caps", "ambient-caps", "bounding-set")]
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", *caps, sys.executable, "-c", program, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    for name in ("raw-ip", "capture", "low-ports"):
        assert checks[name]["state"] == "missing"
        assert checks[name]["mend"].startswith("sudo setcap cap_net_raw,cap_net_bind_service+ep /")
    assert checks["nmap"]["state"] == "missing"
    assert checks["nmap"]["mend"].endswith("nmap")
    assert checks["local-firewall"]["state"] in ("unknown", "note")


@pytest.mark.parametrize(
    ("release", "package", "expected"),
    [
        ({"ID": "debian"}, "nmap", "apt install nmap"),
        ({"ID": "ubuntu", "ID_LIKE": "debian"}, "ssh", "apt install openssh-client"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "nmap", "apt install nmap"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "ssh", "dnf install openssh-clients"),
        ({"ID": "opensuse-leap", "ID_LIKE": "suse opensuse"}, "openvpn", "zypper install openvpn"),
        ({"ID": "alpine"}, "nmap", "apk add nmap"),
        ({}, "nmap", "install the package nmap"),
    ],
)
def test_how_a_package_is_installed(release: dict[str, str], package: str, expected: str) -> None:
    assert install_command(package, release).removeprefix("sudo ") == expected


def test_os_release_is_read(tmp_path: Path) -> None:
    path = tmp_path / "os-release"
    path.write_text("# comment=1\nID=debian\nNAME=\"Debian GNU/Linux\"\nID_LIKE='a b'\n\n")
    assert read_os_release(path) == {"ID": "debian", "NAME": "Debian GNU/Linux", "ID_LIKE": "a b"}
    assert read_os_release(tmp_path / "missing") == {}


def test_chains_that_drop_by_default_are_found() -> None:
    assert drop_policies(RULESET) == [DropPolicy("inet", "filter", "input", "input"), DropPolicy("inet", "filter", "out", "output")]
    assert drop_policies("") == []


def test_a_missing_program_names_its_package() -> None:
    check = check_program("vpsys-no-such-program", "nothing depends on it", "--version", {"ID": "debian"})
    assert (check.state.value, check.detail) == ("missing", "not installed: nothing depends on it")
    assert check.mend is not None
    assert check.mend.endswith("apt install vpsys-no-such-program")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nft for a network namespace")
def test_a_firewall_that_drops_is_named_and_the_command_mends_it() -> None:
    name = f"vpsys-d{os.getpid()}"
    inside = ["ip", "netns", "exec", name]
    program = "import vpnprobe.cli.doctor as d; d._ufw_enabled = d._firewalld_active = lambda: False; d.doctor()"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run([*inside, "nft", "-f", "-"], input=RULESET, text=True, check=True)
        done = subprocess.run([*inside, sys.executable, "-c", program, "--json"], capture_output=True, text=True, check=True)
        check = next(check for check in json.loads(done.stdout)["checks"] if check["name"] == "local-firewall")
        assert check["state"] == "note"
        assert "drops by default on input (inet filter input)" in check["detail"]
        subprocess.run([*inside, *shlex.split(check["mend"])], check=True)
        after = subprocess.run([*inside, "nft", "list", "chain", "inet", "filter", "input"], capture_output=True, text=True, check=True)
        assert "meta l4proto gre accept" in after.stdout
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def test_certificates_of_a_server_that_is_set_up_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_certificates(tmp_path) == []
    folder = tmp_path / "etc/openvpn/vpnprobe"
    folder.mkdir(parents=True)
    assert check_certificates(tmp_path) == []
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (check,) = check_certificates(tmp_path)
    assert (check.state, "only root" in check.detail) == (State.UNKNOWN, True)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (folder / "ca.crt").write_text("nonsense")
    (folder / "ca.key").write_text("nonsense")
    (check,) = check_certificates(tmp_path)
    assert check.state is State.NOTE


def test_what_ends_soon_is_told_with_its_renewal(tmp_path: Path) -> None:
    settings = Settings(host="192.0.2.1", listeners=(), lifetimes=Lifetimes(server=5))
    outcome = new_site(settings, now=datetime.now(UTC))
    for file in outcome.files:
        path = tmp_path / file.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
    if os.geteuid() == 0:
        (check,) = check_certificates(tmp_path)
        assert (check.state, check.mend) == (State.NOTE, "vpnprobe provision renew server")
        assert check.detail.startswith("the server's certificate ends on ")
