"""Our client at SoftEther's OpenVPN server, which is another program than OpenVPN's own and an older one in what it speaks.

It asks for a user and a password alone, pushes when it is asked to, and gives no peer ID: data goes in P_DATA_V1.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from openvpn_profile_tests import Tried, tried
from real_support import run
from softether_support import PASSWORD, USER_NAME, SoftEther

from vpnprobe.capture.files import read_packets
from vpnprobe.capture.frames import frame_of
from vpnprobe.observations.schema import Direction, Outcome
from vpnprobe.provisioning.openvpn_config import Inline, configuration_text
from vpnprobe.wire.ciphers import Cipher
from vpnprobe.wire.openvpn import Opcode

pytestmark = [pytest.mark.root, pytest.mark.real, pytest.mark.requires("namespaces")]
ECHOES = 102
UDP, TCP = "udp", "tcp-client"


def profile(server: SoftEther, proto: str, *, ciphers: str = "AES-256-GCM:AES-128-GCM", password: str = PASSWORD, port: int = 1194) -> str:
    options = (
        ("client", ()),
        ("dev", ("tun",)),
        ("proto", (proto,)),
        ("remote", (str(server.lab.topology.server_address), str(port))),
        ("tls-cert-profile", ("insecure",)),
        ("data-ciphers", (ciphers,)),
        ("auth-user-pass", Inline(f"{USER_NAME}\n{password}\n")),
        ("ca", Inline(server.certificate)),
    )
    return configuration_text(options)


CIPHER = {
    "udp": Cipher.AES_256_GCM,
    "tcp": Cipher.AES_256_GCM,
    "tcp-443": Cipher.AES_256_GCM,
    **{f"{transport}-{cipher}": cipher for transport in ("udp", "tcp") for cipher in Cipher},
}
"""By case: what the profile's ciphers come to, its first: the server takes what the options string says."""
REFUSED = ("udp-wrong-password", "tcp-wrong-password")


@pytest.fixture(scope="module")
def outcomes(softether_server: SoftEther, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Tried]:
    server = softether_server
    profiles = {
        "udp": profile(server, UDP),
        "tcp": profile(server, TCP),
        "tcp-443": profile(server, TCP, port=443),
        "udp-wrong-password": profile(server, UDP, password="wrong"),
        "tcp-wrong-password": profile(server, TCP, password="wrong"),
    }
    for cipher in Cipher:
        profiles |= {f"udp-{cipher}": profile(server, UDP, ciphers=cipher), f"tcp-{cipher}": profile(server, TCP, ciphers=cipher)}
    return tried(server.lab, profiles, tmp_path_factory.mktemp("softether-profiles"))


@pytest.mark.parametrize("case", CIPHER)
def test_a_whole_session(outcomes: Mapping[str, Tried], case: str) -> None:
    found = outcomes[case]
    assert found.failures == []
    assert found.complete
    assert found.row("handshake").detail["cipher"] == CIPHER[case]
    there, back = found.row("data", Direction.C2S), found.row("data", Direction.S2C)
    for row in (there, back):
        assert (row.received or 0) >= ECHOES
    assert there.detail["round_trip"] is True
    assert "1400" in there.detail["by_size"]


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_password_is_named(outcomes: Mapping[str, Tried], case: str) -> None:
    found = outcomes[case]
    assert found.failures == ["credentials-refused"]
    assert found.row("reset").outcome is Outcome.PASS
    assert found.row("handshake").outcome is Outcome.REFUSED
    assert found.row("data", Direction.C2S).outcome is Outcome.SKIPPED


def test_data_goes_in_packets_without_peer_id_and_the_run_says_nothing_else(softether_server: SoftEther, tmp_path: Path) -> None:
    """As a program, of which the capture tells; the server's certificate has the serial number 0, which is nobody's concern."""
    file = tmp_path / "client.ovpn"
    file.write_text(profile(softether_server, UDP))
    ran = run(softether_server.lab, tmp_path, "--solo", "--only", "openvpn", "--profile", str(file))
    assert ran.status == 0
    assert ran.feasibility["openvpn-udp"] == "feasible"
    assert "warning" not in ran.errors.lower()
    opcodes = Counter(payload[0] >> 3 for payload in _payloads(ran.folder / "client.pcap", 1194))
    assert opcodes[Opcode.DATA_V1] >= 2 * ECHOES
    assert opcodes[Opcode.DATA_V2] == 0


def _payloads(capture: Path, port: int) -> Iterator[bytes]:
    with read_packets(capture) as packets:
        for frame in filter(None, map(frame_of, packets)):
            if frame.udp is not None and port in frame.ports and frame.udp.payload:
                yield frame.udp.payload
