"""Real OpenVPN servers with options of the data channel and of TLS: what both ends have works, and what one has alone is named."""

from collections.abc import Iterator

import pytest
from openvpn_profile_tests import Tried, tried

from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.openvpn_pki import Flaw
from vpnprobe.lab.openvpn_servers import RunningServer, ServerConfig, openvpn_servers
from vpnprobe.observations.schema import Direction, Outcome, Transport

pytestmark = [pytest.mark.root, pytest.mark.real]
UDP, TCP = Transport.UDP, Transport.TCP
COMPRESSES = ("--allow-compression", "yes")
SERVERS = {
    "plain": ServerConfig(UDP, 22001),
    "lzo": ServerConfig(UDP, 22002, extra=("--comp-lzo", *COMPRESSES)),
    "lzo-tcp": ServerConfig(TCP, 22003, extra=("--comp-lzo", *COMPRESSES)),
    "stub": ServerConfig(UDP, 22004, extra=("--compress", "stub")),
    "stub-v2": ServerConfig(UDP, 22005, extra=("--compress", "stub-v2")),
    "migrate": ServerConfig(UDP, 22006, extra=("--compress", "migrate")),
    "pushes-lzo": ServerConfig(UDP, 22007, extra=("--comp-lzo", "yes", "--push", "comp-lzo yes", *COMPRESSES)),
    "fragment": ServerConfig(UDP, 22008, extra=("--fragment", "600", "--mssfix", "600")),
    "tap": ServerConfig(UDP, 22009, extra=("--dev", "tap", "--dev-type", "tap")),
    "tap-lzo-fragment": ServerConfig(
        UDP, 22010, extra=("--dev", "tap", "--dev-type", "tap", "--comp-lzo", "no", "--fragment", "1300", "--mssfix", "1300")
    ),
    "cbc": ServerConfig(UDP, 22011, data_ciphers=("AES-256-CBC",)),
    "groups": ServerConfig(UDP, 22012, extra=("--tls-groups", "secp384r1")),
    "expired": ServerConfig(UDP, 22013, flaw=Flaw.EXPIRED),
}


def profiles(servers: dict[str, RunningServer]) -> dict[str, str]:
    """By case: what a client has for a server."""
    return {
        "lzo": servers["lzo"].client_profile(comp_lzo=""),
        "lzo-tcp": servers["lzo-tcp"].client_profile(comp_lzo="adaptive"),
        "stub": servers["stub"].client_profile(compress=""),
        "stub-v2": servers["stub-v2"].client_profile(compress="stub-v2"),
        "stub-v2-alone": servers["plain"].client_profile(compress="stub-v2"),
        "migrate": servers["migrate"].client_profile(comp_lzo=""),
        "pushed": servers["pushes-lzo"].client_profile(allow_compression="asym"),
        "fragment": servers["fragment"].client_profile(fragment="600"),
        "tap": servers["tap"].client_profile(dev="tap"),
        "tap-lzo-fragment": servers["tap-lzo-fragment"].client_profile(dev="tap", comp_lzo="no", fragment="1300"),
        "one-group": servers["groups"].client_profile(tls_groups="secp384r1"),
        "lzo-in-the-profile": servers["plain"].client_profile(comp_lzo=""),
        "lzo-at-the-server": servers["lzo"].client_profile(),
        "lzo-and-stub": servers["stub"].client_profile(comp_lzo=""),
        "fragment-in-the-profile": servers["plain"].client_profile(fragment="1300"),
        "fragment-at-the-server": servers["fragment"].client_profile(),
        "tap-in-the-profile": servers["plain"].client_profile(dev="tap"),
        "tap-at-the-server": servers["tap"].client_profile(),
        "push-refused": servers["pushes-lzo"].client_profile(),
        "cbc": servers["cbc"].client_profile(),
        "other-group": servers["groups"].client_profile(tls_groups="secp521r1"),
        "expired": servers["expired"].client_profile(),
        "keysize": servers["plain"].client_profile(keysize="256"),
    }


@pytest.fixture(scope="module")
def outcomes(clean_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Tried]]:
    with openvpn_servers(clean_lab, list(SERVERS.values())) as running:
        yield tried(clean_lab, profiles(dict(zip(SERVERS, running, strict=True))), tmp_path_factory.mktemp("options"))


WORKING = (
    "lzo",
    "lzo-tcp",
    "stub",
    "stub-v2",
    "stub-v2-alone",
    "migrate",
    "pushed",
    "fragment",
    "tap",
    "tap-lzo-fragment",
    "one-group",
)


@pytest.mark.parametrize("case", WORKING)
def test_what_both_ends_have_works(outcomes: dict[str, Tried], case: str) -> None:
    assert outcomes[case].complete, [(o.check, o.direction, o.outcome, o.detail) for o in outcomes[case].observations]


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("lzo-in-the-profile", "the profile has `comp-lzo`"),
        ("lzo-at-the-server", "the server frames its packets for compression"),
        ("lzo-and-stub", "the server frames its packets as `compress` does"),
        ("fragment-in-the-profile", "the server has no `fragment`"),
        ("fragment-at-the-server", "the server has `fragment`"),
        ("tap-in-the-profile", "`dev tap` and the server `dev tun`"),
        ("tap-at-the-server", "`dev tun` and the server `dev tap`"),
    ],
)
def test_what_one_end_has_alone_is_named(outcomes: dict[str, Tried], case: str, words: str) -> None:
    found = outcomes[case]
    assert found.failures == ["settings-differ"]
    row = found.row("data", Direction.C2S)
    assert (row.outcome, row.detail["by"]) == (Outcome.NO_ANSWER, "settings")
    assert words in str(row.detail["said"])


@pytest.mark.parametrize(
    ("case", "failure", "check"),
    [
        ("push-refused", "push-refused", "handshake"),
        ("expired", "certificate-expired", "handshake"),
        ("keysize", "profile-refused", "reset"),
    ],
)
def test_what_the_client_refuses(outcomes: dict[str, Tried], case: str, failure: str, check: str) -> None:
    found = outcomes[case]
    assert found.failures == [failure]
    assert (found.row(check).outcome, found.row(check).detail["by"]) == (Outcome.REFUSED, "client")


def test_a_certificate_is_told_whole(outcomes: dict[str, Tried]) -> None:
    detail = outcomes["expired"].row("handshake").detail
    assert {"certificate_name", "certificate_serial", "certificate_from", "certificate_until"} <= set(detail)


def test_what_vpnprobe_cannot_do_says_nothing_of_the_server(outcomes: dict[str, Tried]) -> None:
    found = outcomes["cbc"]
    assert found.failures == ["not-supported"]
    assert found.row("handshake").outcome is Outcome.PASS
    assert found.row("data", Direction.C2S).outcome is Outcome.SKIPPED


def test_a_group_that_the_server_does_not_have(outcomes: dict[str, Tried]) -> None:
    assert outcomes["other-group"].failures == ["tls-no-common-cipher"]
    assert "tls-groups" in outcomes["other-group"].said("handshake")
