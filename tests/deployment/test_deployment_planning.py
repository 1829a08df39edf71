"""What a plan asks of the server, beyond files."""

from ipaddress import IPv6Network

import pytest
from deployment_site_support import listener, settings

from vpnprobe.deployment.firewall.needs import TunnelIpv6
from vpnprobe.deployment.planning import tunnel_ipv6


@pytest.mark.parametrize(
    ("pool6", "wanted"),
    [(None, TunnelIpv6.BLOCKED), ("fd42:7::/64", TunnelIpv6.NATED), ("2001:db8::/64", TunnelIpv6.ROUTED)],
)
def test_ipv6_in_the_tunnel(pool6: str | None, wanted: TunnelIpv6) -> None:
    """Unique local addresses are translated, as nobody beyond the server has a route to them."""
    assert tunnel_ipv6(settings(listener(pool6=None if pool6 is None else IPv6Network(pool6)))) is wanted
