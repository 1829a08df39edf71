"""The keys of a server: made whole, read back as written, completed where something is missing, and given as steps of a plan."""

import hashlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from deployment_site_support import NOW, content, listener, settings, write

from vpnprobe.deployment import clients, pki, site
from vpnprobe.deployment.client_names import SERVER_NAME
from vpnprobe.deployment.durable import inside
from vpnprobe.deployment.settings import Wrap
from vpnprobe.deployment.steps import ABSENT, NOT_COMPARED
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.observations.schema import Transport
from vpnprobe.wire.openvpn_keys import METADATA_TIMESTAMP, ClientKeyV2, ServerKeyV2, StaticKey

TWO = settings(listener(), listener(Transport.TCP, 443, Wrap.TLS_CRYPT))


def test_a_new_site_is_whole() -> None:
    made = site.new_site(TWO, now=NOW)
    assert {file.path: oct(file.mode) for file in made.files if file.path.startswith("/etc/openvpn/server")} == {
        "/etc/openvpn/server/vpnprobe/ca.crt": "0o644",
        "/etc/openvpn/server/vpnprobe/crl.pem": "0o644",
        "/etc/openvpn/server/vpnprobe/server.crt": "0o644",
        "/etc/openvpn/server/vpnprobe/server.key": "0o600",
        "/etc/openvpn/server/vpnprobe/tls-crypt-v2.key": "0o600",
        "/etc/openvpn/server/vpnprobe/tls-crypt.key": "0o600",
    }
    assert len({file.path for file in made.files}) == len(made.files)
    assert made.restart
    assert made.site.served
    found = x509.load_pem_x509_certificate(content(made.files, site.SERVER_CERTIFICATE))
    assert pki.common_name(found) == SERVER_NAME
    assert found.not_valid_after_utc == NOW + timedelta(days=825)
    ServerKeyV2.decode(content(made.files, "/etc/openvpn/server/vpnprobe/tls-crypt-v2.key").decode())
    StaticKey.decode(content(made.files, "/etc/openvpn/server/vpnprobe/tls-crypt.key").decode())


@pytest.mark.parametrize("wrap", Wrap)
def test_what_a_running_server_does_not_read_again(wrap: Wrap) -> None:
    chosen = settings(listener(wrap=wrap))
    written = {file.path for file in site.new_site(chosen, now=NOW).files if file.path.startswith("/etc/openvpn/server/")}
    assert written - {pki.SERVED_REVOCATION_LIST} == set(site.read_once(chosen.listeners[0]))


def test_all_that_is_secret_is_said_to_be_and_the_other_way_round() -> None:
    for file in site.new_site(TWO, now=NOW).files:
        assert file.secret == (b"PRIVATE KEY" in file.content or b"OpenVPN" in file.content)
        assert file.mode == (0o600 if file.secret or file.path == pki.INDEX else 0o644)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert site.read_site(tmp_path, TWO) is None
    with pytest.raises(UsageError, match="there is no authority") as refused:
        site.require_site(tmp_path, TWO)
    assert refused.value.status is ExitStatus.REFUSED
    made = site.new_site(TWO, now=NOW)
    write(made.files, tmp_path)
    assert site.require_site(tmp_path, TWO) == made.site


def test_links_are_read_as_the_server_reads_them(tmp_path: Path) -> None:
    """An absolute one stays below the root."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x.conf").write_text("there\n")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/openvpn").symlink_to("/data")
    assert site.digest(tmp_path, "/etc/openvpn/x.conf") == hashlib.sha256(b"there\n").hexdigest()


def test_nothing_is_missing_in_a_whole_one() -> None:
    made = site.new_site(TWO, now=NOW).site
    assert site.complete(made, now=NOW).files == ()
    assert not site.complete(made, now=NOW).restart


def test_a_further_wrap_gets_its_key_and_the_others_keep_theirs() -> None:
    made = site.new_site(TWO, now=NOW).site
    more = replace(made, settings=settings(*TWO.listeners, listener(port=1195, wrap=Wrap.TLS_AUTH), listener(port=1196, wrap=Wrap.NONE)))
    after = site.complete(more, now=NOW)
    assert [file.path for file in after.files] == ["/etc/openvpn/server/vpnprobe/tls-auth.key"]
    assert made.wraps.items() < after.site.wraps.items()


def test_a_server_whose_certificate_is_gone_gets_a_new_one() -> None:
    made = site.new_site(TWO, now=NOW).site
    after = site.complete(replace(made, served=False), now=NOW)
    assert {site.SERVER_CERTIFICATE, site.SERVER_KEY, pki.SERVED_CERTIFICATE, pki.SERVED_REVOCATION_LIST} <= {
        file.path for file in after.files
    }
    assert len(after.site.authority.index.of(SERVER_NAME)) == 2


def test_a_clients_own_wrap_is_the_servers() -> None:
    made = site.new_site(TWO, now=NOW).site
    server = made.wraps[Wrap.TLS_CRYPT_V2]
    first, second = (ClientKeyV2.decode(site.client_wrap(server, NOW)) for _ in range(2))
    assert first.key != second.key
    key, metadata = ServerKeyV2.decode(server).unwrap(first.wrapped)
    assert key == first.key
    assert metadata == METADATA_TIMESTAMP + int(NOW.timestamp()).to_bytes(8, "big")
    with pytest.raises(UsageError, match="is no key of tls-crypt-v2"):
        site.client_wrap("nothing", NOW)


def test_steps_say_what_they_replace(tmp_path: Path) -> None:
    made = site.new_site(TWO, now=NOW)
    steps = list(site.file_steps(made.files, tmp_path))
    assert {step.before for step in steps} == {ABSENT}
    assert {step.before for step in site.file_steps(made.files, None)} == {NOT_COMPARED}
    write(made.files, tmp_path)
    after = clients.add_client(site.require_site(tmp_path, TWO), "anna", now=NOW)
    there = {file.path: hashlib.sha256(file.content).hexdigest() for file in made.files}
    for step in site.file_steps(after.files, tmp_path):
        assert step.before == there.get(step.path, ABSENT)
    assert len({step.id for step in (*steps, *site.folder_steps())}) == len(steps) + 4
    assert [(step.path, step.content, step.mode, step.secret) for step in steps] == [
        (file.path, file.content, file.mode, file.secret) for file in made.files
    ]


def test_of_two_changes_at_once_one_is_refused(tmp_path: Path) -> None:
    """Or a revocation could be lost: what the index was when it was read is compared when it is written."""
    write(site.new_site(TWO, now=NOW).files, tmp_path)
    first, second = (site.require_site(tmp_path, TWO) for _ in range(2))
    write(clients.add_client(first, "anna", now=NOW).files, tmp_path)
    late = clients.add_client(second, "bert", now=NOW)
    (step,) = [step for step in site.file_steps(late.files, tmp_path) if step.path == pki.INDEX]
    assert step.before != hashlib.sha256(inside(tmp_path, pki.INDEX).read_bytes()).hexdigest()


def test_steps_show_no_key() -> None:
    made = site.new_site(TWO, now=NOW)
    for shown in (repr(list(site.file_steps(made.files, None))), repr(made), repr(made.site)):
        assert "PRIVATE" not in shown
        assert "BEGIN OpenVPN" not in shown


def test_the_folder_of_the_running_server_can_be_entered() -> None:
    assert {step.path: oct(step.mode) for step in site.folder_steps()} == {
        "/etc/openvpn/vpnprobe": "0o700",
        "/etc/openvpn/vpnprobe/issued": "0o700",
        "/etc/openvpn/vpnprobe/private": "0o700",
        "/etc/openvpn/server/vpnprobe": "0o755",
    }


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    made = site.new_site(TWO, now=NOW)
    write(made.files, tmp_path)
    inside(tmp_path, "/etc/openvpn/server/vpnprobe/tls-crypt.key").write_bytes(b"\xff")
    with pytest.raises(UsageError, match=r"tls-crypt\.key cannot be read: it is no text"):
        site.read_site(tmp_path, TWO)
    folder = tmp_path / "folder"
    folder.mkdir()
    file = pki.File(path="/folder", content=b"", mode=0o600, why="")
    with pytest.raises(UsageError, match="cannot be read: is no regular file"):
        list(site.file_steps([file], tmp_path))
