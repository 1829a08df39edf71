"""Clients of a server are added, revoked, renewed and listed here, and the server's and the authority's certificates renewed.

Each function takes what is there (`site.read_site`) and the time, and gives the files to be written and what follows from them. Nothing is
written here. A running server needs a restart for a new certificate of its own, and none for a new revocation list: it reads that again
when somebody connects, and who is connected is cut off (`Outcome.cut`, `management.cut_off`).
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from vpnprobe.deployment import pki
from vpnprobe.deployment.client_names import check_name
from vpnprobe.deployment.client_profiles import ClientMaterial, Target, check_target, client_profile
from vpnprobe.deployment.durable import inside
from vpnprobe.deployment.pki import Authority, Change, File, issued_path, private_path
from vpnprobe.deployment.pki_index import Event, Kind
from vpnprobe.deployment.settings import PKI, Wrap
from vpnprobe.deployment.site import Outcome, Site, client_wrap, server_certificate
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.provisioning.revocation_lists import Reason

SOON: Final = timedelta(days=30)
"""Before its end a certificate is said to end soon."""


class State(StrEnum):
    """Of a client."""

    GOOD = "good"
    ENDS_SOON = "ends-soon"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedClient:
    """One name. Of several certificates the newest that is not revoked counts, otherwise the newest."""

    name: str
    state: State
    serial: str
    """Hexadecimal."""
    not_after: datetime
    revoked_at: datetime | None = None
    """None: it is not revoked."""
    reason: Reason | None = None
    certificates: int = 0
    """How many of its certificates are let in now."""


def add_client(site: Site, name: str, *, now: datetime, passphrase: bytes | None = None) -> Outcome:
    """Raises UsageError for a name that cannot be, and (REFUSED) for one that is there. `passphrase`: for the client's private key."""
    check_name(name)
    if site.authority.index.of(name):
        what = f"there is a client {name} already, and nothing was changed"
        raise UsageError(f"{what}: 'vpnprobe provision client renew {name}' gives it a new certificate", status=ExitStatus.REFUSED)
    return _with_certificate(site, name, now, passphrase, Event.ISSUED)


def renew_client(site: Site, name: str, *, now: datetime, passphrase: bytes | None = None) -> Outcome:
    """A new key and certificate; the old one stays good until its end.

    Raises UsageError for a name that cannot be (an adopted authority may have such), and (REFUSED) for one that is not there.
    """
    _require(site, check_name(name))
    outcome = _with_certificate(site, name, now, passphrase, Event.RENEWED)
    told = f"the profile that {name} has had stays good until its certificate ends; revoking {name} revokes both"
    return replace(outcome, told=(told,))


def _with_certificate(site: Site, name: str, now: datetime, passphrase: bytes | None, event: Event) -> Outcome:
    days, algorithm = site.settings.lifetimes.client, site.settings.key_algorithm
    if passphrase is not None and not passphrase:
        raise UsageError("an empty passphrase protects nothing: give one, or none at all")
    change = pki.issue(site.authority, name, Kind.CLIENT, algorithm=algorithm, days=days, now=now, passphrase=passphrase, event=event)
    own = [_own_wrap(name, site.wraps[wrap], now) for wrap in site.wraps if wrap is Wrap.TLS_CRYPT_V2]
    return replace(_outcome(site, change), files=(*change.files, *own))


def wrap_path_of(name: str) -> str:
    """Where a client's own key of tls-crypt-v2 is kept."""
    return f"{PKI}/private/{name}.tls-crypt-v2.key"


def _own_wrap(name: str, server_key: str, now: datetime) -> File:
    content = client_wrap(server_key, now).encode()
    return File(path=wrap_path_of(name), content=content, mode=0o600, why=f"The key of tls-crypt-v2 that {name} has.", secret=True)


def revoke_client(site: Site, name: str, *, now: datetime, reason: Reason = Reason.UNSPECIFIED) -> Outcome:
    """All certificates of the name, for ever. Raises UsageError (REFUSED) for a name that is not there."""
    _require(site, name)
    change = pki.revoke(site.authority, name, reason=reason, now=now)
    told = f"{name} is revoked for ever; a client of the same name that is added again has another certificate"
    return replace(_outcome(site, change), told=(told,), cut=(name,))


def renew_server(site: Site, *, now: datetime) -> Outcome:
    """A new key and certificate of the same name. Clients need nothing new."""
    change = server_certificate(site.authority, site.settings, now, Event.RENEWED)
    told = "the server has a new certificate: it is started anew, clients connect again and need nothing new"
    return replace(_outcome(site, change), told=(told,), restart=True)


def renew_authority(site: Site, *, now: datetime) -> Outcome:
    """A new certificate of the authority for the key that it has; all that it has issued stays good."""
    old = site.authority.not_after
    change = pki.renew_certificate_of_authority(site.authority, days=site.settings.lifetimes.authority, now=now)
    told = (
        f"all certificates stay good; profiles written until now know the authority until {old:%Y-%m-%d}: write them again before that "
        "('vpnprobe provision client profile NAME')",
        "no certificate has become longer by it: 'vpnprobe provision renew server' and 'client renew NAME' do that",
    )
    return replace(_outcome(site, change), told=told, restart=True)


def _outcome(site: Site, change: Change) -> Outcome:
    return Outcome(site=replace(site, authority=change.authority), files=change.files)


def _require(site: Site, name: str) -> None:
    """Raises UsageError (REFUSED) where no client of this name has a certificate that is not revoked."""
    found = [entry for entry in site.authority.index.certificates() if entry.name == name and entry.kind is Kind.CLIENT]
    if not found:
        shown = ascii(name if len(name) <= 64 else f"{name[:20]}...")
        raise UsageError(f"there is no client {shown}: 'vpnprobe provision client list' shows them", status=ExitStatus.REFUSED)
    if not site.authority.index.of(name):
        raise UsageError(f"{name} is revoked: 'vpnprobe provision client add {name}' adds it anew", status=ExitStatus.REFUSED)


def list_clients(authority: Authority, *, now: datetime) -> tuple[ListedClient, ...]:
    """All names that ever had a certificate for clients, by name."""
    names = {entry.name for entry in authority.index.certificates() if entry.kind is Kind.CLIENT}
    return tuple(_listed(authority, name, now) for name in sorted(names))


def _listed(authority: Authority, name: str, now: datetime) -> ListedClient:
    revoked = {entry.serial: entry for entry in authority.revoked}
    all_of_it = [entry for entry in authority.index.certificates() if entry.name == name]
    good = [entry for entry in all_of_it if entry.serial not in revoked]
    newest = (good or all_of_it)[-1]
    gone = revoked.get(newest.serial)
    return ListedClient(
        name=name,
        state=State.REVOKED if gone is not None else state_at(newest.not_after, now),
        serial=f"{newest.serial:x}",
        not_after=newest.not_after,
        revoked_at=None if gone is None else gone.at,
        reason=None if gone is None else gone.reason,
        certificates=sum(entry.not_after > now for entry in good),
    )


def state_at(not_after: datetime, now: datetime) -> State:
    """Of what is not revoked."""
    if not_after <= now:
        return State.EXPIRED
    return State.ENDS_SOON if not_after <= now + SOON else State.GOOD


def profile_of(site: Site, name: str, target: Target, root: Path) -> str:
    """The profile of a client whose key is below `root`. Raises UsageError: no such client, no key, a target that is not supported."""
    check_target(target)
    _require(site, name)
    certificate, key, own_wrap = (_text(root, path) for path in (issued_path(name), private_path(name), wrap_path_of(name)))
    adopted = site.authority.index.adoption
    if not key and adopted is not None:
        folder = adopted.folder
        certificate, key = (_text(root, f"{folder}/{path}") for path in (f"issued/{check_name(name)}.crt", f"private/{name}.key"))
    return written_profile(site, name, target, _only_pem(certificate), key, own_wrap)


def written_profile(site: Site, name: str, target: Target, certificate: str, key: str, own_wrap: str) -> str:
    """`certificate`, `key` and `own_wrap` (of tls-crypt-v2) are contents of files, empty where there is none."""
    if not certificate or not key:
        what = f"the key of {name} is not on this server"
        raise UsageError(f"{what}: 'vpnprobe provision client renew {name}' makes a new one", status=ExitStatus.REFUSED)
    wraps = dict(site.wraps)
    if Wrap.TLS_CRYPT_V2 in wraps:
        wraps[Wrap.TLS_CRYPT_V2] = own_wrap or client_wrap(wraps[Wrap.TLS_CRYPT_V2], datetime.now(UTC))
    material = ClientMaterial(
        name=name,
        authority=site.authority.certificate.decode(),
        certificate=certificate,
        key=key,
        passphrase="ENCRYPTED" in key,
        wraps=wraps,
    )
    return client_profile(site.settings, material, target)


def profile_after(outcome: Outcome, name: str, target: Target) -> str:
    """The profile of a client that `outcome` has just added or renewed."""
    written = {file.path: file.content.decode() for file in outcome.files}
    texts = [written.get(path, "") for path in (issued_path(name), private_path(name), wrap_path_of(name))]
    return written_profile(outcome.site, name, target, *texts)


def _only_pem(certificate: str) -> str:
    """Without the text for people that easy-rsa has before it."""
    return certificate[max(0, certificate.find("-----BEGIN CERTIFICATE-----")) :]


def _text(root: Path, path: str) -> str:
    """Empty: it is not there."""
    try:
        return inside(root, path).read_text("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "it is no text"
        raise UsageError(f"{path} cannot be read: {why}", status=ExitStatus.UNREADABLE) from None
