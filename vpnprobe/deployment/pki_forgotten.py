"""What taking back takes from an authority that stays: certificates that its index has no more, revocations that no list has any more.

Whoever has such a certificate is let in. That cannot be taken back with the files, so it is said.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vpnprobe.deployment.durable import inside
from vpnprobe.deployment.pki import INDEX, REVOCATION_LIST
from vpnprobe.deployment.pki_index import Index, Kind, decode_index
from vpnprobe.errors import DecodeError, UsageError
from vpnprobe.provisioning.revocation_lists import read_revocation_list


@dataclass(frozen=True, slots=True)
class KnownCertificates:
    """Of one authority. Serial number to name."""

    issued: Mapping[int, str]
    """To clients, and not revoked."""
    revoked: Mapping[int, str]
    lists: tuple[str, ...]
    """Paths at which its revocation list is read."""


def known_certificates(root: Path) -> KnownCertificates | None:
    """What stands in the index below `root`; None: there is none that could be read."""
    index = _index(root)
    if index is None:
        return None
    gone = {entry.serial for entry in index.revoked}
    clients = [entry for entry in index.certificates() if entry.kind is Kind.CLIENT]
    lists = (REVOCATION_LIST, *(index.adoption.revocation_lists if index.adoption else ()))
    return KnownCertificates(
        issued={entry.serial: entry.name for entry in clients if entry.serial not in gone},
        revoked={entry.serial: entry.name for entry in clients if entry.serial in gone},
        lists=lists,
    )


def forgotten(before: KnownCertificates | None, root: Path) -> Iterator[str]:
    """Lines that say what is not known any more of what was, though the authority, or the one that it was adopted from, is there."""
    if before is None:
        return
    after = known_certificates(root)
    known = {} if after is None else {**after.issued, **after.revoked}
    for name in dict.fromkeys(name for serial, name in before.issued.items() if after is not None and serial not in known):
        yield f"the certificate of {name} is no longer in the index, and still lets in whoever has its profile: destroy that profile"
    for path in before.lists:
        listed = _listed(root, path)
        names = [name for serial, name in before.revoked.items() if listed is not None and serial not in listed]
        if names:
            yield f"{path} is as it was before: it revokes {', '.join(dict.fromkeys(names))} no more, who had been revoked since"


def _index(root: Path) -> Index | None:
    try:
        return decode_index(inside(root, INDEX).read_bytes())
    except (OSError, UsageError):
        return None


def _listed(root: Path, path: str) -> set[int] | None:
    """Serial numbers in a revocation list; None: none is there that could be read."""
    try:
        return {entry.serial for entry in read_revocation_list(inside(root, path).read_bytes()).entries}
    except (OSError, DecodeError):
        return None
