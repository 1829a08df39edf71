"""ufw with its default of denying: shown by traffic, by what ufw itself says, and by what it loads at boot."""

import re
from pathlib import Path

import pytest
from firewall_support import NEEDS6, SERVER6, WEB6, Hosts, held_open

from vpnprobe.deployment.steps import RunCommand, WriteFile
from vpnprobe.firewall.state import Manager

pytestmark = [pytest.mark.root, pytest.mark.requires("namespaces", "ufw", "ping")]

TEMPLATES = Path("/usr/share/ufw")
DEFAULTS = """IPV6=yes
DEFAULT_INPUT_POLICY="{0}"
DEFAULT_OUTPUT_POLICY="ACCEPT"
DEFAULT_FORWARD_POLICY="{0}"
DEFAULT_APPLICATION_POLICY="SKIP"
MANAGE_BUILTINS=no
IPT_SYSCTL=/etc/ufw/sysctl.conf
IPT_MODULES=""
"""
IN_PLACE = 'mount --bind "$0/etc/ufw" /etc/ufw && mount --bind "$0/etc/default/ufw" /etc/default/ufw && exec "$@"'


def files(hosts: Hosts, policy: str) -> None:
    """As the package brings them."""
    folder = hosts.root / "etc/ufw"
    (folder / "applications.d").mkdir(parents=True)
    for path in (TEMPLATES / "iptables").iterdir():
        (folder / path.name).write_text(path.read_text())
        (folder / path.name).chmod(0o640)
    (folder / "ufw.conf").write_text((TEMPLATES / "ufw.conf").read_text())
    (folder / "sysctl.conf").write_text("")
    (hosts.root / "etc/default").mkdir()
    (hosts.root / "etc/default/ufw").write_text(DEFAULTS.format(policy))


def ufw(hosts: Hosts, *words: str, program: str = "ufw") -> str:
    """What ufw says, with the files below the root in the place of the host's own."""
    return hosts.server("unshare", "-m", "sh", "-c", IN_PLACE, str(hosts.root), program, *words)


def enabled(hosts: Hosts, policy: str = "DROP") -> None:
    files(hosts, policy)
    ufw(hosts, "allow", "22/tcp")
    ufw(hosts, "--force", "enable")
    assert hosts.detect().manager is Manager.UFW


@pytest.mark.parametrize("policy", ["DROP", "REJECT"])
def test_what_ufw_denies_passes_and_all_is_put_back(hosts: Hosts, policy: str) -> None:
    enabled(hosts, policy)
    before = hosts.rulesets()
    with held_open(hosts) as alive:
        assert not hosts.listener_answers()
        steps = hosts.steps()
        undo = hosts.take(steps)
        assert (hosts.listener_answers(), hosts.listener_answers(SERVER6), hosts.reaches_web(), hosts.echoes_in_tunnel()) == (True,) * 4
        assert alive()
        taken = hosts.rulesets()
        assert all(hosts.succeeds(step.done_when) for step in hosts.steps() if isinstance(step, RunCommand) and step.done_when)
        hosts.take(hosts.steps())
        assert hosts.rulesets() == taken
        for _ in range(2):
            for one in undo:
                one()
        assert hosts.rulesets() == before
        assert alive()
    assert {step.path for step in steps if isinstance(step, WriteFile)} >= {"/etc/ufw/user.rules", "/etc/ufw/user6.rules"}


def test_ufw_shows_them_and_loads_them_at_boot(hosts: Hosts) -> None:
    enabled(hosts)
    before = hosts.rulesets()
    undo = hosts.take(hosts.steps())
    assert re.search(r"^1194/udp +ALLOW +Anywhere +# vpnprobe-", ufw(hosts, "status"), re.MULTILINE)
    ufw(hosts, "reload")
    hosts.server("sysctl", "-qw", "net.ipv4.ip_forward=1")
    assert hosts.listener_answers()
    assert hosts.reaches_web()
    for one in undo:
        one()
    assert {name: sorted(text.splitlines()) for name, text in hosts.rulesets().items()} == {
        name: sorted(text.splitlines()) for name, text in before.items()
    }


def test_a_rule_that_ufw_adds_meanwhile_does_not_hinder_the_undo(hosts: Hosts) -> None:
    enabled(hosts)
    undo = hosts.take(hosts.steps())
    ufw(hosts, "insert", "1", "deny", "from", "192.0.2.1")
    for one in undo:
        one()
    listed = hosts.server("iptables-save")
    assert "1194" not in listed
    assert "10.8.0.0" not in listed
    assert "192.0.2.1" in listed


def test_what_ufw_was_told_to_deny_is_allowed_before_it(hosts: Hosts) -> None:
    enabled(hosts)
    ufw(hosts, "deny", "1194/udp")
    before = hosts.rulesets()
    undo = hosts.take(hosts.steps())
    assert hosts.listener_answers()
    ufw(hosts, "reload")
    assert hosts.listener_answers()
    for one in undo:
        one()
    after = hosts.rulesets()
    assert sorted(after["iptables-nft-save"].splitlines()) == sorted(before["iptables-nft-save"].splitlines())


def test_ipv6_inside_the_tunnel_is_translated(hosts: Hosts) -> None:
    enabled(hosts)
    before = hosts.rulesets()
    undo = hosts.take(hosts.steps(NEEDS6))
    assert hosts.reaches_web(WEB6)
    for one in undo:
        one()
    assert hosts.rulesets() == before


@pytest.mark.parametrize("number", [0, 1])
def test_half_of_a_step_is_taken_back(hosts: Hosts, number: int) -> None:
    enabled(hosts)
    before = hosts.rulesets()
    for step in [step for step in hosts.steps() if isinstance(step, RunCommand) and step.id.startswith("firewall-ufw")]:
        rules = step.command.stdin.splitlines(True)[1:-1]
        hosts.server(*step.command.argv, stdin=f"*filter\n{''.join(rules[:number])}COMMIT\n")
        hosts.undo(step.undo)
        assert hosts.rulesets() == before
