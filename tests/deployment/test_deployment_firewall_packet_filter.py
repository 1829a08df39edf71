"""PF's rules, in its two dialects; no PF runs here, so what is tested is the text."""

from ipaddress import IPv6Network

from deployment_site_support import listener, settings

from vpnprobe.deployment.firewall.packet_filter import OPENBSD, OTHERS, pf_files
from vpnprobe.observations.schema import Transport

POOL = listener().pool


def rules(name: str) -> list[str]:
    both = settings(listener(), listener(transport=Transport.TCP, port=443))
    return [line for line in pf_files(both)[name].splitlines() if line and not line.startswith("#")]


def test_openbsd_translates_in_the_rule_that_lets_pass() -> None:
    """A rule after `match … nat-to` would see the translated address."""
    found = rules(OPENBSD)
    assert f"pass out quick on egress inet from {POOL} to any nat-to (egress)" in found
    assert "pass in quick on egress proto tcp from any to any port 443 keep state" in found
    assert not [line for line in found if line.startswith(("nat", "match"))]


def test_the_others_translate_first() -> None:
    found = rules(OTHERS)
    assert found[:2] == ['ext_if = "em0"', f"nat pass on $ext_if inet from {POOL} to any -> ($ext_if)"]
    assert [line.startswith("nat") for line in found[1:]] == sorted((line.startswith("nat") for line in found[1:]), reverse=True)
    assert "pass in quick on $ext_if proto udp from any to any port 1194 keep state" in found


def test_a_forged_address_is_no_clients() -> None:
    for name, outside in ((OPENBSD, "egress"), (OTHERS, "$ext_if")):
        found = rules(name)
        forged = found.index(f"block in quick on {outside} inet from {POOL} to any")
        assert forged < found.index(f"pass in quick inet from {POOL} to any keep state")
        assert found[-1 if name == OTHERS else -3].startswith("block return quick inet6 from fd15:53b6:dead::/64")


def test_ipv6_that_is_routed_passes() -> None:
    for text in pf_files(settings(listener(pool6=IPv6Network("2001:db8::/64")))).values():
        assert "pass quick inet6 from 2001:db8::/64 to any keep state" in text
