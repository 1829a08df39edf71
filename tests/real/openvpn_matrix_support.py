"""The matrix of real OpenVPN servers: every transport, control channel protection, data cipher, kind of certificate, and with a password.

Cells that differ in the cipher alone share a server: it takes all three, the client announces one. `running_matrix` is the body of a
session-scoped fixture: it starts lab and servers once, in about a second.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Final

import pytest

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.lab.namespaces import Lab, require_tools
from vpnprobe.lab.openvpn_pki import Algorithm
from vpnprobe.lab.openvpn_servers import DATA_CIPHERS, RunningServer, ServerConfig, Wrapping, openvpn_servers
from vpnprobe.lab.scenario import load
from vpnprobe.observations.schema import Transport

FIRST_PORT: Final = 20000
"""Below the ports that the kernel gives to clients."""


@dataclass(frozen=True)
class Matrix:
    """The lab and the server of each configuration."""

    lab: Lab
    servers: Mapping[ServerConfig, RunningServer]


def configs() -> list[ServerConfig]:
    """All 56, each on a port of its own."""
    dimensions = product((Transport.UDP, Transport.TCP), Wrapping, (Algorithm.RSA, Algorithm.EC), (False, True))
    return [
        ServerConfig(transport=transport, port=FIRST_PORT + index, wrapping=wrapping, algorithm=algorithm, user_password=user_password)
        for index, (transport, wrapping, algorithm, user_password) in enumerate(dimensions)
    ]


def cells() -> list[tuple[ServerConfig, str]]:
    """All 168: a server and the one cipher that its client announces."""
    return [(config, cipher) for config in configs() for cipher in DATA_CIPHERS]


def cell_id(cell: tuple[ServerConfig, str]) -> str:
    """As `udp-tls-auth-sha256-rsa-password-AES-256-GCM`."""
    config, cipher = cell
    return f"{config_id(config)}-{cipher}"


def config_id(config: ServerConfig) -> str:
    credentials = "password" if config.user_password else "certificate"
    return f"{config.transport}-{config.wrapping}-{config.algorithm}-{credentials}"


@contextmanager
def running_matrix() -> Iterator[Matrix]:
    """A clean lab of its own with all servers listening; what is not installed is a skip with its name."""
    try:
        require_tools()
        with Lab(load("clean").topology, f"vprl-matrix-{os.getpid()}") as lab, openvpn_servers(lab, configs()) as servers:
            yield Matrix(lab, {server.config: server for server in servers})
    except CannotRun as lack:
        if lack.status is ExitStatus.MISSING:
            pytest.skip(str(lack))
        raise
