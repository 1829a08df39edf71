"""The server agent at the far end of ssh: who the client is, by what sshd tells."""

from ipaddress import ip_address

import pytest

from vpnprobe.agents.remote import client_of
from vpnprobe.transports.stack import Endpoint


@pytest.mark.parametrize(
    ("connection", "client", "server"),
    [
        ("192.0.2.1 40000 198.51.100.2 22", "192.0.2.1", "198.51.100.2"),
        ("2001:db8::1 40000 2001:db8::2 22", "2001:db8::1", "2001:db8::2"),
    ],
)
def test_the_ends_of_the_connection(connection: str, client: str, server: str) -> None:
    assert client_of(connection) == (Endpoint(ip_address(client), 40000), Endpoint(ip_address(server), 22))


@pytest.mark.parametrize("connection", ["", "192.0.2.1", "192.0.2.1 x 198.51.100.2 22", "UNKNOWN 65535 UNKNOWN 65535", "a b c d e"])
def test_what_is_none(connection: str) -> None:
    assert client_of(connection) is None
