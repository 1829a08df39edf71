"""A rollback never lets in again, or forgets, without a word."""

from datetime import datetime
from pathlib import Path

import pytest
from deployment_site_support import NOW, settings, write

from vpnprobe.deployment.clients import add_client, revoke_client
from vpnprobe.deployment.durable import inside
from vpnprobe.deployment.pki import INDEX, REVOCATION_LIST
from vpnprobe.deployment.pki_forgotten import forgotten, known_certificates
from vpnprobe.deployment.site import Outcome, new_site


def before_and_after(root: Path, now: datetime = NOW) -> tuple[Outcome, Outcome]:
    """`anna` is there and revoked later, `bert` comes later. What is on the disk is the later one."""
    first = new_site(settings(), now=now)
    anna = add_client(first.site, "anna", now=now)
    bert = add_client(anna.site, "bert", now=now)
    later = revoke_client(bert.site, "anna", now=now)
    for outcome in (first, anna):
        write(outcome.files, root)
    old = Outcome(site=anna.site, files=tuple(file for file in (*first.files, *anna.files) if file.path in (INDEX, REVOCATION_LIST)))
    for outcome in (bert, later):
        write(outcome.files, root)
    return old, later


def test_what_goes_from_an_authority_that_stays_is_said(tmp_path: Path) -> None:
    old, _ = before_and_after(tmp_path)
    known = known_certificates(tmp_path)
    write(old.files, tmp_path)
    assert list(forgotten(known, tmp_path)) == [
        "the certificate of bert is no longer in the index, and still lets in whoever has its profile: destroy that profile",
        f"{REVOCATION_LIST} is as it was before: it revokes anna no more, who had been revoked since",
    ]


def test_nothing_is_said_of_what_stays_or_goes_as_a_whole(tmp_path: Path) -> None:
    before_and_after(tmp_path)
    known = known_certificates(tmp_path)
    assert list(forgotten(known, tmp_path)) == []
    for path in (INDEX, REVOCATION_LIST):
        inside(tmp_path, path).unlink()
    assert list(forgotten(known, tmp_path)) == []
    assert list(forgotten(None, tmp_path)) == []


@pytest.mark.parametrize("damaged", [b"", b"{", b"\xff"])
def test_what_cannot_be_read_stops_nothing(tmp_path: Path, damaged: bytes) -> None:
    before_and_after(tmp_path)
    known = known_certificates(tmp_path)
    for path in (INDEX, REVOCATION_LIST):
        inside(tmp_path, path).write_bytes(damaged)
    assert all("anna" not in line for line in forgotten(known, tmp_path))
