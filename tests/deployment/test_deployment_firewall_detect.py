"""Who manages a firewall, found in a namespace by what is loaded there and by the files below a root. Nothing is changed by looking."""

from pathlib import Path

import pytest
from firewall_support import Hosts

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.firewall import detect as module
from vpnprobe.firewall.detect import detect, run
from vpnprobe.firewall.state import Manager
from vpnprobe.lab.namespaces import entered

pytestmark = [pytest.mark.root, pytest.mark.requires("namespaces", "iptables")]
RULE = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 25 -j DROP\nCOMMIT\n"


def test_nothing(hosts: Hosts) -> None:
    before = hosts.rulesets()
    state = hosts.detect()
    assert (state.manager, state.native, state.iptables) == (Manager.NONE, [], ())
    assert {backend.version for backend in state.backends} == {4, 6}
    assert hosts.rulesets() == before
    assert hosts.server("cat", "/proc/net/ip_tables_names") == ""


def test_an_empty_ruleset_and_empty_chains_are_nothing(hosts: Hosts) -> None:
    hosts.server("nft", "add table inet filter; add chain inet filter input { type filter hook input priority 0; policy accept; }")
    assert hosts.detect().manager is Manager.NONE


def test_what_iptables_made_of_nftables_is_iptables(hosts: Hosts) -> None:
    hosts.server("iptables-nft-restore", stdin=RULE)
    state = hosts.detect()
    assert state.manager is Manager.IPTABLES
    assert state.native == []
    assert [(found.backend.name, found.backend.version) for found in state.iptables] == [("nft", 4)]


def test_nftables_own_tables_beside_it_are_its_own(hosts: Hosts) -> None:
    hosts.server("iptables-nft-restore", stdin=RULE)
    hosts.server("nft", "add table inet filter; add chain inet filter input { type filter hook input priority 0; policy drop; }")
    state = hosts.detect()
    assert [(table.family, table.name) for table in state.native] == [("inet", "filter")]


def test_a_table_that_has_iptables_name_and_other_chains_is_nftables_own(hosts: Hosts) -> None:
    hosts.server("nft", "add table ip filter; add chain ip filter in { type filter hook input priority 0; policy drop; }")
    state = hosts.detect()
    assert state.manager is Manager.NFTABLES
    assert [table.name for table in state.native] == ["filter"]
    assert state.iptables == ()


def test_both_of_iptables_filters(hosts: Hosts) -> None:
    hosts.server("iptables-nft-restore", stdin=RULE)
    hosts.server("ip6tables-legacy-restore", stdin=RULE)
    state = hosts.detect()
    assert [(found.backend.name, found.backend.version) for found in state.iptables] == [("nft", 4), ("legacy", 6)]
    assert state.default_backend(6) == state.iptables[1].backend


def test_files_alone_make_no_manager(hosts: Hosts) -> None:
    (hosts.root / "etc/iptables").mkdir(parents=True)
    (hosts.root / "etc/iptables/rules.v4").write_text(RULE)
    (hosts.root / "etc/ufw").mkdir()
    (hosts.root / "etc/ufw/ufw.conf").write_text("ENABLED=yes\n")
    assert hosts.detect().manager is Manager.NONE


def test_rules_change_the_fingerprint_and_ours_do_not(hosts: Hosts) -> None:
    hosts.server("nft", "add table inet filter; add chain inet filter input { type filter hook input priority 0; policy drop; }")
    before = hosts.detect().fingerprint
    hosts.take(hosts.steps())
    assert hosts.detect().fingerprint == before
    hosts.server("nft", "add rule inet filter input tcp dport 80 accept")
    assert hosts.detect().fingerprint != before


def test_programs_that_are_missing_are_not_needed(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_program", lambda _: None)
    state = hosts.detect()
    assert (state.manager, state.nft, state.backends) == (Manager.NONE, None, ())


def test_systemd_is_the_hosts_and_never_a_namespaces(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Path, "is_dir", lambda _path: True)
    with entered(f"{hosts.prefix}-server"):
        assert not detect(Path("/")).systemd
    assert not detect(hosts.root).systemd


def test_what_cannot_be_read_is_said() -> None:
    with pytest.raises(CannotRun, match="the firewall cannot be read: false: status 1") as error:
        run("false")
    assert error.value.status is ExitStatus.MISSING
