"""Managers that are not supported: nothing is changed, and the commands that are told work when they are run."""

import pytest
from firewall_support import SERVER6, Hosts, held_open

from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.firewall.state import Manager

pytestmark = [pytest.mark.root, pytest.mark.requires("namespaces", "iptables", "ping")]

DOCKER = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-BRIDGE - [0:0]
:DOCKER-CT - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p ipv6-icmp -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
"""
"""What Docker 28 loads, beside an INPUT that drops."""


def docker(hosts: Hosts, filter_name: str) -> None:
    hosts.server(f"iptables-{filter_name}-restore", stdin="".join(line for line in DOCKER.splitlines(True) if "ipv6" not in line))
    hosts.server(f"ip6tables-{filter_name}-restore", stdin=DOCKER.replace("172.17.0.0/16", "fd17::/16").replace("127.0.0.0/8", "::1/128"))


def refusal(hosts: Hosts) -> str:
    with pytest.raises(UsageError) as refused:
        hosts.steps()
    assert refused.value.status is ExitStatus.REFUSED
    return str(refused.value)


@pytest.mark.parametrize("filter_name", ["nft", "legacy"])
def test_dockers_chains_are_refused_with_commands_that_work(hosts: Hosts, filter_name: str) -> None:
    docker(hosts, filter_name)
    before = hosts.rulesets()
    assert hosts.detect().manager is Manager.DOCKER
    first, *commands = refusal(hosts).splitlines()
    assert "Docker" in first
    assert "which vpnprobe does not change" in first
    assert hosts.rulesets() == before
    with held_open(hosts) as alive:
        assert not hosts.listener_answers()
        assert not hosts.reaches_web()
        hosts.server("sh", "-e", stdin="\n".join(commands))
        assert (hosts.listener_answers(), hosts.listener_answers(SERVER6), hosts.reaches_web(), hosts.echoes_in_tunnel()) == (True,) * 4
        assert alive()
    assert hosts.steps() == []


@pytest.mark.parametrize(
    ("chain", "who"), [("KUBE-SERVICES", "Kubernetes"), ("cali-INPUT", "Calico"), ("nixos-fw", "NixOS"), ("LOCALINPUT", "csf")]
)
def test_others_are_refused_by_their_marks(hosts: Hosts, chain: str, who: str) -> None:
    hosts.server("iptables", "-N", chain)
    before = hosts.rulesets()
    first, *commands = refusal(hosts).splitlines()
    assert who in first
    assert chain in first
    assert hosts.rulesets() == before
    hosts.server("sh", "-e", stdin="\n".join(commands))
    assert hosts.reaches_web()


def test_chains_of_fail2ban_are_nobodys_manager(hosts: Hosts) -> None:
    hosts.server("iptables", "-N", "f2b-sshd")
    hosts.server("iptables", "-I", "INPUT", "-p", "tcp", "--dport", "22", "-j", "f2b-sshd")
    assert hosts.detect().manager is Manager.IPTABLES


def test_firewalld_is_refused_by_its_table(hosts: Hosts) -> None:
    hosts.server("nft", "add table inet firewalld; add chain inet firewalld f { type filter hook forward priority 10; policy drop; }")
    first, *commands = refusal(hosts).splitlines()
    assert "firewalld (its table firewalld)" in first
    assert commands[0] == "firewall-cmd --permanent --add-port=1194/udp"
    assert commands[-1] == "firewall-cmd --reload"
