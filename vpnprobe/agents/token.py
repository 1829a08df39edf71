"""The pairing token: a secret that both agents hold, and the fingerprint of the server's certificate.

One line of text, `vpnprobe1:SECRET:FINGERPRINT` (base64url without padding; SHA-256 in hex), in a file that only its owner may read. The
server keeps key and certificate beside it in `FILE.server.pem`; a client needs the token alone. The client proves the secret by
HMAC-SHA256 (RFC 2104) over a nonce of the client's and the server's certificate, so that the secret itself never travels. That a proof is
fresh follows from TLS: it is only ever seen by the server of that certificate.
"""

import base64
import binascii
import contextlib
import errno
import hashlib
import hmac
import os
import re
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from vpnprobe.errors import CannotRun, ExitStatus, UsageError

_VERSION: Final = "vpnprobe1"
_FORM: Final = re.compile(r"vpnprobe1:([A-Za-z0-9_-]{22,86}):([0-9a-f]{64})")
SECRET_BYTES: Final = 32
_LONGEST_FILE: Final = 64 * 1024
"""Bytes that are read of a token or key file: no such file is longer."""
_CONTEXT: Final = b"vpnprobe pairing 1\0"
"""Keeps a proof from meaning anything elsewhere."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a client needs to pair with one server."""

    secret: bytes
    """16 to 64 bytes."""
    fingerprint: str
    """SHA-256 of the server certificate's DER, 64 lower-case hex digits."""

    def __repr__(self) -> str:
        return f"Token(fingerprint={self.fingerprint!r})"  # The secret must not reach a log.

    def encode(self) -> str:
        """The line, without its end."""
        return f"{_VERSION}:{base64.urlsafe_b64encode(self.secret).decode().rstrip('=')}:{self.fingerprint}"

    @classmethod
    def decode(cls, text: str, *, place: str) -> Self:
        """Raises UsageError (status UNREADABLE) that names `place`, never the text."""
        found = _FORM.fullmatch(text.strip())
        if found is None:
            raise UsageError(
                f"{place} does not hold a token (vpnprobe1:...:...): copy it again from the server", status=ExitStatus.UNREADABLE
            )
        secret = found[1]
        try:
            return cls(base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4)), found[2])
        except binascii.Error as exc:
            raise UsageError(f"{place} holds a damaged token: copy it again from the server", status=ExitStatus.UNREADABLE) from exc


def proof(secret: bytes, fingerprint: str, nonce: bytes) -> bytes:
    """32 bytes that only a holder of the secret can give for this nonce, at the server of that certificate."""
    return hmac.digest(secret, _CONTEXT + bytes.fromhex(fingerprint) + nonce, hashlib.sha256)


def proves(token: Token, nonce: bytes, claimed: bytes) -> bool:
    """Whether `claimed` is the token's proof for the nonce, in a time that does not tell how much of it is right."""
    return hmac.compare_digest(proof(token.secret, token.fingerprint, nonce), claimed)


def default_directory(environ: Mapping[str, str]) -> Path:
    """`$XDG_CONFIG_HOME/vpnprobe`; a relative or empty value counts as unset (XDG Base Directory Specification)."""
    configured = environ.get("XDG_CONFIG_HOME", "")
    base = Path(configured) if configured.startswith("/") else Path(environ.get("HOME") or os.path.expanduser("~"), ".config")
    return base / "vpnprobe"


def default_token_path(environ: Mapping[str, str]) -> Path:
    """Where `serve` keeps its token without `--token-file`."""
    return default_directory(environ) / "token"


def pem_path_of(token_path: Path) -> Path:
    """Where the server's key and certificate lie beside its token."""
    return token_path.with_name(token_path.name + ".server.pem")


def server_token(path: Path) -> tuple[Token, Path]:
    """The server's own token and the path of its key and certificate; makes what is missing.

    Raises UsageError for a file that others may read, or that holds something else; CannotRun where it cannot be made or read.
    """
    pem_path = pem_path_of(path)
    pem_there, token_there = _exists(pem_path), _exists(path)
    if token_there and not pem_there:
        raise UsageError(
            f"{path} is a client's copy of a token ({pem_path.name} is not beside it): name another file with --token-file, or remove it"
        )
    # The key first: a start that is cut off in between leaves a key without a token, and the next one goes on from there.
    fingerprint = _fingerprint(pem_path) if pem_there else _make_key(pem_path)
    if not token_there:
        _write_secretly(path, Token(os.urandom(SECRET_BYTES), fingerprint).encode() + "\n")
    token = read_token(path)
    if token.fingerprint != fingerprint:
        raise UsageError(
            f"{path} is another server's token (its fingerprint is not that of {pem_path.name}): remove it, and a new one is made"
        )
    return token, pem_path


def client_token(option_path: Path | None, environ: Mapping[str, str], host: str) -> Token:
    """The token for the server at `host`: from `--token-file`, VPNPROBE_TOKEN, `token-HOST`, then `token`.

    Raises CannotRun (status NO_PEER) with the line to copy where there is none; UsageError for a file that others may read or that
    holds something else.
    """
    if option_path is not None:
        if not _exists(option_path):
            raise CannotRun(f"{option_path} does not exist: {_how_to_copy(host, option_path)}")
        return read_token(option_path)
    if environ.get("VPNPROBE_TOKEN"):
        return Token.decode(environ["VPNPROBE_TOKEN"], place="VPNPROBE_TOKEN")
    directory = default_directory(environ)
    own = directory / f"token-{host}"
    candidates = [own] if own.parent == directory else []
    for path in (*candidates, directory / "token"):
        if _exists(path):
            return read_token(path)
    raise CannotRun(f"no token for {host}: {_how_to_copy(host, own)}")


def _how_to_copy(host: str, path: Path) -> str:
    folder = f"mkdir -p {shlex.quote(str(path.parent))} && " if not path.parent.is_dir() else ""
    where = f"[{host}]" if ":" in host else host
    source = shlex.quote(f"{where}:.config/vpnprobe/token")
    return f"start `vpnprobe serve` there, then run here: {folder}scp -p {source} {shlex.quote(str(path))}"


def read_token(path: Path) -> Token:
    """Raises UsageError for a file that others may read, or that holds something else; CannotRun where it cannot be read."""
    return Token.decode(_read_secretly(path), place=str(path))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as exc:
        raise CannotRun(f"{path} cannot be read: {exc.strerror}", status=ExitStatus.UNREADABLE) from exc


def _read_secretly(path: Path) -> str:
    """The file's text, if nobody but its owner may read it."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) & 0o077:
                raise UsageError(f"{path} may be read by others: run chmod 600 {shlex.quote(str(path))}")
            return file.read(_LONGEST_FILE).decode("ascii", errors="replace")
    except OSError as exc:
        raise CannotRun(f"{path} cannot be read: {exc.strerror}", status=ExitStatus.UNREADABLE) from exc


def _write_secretly(path: Path, text: str) -> None:
    """A new file of mode 0600, whole or not at all; another process that made it first wins."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        _make_folders(path.parent)
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            _publish(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as exc:
        raise CannotRun(f"{path} cannot be made: {exc.strerror}; name another file with --token-file", status=ExitStatus.MISSING) from exc


def _publish(draft: Path, path: Path) -> None:
    """Gives the draft its name unless that is taken."""
    with contextlib.suppress(FileExistsError):
        try:
            os.link(draft, path)
        except OSError as exc:
            if exc.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS) or path.exists():
                raise
            draft.rename(path)  # A file system without hard links.


def _make_folders(folder: Path) -> None:
    """What is missing of the path, each folder of mode 0700."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(mode=0o700, exist_ok=True)


def _make_key(pem_path: Path) -> str:
    """Makes the server's key and certificate and returns the fingerprint of what is there afterwards."""
    from vpnprobe.transports.tls import make_certificate

    made = make_certificate()
    _write_secretly(pem_path, made.key_pem.decode() + made.certificate_pem.decode())
    return _fingerprint(pem_path)


def _fingerprint(pem_path: Path) -> str:
    from vpnprobe.transports.tls import fingerprint_of

    text = _read_secretly(pem_path)
    try:
        return fingerprint_of(text)
    except ValueError as exc:
        raise UsageError(
            f"{pem_path} does not hold a certificate: remove it and the token beside it, and new ones are made",
            status=ExitStatus.UNREADABLE,
        ) from exc
