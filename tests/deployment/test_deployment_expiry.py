"""What ends, and when it is time to do something about it."""

from dataclasses import replace
from datetime import timedelta

from deployment_site_support import NOW, settings

from vpnprobe.deployment import clients, pki, site
from vpnprobe.deployment.clients import State
from vpnprobe.deployment.expiry import due, endings
from vpnprobe.deployment.settings import Lifetimes
from vpnprobe.provisioning.revocation_lists import build_revocation_list


def authority() -> pki.Authority:
    made = site.new_site(settings(lifetimes=Lifetimes(authority=1000, server=200, client=100)), now=NOW).site
    for name in ("anna", "bert"):
        made = clients.add_client(made, name, now=NOW).site
    return clients.revoke_client(made, "bert", now=NOW).site.authority


def test_the_first_comes_first_and_revoked_clients_do_not_matter() -> None:
    found = [(ending.what, (ending.not_after - NOW).days, ending.mend) for ending in endings(authority(), now=NOW)]
    assert found == [
        ("the certificate of anna", 100, "vpnprobe provision client renew anna"),
        ("the server's certificate", 200, "vpnprobe provision renew server"),
        ("the authority", 1000, "vpnprobe provision renew ca"),
    ]


def test_what_is_due() -> None:
    def states(days: int) -> list[State]:
        return [ending.state for ending in due(authority(), now=NOW + timedelta(days=days))]

    assert states(69) == []
    assert states(70) == [State.ENDS_SOON]
    assert states(100) == [State.EXPIRED]
    assert states(199) == [State.EXPIRED, State.ENDS_SOON]
    assert states(1000) == [State.EXPIRED] * 3


def test_a_list_that_another_program_wrote_may_end_sooner() -> None:
    made = authority()
    sooner = build_revocation_list([], pki.open_issuer(made), number=1, this_update=NOW, next_update=NOW + timedelta(days=20))
    (found,) = due(replace(made, revocation_lists=(*made.revocation_lists, sooner)), now=NOW)
    assert (found.what, found.state) == ("a revocation list", State.ENDS_SOON)
    renewed = pki.renew_certificate_of_authority(replace(made, revocation_lists=(sooner,)), days=1000, now=NOW).authority
    assert due(renewed, now=NOW) == ()
