"""Clients are added, renewed, revoked and listed; names that are there, or are not, are refused."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from deployment_site_support import NOW, content, listener, settings, write

from vpnprobe.deployment import clients, pki, site
from vpnprobe.deployment.client_names import SERVER_NAME
from vpnprobe.deployment.client_profiles import Target
from vpnprobe.deployment.clients import State
from vpnprobe.deployment.settings import Lifetimes, Wrap
from vpnprobe.deployment.site import Outcome, Site
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.provisioning.revocation_lists import Reason, read_revocation_list


def fresh(**more: object) -> Site:
    return site.new_site(settings(**more), now=NOW).site


def with_anna() -> Outcome:
    return clients.add_client(fresh(), "anna", now=NOW)


def test_a_client_has_a_certificate_a_key_and_a_wrap_of_its_own() -> None:
    added = with_anna()
    assert {file.path.removeprefix("/etc/openvpn/vpnprobe/"): oct(file.mode) for file in added.files} == {
        "issued/anna.crt": "0o644",
        "private/anna.key": "0o600",
        "private/anna.tls-crypt-v2.key": "0o600",
        "index.jsonl": "0o600",
    }
    assert not added.restart
    assert not added.cut


def test_a_name_that_is_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"there is a client anna already, and nothing was changed: .*client renew anna") as refused:
        clients.add_client(with_anna().site, "anna", now=NOW)
    assert refused.value.status is ExitStatus.REFUSED


@pytest.mark.parametrize("name", ["../x", "a" * 300, "a\nb", "", SERVER_NAME])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a client"):
        clients.add_client(fresh(), name, now=NOW)


@pytest.mark.parametrize("name", ["nobody", SERVER_NAME, "../x", "a" * 300])
def test_whom_nobody_knows_is_not_revoked(name: str) -> None:
    with pytest.raises(UsageError, match="there is no client '") as refused:
        clients.revoke_client(with_anna().site, name, now=NOW)
    assert refused.value.status is ExitStatus.REFUSED
    assert len(str(refused.value)) < 160


@pytest.mark.parametrize(("name", "why"), [("nobody", "there is no client"), (SERVER_NAME, "the server's"), ("../x", "cannot be the name")])
def test_whom_nobody_knows_is_not_renewed(name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        clients.renew_client(with_anna().site, name, now=NOW)


def test_revoked_once() -> None:
    revoked = clients.revoke_client(with_anna().site, "anna", now=NOW, reason=Reason.KEY_COMPROMISE)
    assert revoked.cut == ("anna",)
    assert {file.path for file in revoked.files} == {pki.INDEX, pki.REVOCATION_LIST, pki.SERVED_REVOCATION_LIST}
    for done in (clients.revoke_client, clients.renew_client):
        with pytest.raises(UsageError, match="anna is revoked: 'vpnprobe provision client add anna' adds it anew"):
            done(revoked.site, "anna", now=NOW)


def test_added_again_after_its_revocation_the_old_certificate_stays_revoked() -> None:
    first = with_anna()
    again = clients.add_client(clients.revoke_client(first.site, "anna", now=NOW).site, "anna", now=NOW)
    serials = [x509.load_pem_x509_certificate(content(one.files, pki.issued_path("anna"))).serial_number for one in (first, again)]
    last = clients.revoke_client(clients.add_client(again.site, "bert", now=NOW).site, "bert", now=NOW)
    listed = {entry.serial for entry in read_revocation_list(content(last.files, pki.SERVED_REVOCATION_LIST)).entries}
    assert serials[0] in listed
    assert serials[1] not in listed


def test_a_renewed_client_has_two_certificates_and_a_revocation_takes_both() -> None:
    renewed = clients.renew_client(with_anna().site, "anna", now=NOW + timedelta(days=1))
    assert [one.certificates for one in clients.list_clients(renewed.site.authority, now=NOW)] == [2]
    assert "stays good" in renewed.told[0]
    assert len(clients.revoke_client(renewed.site, "anna", now=NOW).site.authority.revoked) == 2


def test_the_list() -> None:
    where = with_anna().site
    for name in ("bert", "carl"):
        where = clients.add_client(where, name, now=NOW).site
    where = clients.revoke_client(where, "bert", now=NOW, reason=Reason.SUPERSEDED).site

    def states(days: int) -> dict[str, State]:
        return {one.name: one.state for one in clients.list_clients(where.authority, now=NOW + timedelta(days=days))}

    assert states(0) == {"anna": State.GOOD, "bert": State.REVOKED, "carl": State.GOOD}
    assert states(800)["anna"] is State.ENDS_SOON
    assert states(825) == {"anna": State.EXPIRED, "bert": State.REVOKED, "carl": State.EXPIRED}
    bert = clients.list_clients(where.authority, now=NOW)[1]
    assert (bert.revoked_at, bert.reason, bert.certificates) == (NOW, Reason.SUPERSEDED, 0)


def test_a_passphrase() -> None:
    added = clients.add_client(fresh(), "anna", now=NOW, passphrase=b"open sesame")
    load_pem_private_key(content(added.files, pki.private_path("anna")), b"open sesame")
    text = clients.profile_after(added, "anna", Target.LINUX)
    assert "ENCRYPTED PRIVATE KEY" in text
    assert "\nauth-nocache\n" in text
    assert "open sesame" not in text
    with pytest.raises(UsageError, match="an empty passphrase protects nothing"):
        clients.add_client(fresh(), "anna", now=NOW, passphrase=b"")


def test_the_server_gets_a_new_certificate_of_the_same_name() -> None:
    renewed = clients.renew_server(with_anna().site, now=NOW)
    assert renewed.restart
    assert {site.SERVER_CERTIFICATE, site.SERVER_KEY} < {file.path for file in renewed.files}
    found = x509.load_pem_x509_certificate(content(renewed.files, site.SERVER_CERTIFICATE))
    assert pki.common_name(found) == SERVER_NAME


def test_the_authority_gets_a_new_certificate() -> None:
    where = clients.add_client(fresh(lifetimes=Lifetimes(authority=100)), "anna", now=NOW).site
    renewed = clients.renew_authority(where, now=NOW)
    assert renewed.restart
    assert "until 2026-06-09" in renewed.told[0]
    assert {pki.CERTIFICATE, pki.SERVED_CERTIFICATE, pki.SERVED_REVOCATION_LIST} < {file.path for file in renewed.files}


def test_a_profile_can_be_written_again(tmp_path: Path) -> None:
    made = site.new_site(settings(), now=NOW)
    added = clients.add_client(made.site, "anna", now=NOW)
    write((*made.files, *added.files), tmp_path)
    again = clients.profile_of(site.require_site(tmp_path, settings()), "anna", Target.IOS, tmp_path)
    assert again == clients.profile_after(added, "anna", Target.IOS)


def test_a_profile_without_its_key(tmp_path: Path) -> None:
    added = with_anna()
    with pytest.raises(UsageError, match=r"the key of anna is not on this server: .*client renew anna"):
        clients.profile_of(added.site, "anna", Target.LINUX, tmp_path)
    with pytest.raises(UsageError, match="there is no client 'bert'"):
        clients.profile_of(added.site, "bert", Target.LINUX, tmp_path)


def test_a_wrap_that_came_after_the_client(tmp_path: Path) -> None:
    """A listener with tls-crypt-v2 that is added later needs no new certificate."""
    made = site.new_site(settings(listener(wrap=Wrap.TLS_CRYPT)), now=NOW)
    added = clients.add_client(made.site, "anna", now=NOW)
    later = settings(listener(wrap=Wrap.TLS_CRYPT), listener(port=1195))
    write((*made.files, *added.files), tmp_path)
    write(site.complete(site.require_site(tmp_path, later), now=NOW).files, tmp_path)
    text = clients.profile_of(site.require_site(tmp_path, later), "anna", Target.LINUX, tmp_path)
    assert text.count("<connection>") == 2
    assert "OpenVPN tls-crypt-v2 client key" in text
