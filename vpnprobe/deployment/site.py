"""The keys of a server as they lie on it: its authority, what wraps its control channels, and where a change of them is written.

Files below `settings.KEYS` are what the running server reads; the authority (`settings.PKI`) is nothing to it. A change becomes steps of a
plan, so that it is journalled and taken back like any other.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Final, assert_never

from vpnprobe.deployment import pki
from vpnprobe.deployment.client_names import SERVER_NAME
from vpnprobe.deployment.durable import inside
from vpnprobe.deployment.effects import digest_of
from vpnprobe.deployment.openvpn_server import wrap_path
from vpnprobe.deployment.pki import Authority, Change, File, read_authority
from vpnprobe.deployment.pki_index import Event, Kind
from vpnprobe.deployment.settings import KEYS, PKI, Listener, Settings, Wrap
from vpnprobe.deployment.steps import NOT_COMPARED, MakeDirectory, WriteFile
from vpnprobe.errors import DecodeError, ExitStatus, UsageError
from vpnprobe.wire.openvpn_keys import METADATA_TIMESTAMP, SERVER_KEY_BYTES, STATIC_KEY_BYTES, ServerKeyV2, StaticKey

SERVER_CERTIFICATE: Final = f"{KEYS}/server.crt"
SERVER_KEY: Final = f"{KEYS}/server.key"
FOLDERS: Final = (
    (PKI, 0o700, "The authority is root's alone."),
    (f"{PKI}/issued", 0o700, "Certificates that it has issued."),
    (f"{PKI}/private", 0o700, "Private keys of clients, so that their profiles can be written again."),
    (KEYS, 0o755, "Whom the server drops its privileges to has to reach the revocation list in it; keys in it are root's alone."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A server's keys, as far as they are there."""

    settings: Settings
    authority: Authority
    wraps: Mapping[Wrap, str] = field(repr=False)
    """The server's key file of each wrap."""
    served: bool
    """Whether the server's own certificate and key are where it reads them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is to be done, and what follows from it."""

    site: Site
    """As it will be."""
    files: tuple[File, ...]
    told: tuple[str, ...] = ()
    """Lines for the user."""
    cut: tuple[str, ...] = ()
    """Common names whose sessions are to be cut once the files are there."""
    restart: bool = False
    """Whether a running server has to be started anew."""


def read_once(listener: Listener) -> tuple[str, ...]:
    """Files whose change a running server sees only when it is started anew. The revocation list is read again by itself."""
    wrap = wrap_path(listener.wrap)
    return (SERVER_CERTIFICATE, SERVER_KEY, pki.SERVED_CERTIFICATE, *((wrap,) if wrap is not None else ()))


def read_site(root: Path, settings: Settings, *, passphrase: bytes | None = None) -> Site | None:
    """What is there below `root`; None: no authority. Raises UsageError (UNREADABLE) where a part cannot be read.

    `passphrase`: of the authority's key, where it has one.
    """
    authority = read_authority(root, passphrase=passphrase)
    if authority is None:
        return None
    wraps = {wrap: _text(root, path) for wrap in Wrap if (path := wrap_path(wrap)) is not None and inside(root, path).exists()}
    served = inside(root, SERVER_CERTIFICATE).exists() and inside(root, SERVER_KEY).exists()
    return Site(settings=settings, authority=authority, wraps=wraps, served=served)


def require_site(root: Path, settings: Settings, *, passphrase: bytes | None = None) -> Site:
    """As `read_site`. Raises UsageError (REFUSED) where nothing is there."""
    site = read_site(root, settings, passphrase=passphrase)
    if site is None:
        raise UsageError(f"there is no authority in {PKI}: apply a plan first (vpnprobe provision apply)", status=ExitStatus.REFUSED)
    return site


def _text(root: Path, path: str) -> str:
    try:
        return inside(root, path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "it is no text"
        raise UsageError(f"{path} cannot be read: {why}", status=ExitStatus.UNREADABLE) from None


def new_site(settings: Settings, *, now: datetime) -> Outcome:
    """An authority, the server's certificate and the keys of its wraps, all fresh."""
    change = pki.new_authority(algorithm=settings.key_algorithm, days=settings.lifetimes.authority, now=now)
    return complete(Site(settings=settings, authority=change.authority, wraps={}, served=False), now=now, begun=change)


def complete(site: Site, *, now: datetime, begun: Change | None = None) -> Outcome:
    """Adds what the settings want and is missing: the server's certificate, the keys of wraps. `begun`: what is to be written besides."""
    change = begun or pki.with_revocation_list(site.authority, now) if not site.served else Change(authority=site.authority, files=())
    if not site.served:
        event = Event.RENEWED if change.authority.index.of(SERVER_NAME) else Event.ISSUED
        change = change.then(server_certificate(change.authority, site.settings, now, event))
    wanted = dict.fromkeys(listener.wrap for listener in site.settings.listeners)
    new: dict[Wrap, str] = {wrap: _new_wrap(wrap) for wrap in wanted if wrap is not Wrap.NONE and wrap not in site.wraps}
    files = (*change.files, *(_wrap_file(wrap, key) for wrap, key in new.items()))
    after = replace(site, authority=change.authority, wraps={**site.wraps, **new}, served=True)
    return Outcome(site=after, files=files, restart=bool(files))


def server_certificate(authority: Authority, settings: Settings, now: datetime, event: Event) -> Change:
    """A new key and certificate, where the server reads them."""
    days, algorithm = settings.lifetimes.server, settings.key_algorithm
    change = pki.issue(authority, SERVER_NAME, Kind.SERVER, algorithm=algorithm, days=days, now=now, event=event)
    # The server's key lies where the server reads it and nowhere else.
    moved = {pki.private_path(SERVER_NAME): SERVER_KEY}
    files = [replace(file, path=moved.get(file.path, file.path)) for file in change.files]
    copies = [replace(file, path=SERVER_CERTIFICATE) for file in files if file.path == pki.issued_path(SERVER_NAME)]
    served = File(path=pki.SERVED_CERTIFICATE, content=authority.certificate, mode=0o644, why="The certificate of the authority.")
    return Change(authority=change.authority, files=(*files, *copies, served))


def _new_wrap(wrap: Wrap) -> str:
    """The server's key file."""
    match wrap:
        case Wrap.TLS_CRYPT_V2:
            return ServerKeyV2(secrets.token_bytes(SERVER_KEY_BYTES)).encode()
        case Wrap.TLS_CRYPT | Wrap.TLS_AUTH:
            return StaticKey(secrets.token_bytes(STATIC_KEY_BYTES)).encode()
        case Wrap.NONE:
            return ""
        case _:
            assert_never(wrap)


def client_wrap(server_key: str, now: datetime) -> str:
    """A client's own key file for tls-crypt-v2, wrapped with the server's. Raises UsageError (UNREADABLE) where that is none."""
    try:
        server = ServerKeyV2.decode(server_key)
    except DecodeError as problem:
        what = f"{wrap_path(Wrap.TLS_CRYPT_V2)} is no key of tls-crypt-v2: {problem.problem}"
        raise UsageError(what, status=ExitStatus.UNREADABLE) from None
    made_at = METADATA_TIMESTAMP + int(now.timestamp()).to_bytes(8, "big")
    return server.wrap(StaticKey(secrets.token_bytes(STATIC_KEY_BYTES)), made_at).encode()


def _wrap_file(wrap: Wrap, key: str) -> File:
    why = f"The key of {wrap}, which wraps the control channel."
    return File(path=wrap_path(wrap) or "", content=key.encode(), mode=0o600, why=why, secret=True)


def folder_steps() -> Iterator[MakeDirectory]:
    """Folders that the files of a site lie in; they come before `file_steps`."""
    return (MakeDirectory(id=_id("folder", path), why=why, path=path, mode=mode) for path, mode, why in FOLDERS)


def file_steps(files: Iterable[File], root: Path | None) -> Iterator[WriteFile]:
    """`root`: what they are compared with; None: they are not."""
    for file in files:
        yield WriteFile(
            id=_id("file", file.path),
            why=file.why,
            path=file.path,
            content=file.content,
            mode=file.mode,
            before=NOT_COMPARED if root is None else file.before or digest(root, file.path),
            secret=file.secret,
        )


def _id(kind: str, path: str) -> str:
    return f"{kind}-{path.strip('/').replace('/', '-')}"


def digest(root: Path, path: str) -> str:
    """SHA-256 of a file of the server, hexadecimal, or ABSENT. Raises UsageError (UNREADABLE)."""
    try:
        return digest_of(root, path)
    except OSError as problem:
        raise UsageError(f"{path} cannot be read: {problem.strerror}", status=ExitStatus.UNREADABLE) from None
