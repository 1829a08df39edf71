"""Real OpenVPN servers, the client profiles for them, and the real client: it gets in and is refused where it should be."""

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.lab import openvpn_servers
from vpnprobe.lab.namespaces import Lab, require_tools
from vpnprobe.lab.openvpn_pki import Algorithm, Authority, Flaw, Role, WrapKeys
from vpnprobe.lab.openvpn_servers import (
    COMPLETED,
    USER_NAME,
    WRONG_PASSWORD,
    RunningServer,
    ServerConfig,
    Wrapping,
    client_profile,
    openvpn_client,
)
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.topology import CLIENT, SERVER, Topology

PATIENCE_S = 15.0
KEYS = ("tls-auth", "tls-crypt", "tls-crypt-v2-server", "tls-crypt-v2-client")

SAMPLE = {
    "plain": ServerConfig(port=20000),
    "tls-auth-sha1": ServerConfig(port=20001, wrapping=Wrapping.TLS_AUTH_SHA1),
    "tls-auth-sha256": ServerConfig(port=20002, wrapping=Wrapping.TLS_AUTH_SHA256),
    "tls-auth-sha512": ServerConfig(port=20003, wrapping=Wrapping.TLS_AUTH_SHA512, transport=Transport.TCP),
    "tls-crypt": ServerConfig(port=20004, wrapping=Wrapping.TLS_CRYPT),
    "tls-crypt-v2": ServerConfig(port=20005, wrapping=Wrapping.TLS_CRYPT_V2, transport=Transport.TCP),
    "tls-crypt-v2-cookie": ServerConfig(port=20006, wrapping=Wrapping.TLS_CRYPT_V2_COOKIE),
    "rsa": ServerConfig(port=20007, algorithm=Algorithm.RSA),
    "password": ServerConfig(port=20008, user_password=True),
    "tls13": ServerConfig(port=20009, tls_version_min="1.3"),
    "same-port-tcp": ServerConfig(port=20000, transport=Transport.TCP),
    "one-cipher": ServerConfig(port=20010, data_ciphers=("CHACHA20-POLY1305",)),
    **{flaw.value: ServerConfig(port=20020 + index, flaw=flaw) for index, flaw in enumerate(Flaw) if flaw is not Flaw.NONE},
}
WELCOMING = [name for name, config in SAMPLE.items() if config.flaw is Flaw.NONE]


@pytest.fixture
def keys(tmp_path: Path) -> WrapKeys:
    made = WrapKeys(*(tmp_path / kind for kind in KEYS))
    for path in (made.tls_auth, made.tls_crypt, made.tls_crypt_v2_server, made.tls_crypt_v2_client):
        path.write_text(f"-----BEGIN {path.name}-----\n00\n-----END {path.name}-----\n")
    return made


def profile(keys: WrapKeys, folder: Path, config: ServerConfig, **overrides: str | None) -> list[str]:
    authority = Authority.make(folder / "pki", config.algorithm)
    return client_profile(config, ("192.0.2.1", config.port), authority, keys, **overrides).splitlines()


def test_a_profile_has_everything_inline(keys: WrapKeys, tmp_path: Path) -> None:
    config = ServerConfig(transport=Transport.TCP, port=443, wrapping=Wrapping.TLS_AUTH_SHA256, user_password=True, data_ciphers=("A", "B"))
    lines = profile(keys, tmp_path, config)
    assert {"client", "proto tcp-client", "remote 192.0.2.1 443", "auth SHA256", "key-direction 1", "data-ciphers A:B"} <= set(lines)
    for block in ("ca", "cert", "key", "tls-auth", "auth-user-pass"):
        assert lines.index(f"<{block}>") < lines.index(f"</{block}>")
    at = lines.index("<auth-user-pass>")
    assert lines[at + 1 : at + 3] == [USER_NAME, openvpn_servers.PASSWORD]


def test_overrides_set_take_out_and_become_blocks(keys: WrapKeys, tmp_path: Path) -> None:
    lines = profile(keys, tmp_path, ServerConfig(), remote_cert_tls=None, data_ciphers="A", auth_nocache="", ca="one\ntwo\n", cert=None)
    assert not any(line.startswith("remote-cert-tls") for line in lines)
    assert "data-ciphers A" in lines
    assert "auth-nocache" in lines
    assert lines[lines.index("<ca>") + 1 : lines.index("</ca>")] == ["one", "two"]
    assert "<cert>" not in lines


@pytest.mark.parametrize(
    ("wrapping", "block", "digest"),
    [
        (Wrapping.PLAIN, None, None),
        (Wrapping.TLS_AUTH_SHA1, "tls-auth", "SHA1"),
        (Wrapping.TLS_AUTH_SHA512, "tls-auth", "SHA512"),
        (Wrapping.TLS_CRYPT, "tls-crypt", None),
        (Wrapping.TLS_CRYPT_V2, "tls-crypt-v2", None),
        (Wrapping.TLS_CRYPT_V2_COOKIE, "tls-crypt-v2", None),
    ],
)
def test_a_profile_has_the_key_of_its_wrapping_alone(
    keys: WrapKeys, tmp_path: Path, wrapping: Wrapping, block: str | None, digest: str | None
) -> None:
    lines = profile(keys, tmp_path, ServerConfig(wrapping=wrapping))
    assert [line for line in lines if line.startswith("<tls-")] == ([f"<{block}>"] if block else [])
    assert [line for line in lines if line.startswith("auth ")] == ([f"auth {digest}"] if digest else [])
    assert ("key-direction 1" in lines) == (block == "tls-auth")
    if block == "tls-crypt-v2":
        assert "-----BEGIN tls-crypt-v2-client-----" in lines


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    require_tools()
    with Lab(Topology(routers=1), f"vplab-ovpn-{os.getpid()}") as built:
        yield built


@pytest.fixture(scope="module")
def servers(lab: Lab) -> Iterator[dict[str, RunningServer]]:
    try:
        with openvpn_servers.openvpn_servers(lab, list(SAMPLE.values())) as running:
            yield dict(zip(SAMPLE, running, strict=True))
    except CannotRun as lack:
        if lack.status is ExitStatus.MISSING:
            pytest.skip(str(lack))
        raise


def answers_echo(lab: Lab, address: str) -> bool:
    """One ICMP echo from the client's namespace, and its reply."""
    payload = struct.pack(">HH", os.getpid() & 0xFFFF, 1) + bytes(range(56))
    total = 0x0800 + sum(struct.unpack(f">{len(payload) // 2}H", payload))
    checksum = ~(total % 0xFFFF) & 0xFFFF
    with lab.inside(CLIENT):
        opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    with opened:
        opened.settimeout(PATIENCE_S)
        opened.sendto(struct.pack(">BBH", 8, 0, checksum) + payload, (address, 0))
        while True:
            try:
                packet = opened.recv(2000)
            except TimeoutError:
                return False
            if packet[20] == 0 and packet[24:] == payload:
                return True


@pytest.mark.root
@pytest.mark.real
@pytest.mark.requires("namespaces")
@pytest.mark.parametrize("name", WELCOMING)
def test_the_real_client_gets_in_and_the_gateway_answers(lab: Lab, servers: dict[str, RunningServer], name: str, tmp_path: Path) -> None:
    server = servers[name]
    with openvpn_client(lab, server.client_profile(), folder=tmp_path) as client:
        client.wait_for(COMPLETED, deadline_s=PATIENCE_S)
        assert client.address is not None
        assert client.address.startswith(f"{server.subnet}.")
        assert answers_echo(lab, server.gateway)
        assert lab.processes(CLIENT) == [client.process.pid]
    assert lab.processes(CLIENT) == []
    assert "Peer Connection Initiated" in server.log


@pytest.mark.root
@pytest.mark.real
@pytest.mark.requires("namespaces")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (Flaw.EXPIRED.value, "certificate has expired"),
        (Flaw.NOT_YET_VALID.value, "certificate is not yet valid"),
        (Flaw.OTHER_AUTHORITY.value, "unable to get local issuer certificate"),
        (Flaw.OTHER_PURPOSE.value, "certificate purpose"),
    ],
)
def test_the_real_client_refuses_a_server_for_its_certificate(
    lab: Lab, servers: dict[str, RunningServer], name: str, reason: str, tmp_path: Path
) -> None:
    with openvpn_client(lab, servers[name].client_profile(), folder=tmp_path) as client:
        assert reason in client.wait_for("VERIFY ERROR", deadline_s=PATIENCE_S)
        assert client.address is None


@pytest.mark.root
@pytest.mark.real
@pytest.mark.requires("namespaces")
def test_the_real_client_refuses_another_name_only_where_it_is_told_to(lab: Lab, servers: dict[str, RunningServer], tmp_path: Path) -> None:
    server = servers[Flaw.OTHER_NAME.value]
    with openvpn_client(lab, server.client_profile(), folder=tmp_path) as client:
        client.wait_for(COMPLETED, deadline_s=PATIENCE_S)
    named = server.client_profile(verify_x509_name=f"{Role.SERVER.common_name} name")
    with openvpn_client(lab, named, folder=tmp_path) as client:
        client.wait_for("VERIFY X509NAME ERROR", deadline_s=PATIENCE_S)


@pytest.mark.root
@pytest.mark.real
@pytest.mark.requires("namespaces")
def test_a_wrong_password_is_refused(lab: Lab, servers: dict[str, RunningServer], tmp_path: Path) -> None:
    refused = servers["password"].client_profile(auth_user_pass=f"{USER_NAME}\n{WRONG_PASSWORD}")
    with openvpn_client(lab, refused, folder=tmp_path) as client:
        client.wait_for("AUTH_FAILED", deadline_s=PATIENCE_S)
        with pytest.raises(CannotRun, match="the openvpn client ended without 'Initialization"):
            client.wait_for(COMPLETED, deadline_s=PATIENCE_S)


@pytest.mark.root
@pytest.mark.real
@pytest.mark.requires("namespaces")
@pytest.mark.parametrize(("flaw", "reason"), [(Flaw.EXPIRED, "has expired"), (Flaw.OTHER_AUTHORITY, "unable to get local issuer")])
def test_a_server_refuses_a_client_for_its_certificate(
    lab: Lab, servers: dict[str, RunningServer], flaw: Flaw, reason: str, tmp_path: Path
) -> None:
    server = servers["same-port-tcp"]
    wrong = server.client_profile(cert=server.authority.client(flaw).certificate_pem.decode())
    with openvpn_client(lab, wrong, folder=tmp_path) as client:
        client.wait_for("Connection reset", deadline_s=PATIENCE_S)
    assert reason in next(line for line in reversed(server.log.splitlines()) if "VERIFY ERROR" in line)


@pytest.mark.root
@pytest.mark.real
@pytest.mark.requires("namespaces")
def test_no_common_cipher_is_refused(lab: Lab, servers: dict[str, RunningServer], tmp_path: Path) -> None:
    with openvpn_client(lab, servers["one-cipher"].client_profile(data_ciphers="AES-128-GCM"), folder=tmp_path) as client:
        client.wait_for("no shared cipher", deadline_s=PATIENCE_S)


@pytest.mark.root
@pytest.mark.real
@pytest.mark.requires("namespaces")
def test_servers_leave_nothing_behind_and_take_turns_at_subnets(lab: Lab, servers: dict[str, RunningServer]) -> None:
    before = set(lab.processes(SERVER))
    assert before == {server.pid for server in servers.values()}
    with openvpn_servers.openvpn_servers(lab, [ServerConfig(port=30000), ServerConfig(port=30000, transport=Transport.TCP)]) as more:
        assert set(lab.processes(SERVER)) == before | {server.pid for server in more}
        subnets = {server.subnet for server in (*more, *servers.values())}
        assert len(subnets) == 2 + len(servers)
        folders = [server.folder for server in more]
    assert set(lab.processes(SERVER)) == before
    assert not any(folder.exists() for folder in folders)


@pytest.mark.root
@pytest.mark.real
@pytest.mark.requires("namespaces")
def test_one_server_that_cannot_start_ends_them_all(lab: Lab, servers: dict[str, RunningServer]) -> None:
    before = set(lab.processes(SERVER))
    good, taken = ServerConfig(port=30001), ServerConfig(port=SAMPLE["plain"].port)
    with pytest.raises(CannotRun, match="openvpn on port 20000 ended at once: "), openvpn_servers.openvpn_servers(lab, [good, taken]):
        pass
    assert set(lab.processes(SERVER)) == before


@pytest.mark.root
@pytest.mark.real
@pytest.mark.requires("namespaces")
def test_a_client_that_nobody_answers_is_said_to_wait(lab: Lab, servers: dict[str, RunningServer], tmp_path: Path) -> None:
    nowhere = servers["plain"].client_profile(remote=f"{lab.topology.server_address} 9")
    with (
        openvpn_client(lab, nowhere, folder=tmp_path) as client,
        pytest.raises(CannotRun, match=f"the openvpn client waits without '{COMPLETED}': "),
    ):
        client.wait_for(COMPLETED, deadline_s=0.3)


def test_a_missing_openvpn_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from vpnprobe.lab import daemons

    monkeypatch.setattr(daemons, "_SEARCH", str(tmp_path))
    with (
        pytest.raises(CannotRun, match="openvpn is missing: sudo apt install openvpn") as caught,
        openvpn_servers.openvpn_servers(Lab(Topology()), [ServerConfig()]),
    ):
        pass
    assert caught.value.status is ExitStatus.MISSING


@pytest.mark.root
@pytest.mark.real
@pytest.mark.requires("namespaces")
def test_a_server_that_never_says_it_is_ready_is_given_up(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(lab.processes(SERVER))
    monkeypatch.setattr(openvpn_servers, "START_DEADLINE_S", 0.3)
    silent = ServerConfig(port=30002, extra=("--verb", "0"))
    with pytest.raises(CannotRun, match="openvpn on port 30002 does not listen: "), openvpn_servers.openvpn_servers(lab, [silent]):
        pass
    assert set(lab.processes(SERVER)) == before
