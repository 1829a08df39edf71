"""An authority of the real easy-rsa goes on here: what it issued stays good, what it revoked stays revoked, its folder stays as it is."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from deployment_easy_rsa_support import FOLDER, SERVED, EasyRsa, with_clients
from deployment_site_support import NOW, content, settings, write
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.deployment import clients, pki, pki_adoption, site
from vpnprobe.deployment.client_profiles import Target
from vpnprobe.deployment.clients import State
from vpnprobe.deployment.durable import inside
from vpnprobe.deployment.pki_adoption import adopt
from vpnprobe.deployment.pki_index import Event, Kind
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.provisioning.revocation_lists import Reason, read_revocation_list

PASSPHRASE = "open sesame"


@pytest.fixture(scope="module")
def easy_rsa(tmp_path_factory: pytest.TempPathFactory, requires: Callable[..., None]) -> EasyRsa:
    requires("easy-rsa", "openssl")
    return with_clients(tmp_path_factory.mktemp("easy-rsa"))


def adopted(easy_rsa: EasyRsa) -> pki.Change:
    return adopt(easy_rsa.root, FOLDER, now=datetime.now(UTC), served=(SERVED,), passphrase=easy_rsa.passphrase.encode() or None)


def test_what_is_taken_over(easy_rsa: EasyRsa) -> None:
    change = adopted(easy_rsa)
    listed = {(one.event, one.kind, one.name, one.reason) for one in change.authority.index.entries}
    assert listed == {
        (Event.ISSUED, Kind.SERVER, "old-server", None),
        (Event.ISSUED, Kind.CLIENT, "anna", None),
        (Event.REVOKED, Kind.CLIENT, "anna", Reason.KEY_COMPROMISE),
        (Event.ISSUED, Kind.CLIENT, "bert", None),
        (Event.ISSUED, Kind.CLIENT, "carl", None),
    }
    assert all(len(one.fingerprint) == 64 for one in change.authority.index.entries)
    states = {one.name: one.state for one in clients.list_clients(change.authority, now=datetime.now(UTC))}
    assert states == {"anna": State.REVOKED, "bert": State.GOOD, "carl": State.GOOD}


def test_nothing_of_it_is_written_but_its_lists(easy_rsa: EasyRsa) -> None:
    change = adopted(easy_rsa)
    outside = {file.path for file in change.files if not file.path.startswith(("/etc/openvpn/vpnprobe/", "/etc/openvpn/server/vpnprobe/"))}
    assert outside == {f"{FOLDER}/crl.pem", SERVED}
    found = read_revocation_list(content(change.files, SERVED))
    assert len(found.entries) == 1
    assert found.next_update == change.authority.not_after


def test_it_goes_on(easy_rsa: EasyRsa) -> None:
    """Old and new certificates under one authority, one list for both servers; the folder stays as it was."""
    before = easy_rsa.state()
    write(adopted(easy_rsa).files, easy_rsa.root)
    now = datetime.now(UTC)
    write(site.complete(site.require_site(easy_rsa.root, settings()), now=now).files, easy_rsa.root)
    read = site.require_site(easy_rsa.root, settings())
    added = clients.add_client(read, "dora", now=now)
    write(added.files, easy_rsa.root)
    dora = x509.load_pem_x509_certificate(content(added.files, pki.issued_path("dora")))
    dora.verify_directly_issued_by(x509.load_pem_x509_certificate(read.authority.certificate))
    write(clients.revoke_client(site.require_site(easy_rsa.root, settings()), "bert", now=now).files, easy_rsa.root)
    assert "revoked" in easy_rsa.verify("anna")
    assert "revoked" in easy_rsa.verify("bert")
    assert easy_rsa.verify("carl").endswith("OK\n")
    assert easy_rsa.state() == before
    with pytest.raises(UsageError, match="there is an authority in /etc/openvpn/vpnprobe already") as refused:
        adopted(easy_rsa)
    assert refused.value.status is ExitStatus.REFUSED
    # A client whose key easy-rsa has kept gets a profile.
    profile = clients.profile_of(site.require_site(easy_rsa.root, settings()), "carl", Target.LINUX, easy_rsa.root)
    assert (inside(easy_rsa.root, f"{FOLDER}/private/carl.key")).read_text() in profile
    assert "Certificate:" not in profile
    # What easy-rsa itself revokes later is not forgotten.
    easy_rsa("revoke", "carl")
    easy_rsa("gen-crl")
    write(clients.revoke_client(site.require_site(easy_rsa.root, settings()), "dora", now=now).files, easy_rsa.root)
    served = read_revocation_list(inside(easy_rsa.root, SERVED).read_bytes())
    assert len(served.entries) == 4
    renewed = clients.renew_authority(site.require_site(easy_rsa.root, settings()), now=now + timedelta(days=1))
    write(renewed.files, easy_rsa.root)
    assert easy_rsa.verify("old-server").endswith("OK\n")
    assert easy_rsa.verify("old-server", authority=f"{FOLDER}/ca.crt").endswith("OK\n")


def test_a_passphrase_stays_on_the_key(tmp_path: Path, requires: Callable[..., None]) -> None:
    requires("easy-rsa", "openssl")
    made = EasyRsa(tmp_path, passphrase=PASSPHRASE)
    change = adopted(made)
    assert b"ENCRYPTED" in content(change.files, pki.KEY)
    assert change.authority.index.entries == ()
    assert change.authority.index.adoption is not None
    assert change.authority.index.adoption.revocation_lists == (SERVED,)
    pki.issue(change.authority, "anna", Kind.CLIENT, algorithm=settings().key_algorithm, days=1, now=datetime.now(UTC))
    for passphrase, problem in ((None, "needs its passphrase"), (b"wrong", "the passphrase is wrong")):
        with pytest.raises(UsageError, match=problem):
            adopt(tmp_path, FOLDER, now=datetime.now(UTC), passphrase=passphrase)
    assert PASSPHRASE not in repr(change)


RECORDED = (
    "R\t290303045728Z\t261129045728Z,keyCompromise\t07DDC819861B46BD8E357E980062CF4E\tunknown\t/CN=anna\n"
    "E\t190303045728Z\t\t0A\tunknown\t/C=DE/O=Old/CN=old one/emailAddress=a@example.org\n"
    "V\t20630303045728Z\t\tF70F\tunknown\t/O=no name\n"
)


def folder_with(tmp_path: Path, index: bytes) -> Path:
    """As easy-rsa's, without copies of certificates."""
    made = pki.new_authority(algorithm=settings().key_algorithm, days=3650, now=NOW)
    folder = inside(tmp_path, FOLDER)
    (folder / "private").mkdir(parents=True)
    (folder / "ca.crt").write_bytes(made.authority.certificate)
    (folder / "private" / "ca.key").write_bytes(made.authority.key)
    (folder / "index.txt").write_bytes(index)
    return tmp_path


def test_an_index_without_certificates(tmp_path: Path) -> None:
    change = adopt(folder_with(tmp_path, RECORDED.encode()), FOLDER, now=NOW)
    found = [(one.event, one.name, one.serial, one.not_after.year, one.fingerprint) for one in change.authority.index.entries]
    anna = 0x07DDC819861B46BD8E357E980062CF4E
    assert found == [
        (Event.ISSUED, "anna", anna, 2029, ""),
        (Event.REVOKED, "anna", anna, 2029, ""),
        (Event.ISSUED, "old one", 10, 2019, ""),
        (Event.ISSUED, "", 0xF70F, 2063, ""),
    ]
    (entry,) = read_revocation_list(content(change.files, pki.SERVED_REVOCATION_LIST)).entries
    assert (entry.serial, entry.reason, entry.at) == (anna, Reason.KEY_COMPROMISE, datetime(2026, 11, 29, 4, 57, 28, tzinfo=UTC))
    # A name that new clients could not have is revoked all the same, and gets nothing new.
    where = replace(site.new_site(settings(), now=NOW).site, authority=change.authority)
    assert clients.revoke_client(where, "old one", now=NOW).cut == ("old one",)
    with pytest.raises(UsageError, match="cannot be the name of a client"):
        clients.renew_client(where, "old one", now=NOW)


@given(
    st.text(max_size=80)
    | st.sampled_from(["V\t", "X\t1\t2\t3\t4\t5", "V\t290303045728Z\t\tzz\tu\t/CN=a", "R\t290303045728Z\tno\t0A\tu\t/CN=a"])
)
def test_any_line_is_read_or_refused(line: str) -> None:
    try:
        list(pki_adoption._lines(line.encode("utf-8", "replace"), "index.txt"))
    except UsageError as refused:
        assert refused.status is ExitStatus.UNREADABLE
        assert str(refused).startswith("line ")


def test_what_is_no_authority(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"pki/ca\.crt cannot be read: No such file") as refused:
        adopt(tmp_path, FOLDER, now=NOW)
    assert refused.value.status is ExitStatus.UNREADABLE
    folder_with(tmp_path, b"")
    made = site.new_site(settings(), now=NOW)
    (inside(tmp_path, FOLDER) / "ca.crt").write_bytes(content(made.files, site.SERVER_CERTIFICATE))
    with pytest.raises(UsageError, match=r"pki/ca\.crt is no certificate of an authority"):
        adopt(tmp_path, FOLDER, now=NOW)
