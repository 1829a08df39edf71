"""Every failure that a real OpenVPN server can show a client is named: keys, certificates, credentials, versions, ciphers, ports, names."""

import threading
import time
from collections.abc import Iterator

import pytest
from openvpn_profile_tests import Tried, tried

from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.openvpn_pki import Flaw, Identity
from vpnprobe.lab.openvpn_servers import (
    COMPLETED,
    USER_NAME,
    WRONG_PASSWORD,
    RunningServer,
    ServerConfig,
    Wrapping,
    openvpn_client,
    openvpn_servers,
)
from vpnprobe.observations.schema import Direction, Outcome, Transport

pytestmark = [pytest.mark.root, pytest.mark.real]
UDP, TCP = Transport.UDP, Transport.TCP
HANGS = ("--verify-client-cert", "none", "--script-security", "3", "--auth-user-pass-verify", "/bin/sleep 60", "via-env")
"""A check of the user's password that does not come back while a client waits."""
SERVERS = {
    "udp": ServerConfig(UDP, 21001),
    "tcp": ServerConfig(TCP, 21002),
    "tls-auth": ServerConfig(UDP, 21003, wrapping=Wrapping.TLS_AUTH_SHA256),
    "tls-auth-tcp": ServerConfig(TCP, 21004, wrapping=Wrapping.TLS_AUTH_SHA256),
    "tls-crypt": ServerConfig(UDP, 21005, wrapping=Wrapping.TLS_CRYPT),
    "password": ServerConfig(UDP, 21006, user_password=True),
    "password-tcp": ServerConfig(TCP, 21007, user_password=True),
    "expired": ServerConfig(UDP, 21010, flaw=Flaw.EXPIRED),
    "not-yet-valid": ServerConfig(UDP, 21011, flaw=Flaw.NOT_YET_VALID),
    "other-authority": ServerConfig(UDP, 21012, flaw=Flaw.OTHER_AUTHORITY),
    "other-purpose": ServerConfig(UDP, 21013, flaw=Flaw.OTHER_PURPOSE),
    "other-name": ServerConfig(UDP, 21014, flaw=Flaw.OTHER_NAME),
    "one-cipher": ServerConfig(UDP, 21015, data_ciphers=("AES-256-GCM",)),
    "tls13": ServerConfig(UDP, 21016, tls_version_min="1.3"),
    "tls13-tcp": ServerConfig(TCP, 21017, tls_version_min="1.3"),
    "hanging": ServerConfig(UDP, 21018, user_password=True, extra=HANGS),
    "hanging-tcp": ServerConfig(TCP, 21019, user_password=True, extra=HANGS),
    "full-tcp": ServerConfig(TCP, 21024, extra=("--max-clients", "1")),
}


LONG = {
    "renegotiating": ServerConfig(UDP, 21020, extra=("--reneg-sec", "1")),
    "renegotiating-tcp": ServerConfig(TCP, 21021, extra=("--reneg-sec", "1")),
    "restarting": ServerConfig(UDP, 21022, extra=("--explicit-exit-notify", "1")),
    "stopping-tcp": ServerConfig(TCP, 21023),
}
LONG_RUN = 700
"""Echo requests: more than two seconds of them."""
GIVEN_UP_S = 60.0
"""For a client that never comes."""


def with_client(identity: Identity) -> dict[str, str | None]:
    return {"cert": identity.certificate_pem.decode(), "key": identity.key_pem.decode()}


def profiles(servers: dict[str, RunningServer], address: str) -> dict[str, str]:
    """One broken in each way."""
    authority = servers["udp"].authority
    expired, other = with_client(authority.client(Flaw.EXPIRED)), with_client(authority.client(Flaw.OTHER_AUTHORITY))
    wrong_password = {"auth-user-pass": f"{USER_NAME}\n{WRONG_PASSWORD}\n"}
    no_wrap: dict[str, str | None] = {"tls-auth": None, "key-direction": None}
    return {
        "whole-udp": servers["udp"].client_profile(),
        "whole-tcp": servers["tcp"].client_profile(),
        "credentials-refused": servers["password"].client_profile(**wrong_password),
        "credentials-refused-tcp": servers["password-tcp"].client_profile(**wrong_password),
        "credentials-wanted": servers["password"].client_profile(**{"auth-user-pass": None}),
        "credentials-wanted-tcp": servers["password-tcp"].client_profile(**{"auth-user-pass": None}),
        "certificate-expired": servers["expired"].client_profile(),
        "certificate-not-yet-valid": servers["not-yet-valid"].client_profile(),
        "certificate-wrong-ca": servers["other-authority"].client_profile(),
        "certificate-wrong-purpose": servers["other-purpose"].client_profile(),
        "certificate-wrong-name": servers["other-name"].client_profile(**{"verify-x509-name": "vpn.example.com name"}),
        "certificate-wrong-fingerprint": servers["udp"].client_profile(ca=None, **{"peer-fingerprint": ":".join(["ab"] * 32)}),
        "client-certificate-expired": servers["udp"].client_profile(**expired),
        "client-certificate-expired-tcp": servers["tcp"].client_profile(**expired),
        "client-certificate-refused": servers["udp"].client_profile(**other),
        "hanging": servers["hanging"].client_profile(cert=None, key=None),
        "hanging-tcp": servers["hanging-tcp"].client_profile(cert=None, key=None),
        "full-tcp": servers["full-tcp"].client_profile(),
        "no-common-data-cipher": servers["one-cipher"].client_profile(**{"data-ciphers": "AES-128-GCM"}),
        "tls-version": servers["tls13"].client_profile(**{"tls-version-max": "1.2"}),
        "tls-version-tcp": servers["tls13-tcp"].client_profile(**{"tls-version-max": "1.2"}),
        "silent": servers["tls-auth"].client_profile(**no_wrap),
        "closed-at-once-tcp": servers["tls-auth-tcp"].client_profile(**no_wrap),
        "wrong-wrap": servers["tls-auth"].client_profile(**{"key-direction": "0"}),
        "wrong-wrap-digest": servers["tls-auth"].client_profile(auth="SHA1"),
        "wrong-wrap-tcp": servers["tls-auth-tcp"].client_profile(**{"key-direction": "0"}),
        "port-refused": servers["udp"].client_profile(remote=f"{address} 3999"),
        "port-refused-tcp": servers["tcp"].client_profile(remote=f"{address} 3999"),
        "name-not-resolved": servers["udp"].client_profile(remote="nothing.invalid 1194"),
    }


@pytest.fixture(scope="module")
def outcomes(clean_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Tried]]:
    with openvpn_servers(clean_lab, list(SERVERS.values())) as running:
        servers = dict(zip(SERVERS, running, strict=True))
        texts = profiles(servers, str(clean_lab.topology.server_address))
        folder = tmp_path_factory.mktemp("failures")
        with openvpn_client(clean_lab, texts["full-tcp"], folder=folder) as other:
            other.wait_for(COMPLETED, deadline_s=GIVEN_UP_S)
            yield tried(clean_lab, texts, folder)


CASES = {
    "credentials-refused": ("credentials-refused", "handshake"),
    "credentials-refused-tcp": ("credentials-refused", "handshake"),
    "credentials-wanted": ("credentials-wanted", "handshake"),
    "credentials-wanted-tcp": ("credentials-wanted", "handshake"),
    "certificate-expired": ("certificate-expired", "handshake"),
    "certificate-not-yet-valid": ("certificate-not-yet-valid", "handshake"),
    "certificate-wrong-ca": ("certificate-wrong-ca", "handshake"),
    "certificate-wrong-purpose": ("certificate-wrong-purpose", "handshake"),
    "certificate-wrong-name": ("certificate-wrong-name", "handshake"),
    "certificate-wrong-fingerprint": ("certificate-wrong-fingerprint", "handshake"),
    "client-certificate-expired": ("keys-unanswered", "handshake"),
    "client-certificate-expired-tcp": ("keys-unanswered", "handshake"),
    "client-certificate-refused": ("keys-unanswered", "handshake"),
    "hanging": ("keys-unanswered", "handshake"),
    "hanging-tcp": ("keys-unanswered", "handshake"),
    "full-tcp": ("closed-at-once", "reset"),
    "no-common-data-cipher": ("no-common-data-cipher", "handshake"),
    "tls-version": ("tls-version", "handshake"),
    "tls-version-tcp": ("tls-version", "handshake"),
    "silent": ("silent", "reset"),
    "closed-at-once-tcp": ("closed-at-once", "reset"),
    "wrong-wrap": ("wrong-wrap", "reset"),
    "wrong-wrap-digest": ("wrong-wrap", "reset"),
    "wrong-wrap-tcp": ("wrong-wrap", "reset"),
    "port-refused": ("port-refused", "reset"),
    "port-refused-tcp": ("port-refused", "reset"),
    "name-not-resolved": ("name-not-resolved", "reset"),
}
"""By case: the failure, and the step that it is told of."""


@pytest.mark.parametrize("case", CASES)
def test_it_is_named_at_its_step(outcomes: dict[str, Tried], case: str) -> None:
    failure, check = CASES[case]
    found = outcomes[case]
    assert found.failures == [failure]
    row = found.row(check)
    assert row.detail["failure"] == failure
    assert row.outcome is not Outcome.PASS
    if check == "handshake":
        assert found.row("reset").outcome is Outcome.PASS
    for way in (Direction.C2S, Direction.S2C):
        assert found.row("data", way).outcome is Outcome.SKIPPED


@pytest.mark.parametrize("case", ["whole-udp", "whole-tcp"])
def test_beside_them_what_is_right_passes(outcomes: dict[str, Tried], case: str) -> None:
    assert outcomes[case].complete


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("certificate-wrong-name", "vpn.example.com"),
        ("wrong-wrap", "key-direction 1"),
        ("wrong-wrap-digest", "auth SHA256"),
        ("wrong-wrap-tcp", "key-direction 1"),
        ("client-certificate-expired", "certificate expired on"),
        ("client-certificate-expired-tcp", "certificate expired on"),
        ("hanging", "password there may hang"),
        ("hanging-tcp", "password there may hang"),
        ("client-certificate-refused", "authority in the profile"),
        ("tls-version", "TLS 1.2"),
        ("name-not-resolved", "nothing.invalid"),
        ("no-common-data-cipher", "no shared cipher"),
    ],
)
def test_the_words_say_what_to_change(outcomes: dict[str, Tried], case: str, words: str) -> None:
    assert words in outcomes[case].said(CASES[case][1])


def terminate_under_way(server: RunningServer) -> None:
    """Ends a server a while after it has let a client in, however long that takes, and well before the client's last echo request."""
    given_up = time.monotonic() + GIVEN_UP_S
    while "PUSH_REPLY" not in server.log and time.monotonic() < given_up:
        time.sleep(0.02)
    time.sleep(0.5)
    server.process.terminate()


@pytest.fixture(scope="module")
def long_outcomes(clean_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Tried]]:
    """Servers that ask for new keys, restart or stop while data flows."""
    with openvpn_servers(clean_lab, list(LONG.values())) as running:
        servers = dict(zip(LONG, running, strict=True))
        texts = {name: server.client_profile() for name, server in servers.items()}
        leaving = [threading.Thread(target=terminate_under_way, args=[servers[name]]) for name in ("restarting", "stopping-tcp")]
        for thread in leaving:
            thread.start()
        found = tried(clean_lab, texts, tmp_path_factory.mktemp("long"), echoes=LONG_RUN)
        for thread in leaving:
            thread.join()
        yield found


@pytest.mark.parametrize("case", ["renegotiating", "renegotiating-tcp"])
def test_data_goes_on_through_renegotiations_which_are_told(long_outcomes: dict[str, Tried], case: str) -> None:
    found = long_outcomes[case]
    assert found.failures == ["renegotiation-asked"]
    there = found.row("data", Direction.C2S)
    assert there.outcome is Outcome.PASS
    assert there.sent is not None
    assert there.received is not None
    # A busy machine sends fewer in the time that a session has.
    assert there.received >= 0.99 * there.sent > 0


@pytest.mark.parametrize(("case", "failure"), [("restarting", "restart-asked"), ("stopping-tcp", "closed-by-peer")])
def test_a_server_that_goes_away_under_way_is_named(long_outcomes: dict[str, Tried], case: str, failure: str) -> None:
    found = long_outcomes[case]
    assert found.failures == [failure]
    assert found.row("data", Direction.C2S).detail["failure"] == failure
