"""Real VPN servers at the far end of a clean lab.

`clean_lab` is up for the whole session; each server is fresh for its test, listens when the test begins, and leaves nothing behind.
Enter a host with `clean_lab.inside("client")`: sockets opened there are that host's. What is not installed is a skip with its name; a
server that does not come up is a failure.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from openvpn_matrix_support import Matrix, running_matrix
from softether_support import SoftEther, softether

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.lab.daemons import Daemon, Wrap, openvpn, pptpd, strongswan, xl2tpd
from vpnprobe.lab.namespaces import Lab, require_tools
from vpnprobe.lab.scenario import load
from vpnprobe.observations.schema import Transport


@contextmanager
def started(daemon: AbstractContextManager[Daemon]) -> Iterator[Daemon]:
    try:
        running = daemon.__enter__()
    except CannotRun as lack:
        if lack.status is ExitStatus.MISSING:
            pytest.skip(str(lack))
        raise
    try:
        yield running
    finally:
        daemon.__exit__(None, None, None)


@pytest.fixture(scope="session")
def clean_lab() -> Iterator[Lab]:
    try:
        require_tools()
    except CannotRun as lack:
        pytest.skip(str(lack))
    with Lab(load("clean").topology, f"vprl-real-{os.getpid()}") as lab:
        yield lab


@pytest.fixture
def pptpd_server(clean_lab: Lab) -> Iterator[Daemon]:
    """tcp/1723 and GRE."""
    with started(pptpd(clean_lab)) as daemon:
        yield daemon


@pytest.fixture
def xl2tpd_server(clean_lab: Lab) -> Iterator[Daemon]:
    """udp/1701."""
    with started(xl2tpd(clean_lab)) as daemon:
        yield daemon


@pytest.fixture
def strongswan_server(clean_lab: Lab) -> Iterator[Daemon]:
    """udp/500 and udp/4500."""
    with started(strongswan(clean_lab)) as daemon:
        yield daemon


@pytest.fixture
def openvpn_udp_server(clean_lab: Lab) -> Iterator[Daemon]:
    """udp/1194, control channel in the clear."""
    with started(openvpn(clean_lab, transport=Transport.UDP)) as daemon:
        yield daemon


@pytest.fixture
def openvpn_tcp_server(clean_lab: Lab) -> Iterator[Daemon]:
    """tcp/1194, control channel in the clear."""
    with started(openvpn(clean_lab, transport=Transport.TCP)) as daemon:
        yield daemon


@pytest.fixture
def openvpn_udp_tls_crypt_server(clean_lab: Lab) -> Iterator[Daemon]:
    """udp/1194, tls-crypt: silent to strangers."""
    with started(openvpn(clean_lab, transport=Transport.UDP, wrap=Wrap.TLS_CRYPT)) as daemon:
        yield daemon


@pytest.fixture
def openvpn_tcp_tls_crypt_server(clean_lab: Lab) -> Iterator[Daemon]:
    """tcp/1194, tls-crypt: closes on strangers."""
    with started(openvpn(clean_lab, transport=Transport.TCP, wrap=Wrap.TLS_CRYPT)) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def openvpn_matrix() -> Iterator[Matrix]:
    """All servers of the matrix, in a lab of their own."""
    with running_matrix() as matrix:
        yield matrix


@pytest.fixture(scope="session")
def softether_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftEther]:
    """Slow to start, and it takes many ports: in a lab of its own."""
    try:
        require_tools()
    except CannotRun as lack:
        pytest.skip(str(lack))
    with (
        Lab(load("clean").topology, f"vprl-softether-{os.getpid()}") as lab,
        softether(lab, tmp_path_factory.mktemp("softether")) as server,
    ):
        yield server
