"""A client's profile is written for whom it is for: mode 0600, whole or not at all, and never over something that is there.

A profile has a private key, so nobody else may read it at any moment. Where the program runs under sudo, the file belongs to whoever called
sudo (SUDO_UID, SUDO_GID), who could not read it otherwise.
"""

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from vpnprobe.deployment.durable import sync_folder
from vpnprobe.errors import ExitStatus, UsageError

MODE: Final = 0o600


def owner_behind_sudo(environment: Mapping[str, str], *, effective_user: int) -> tuple[int, int] | None:
    """User and group of whoever called sudo; None: nobody did, or root itself."""
    user, group = environment.get("SUDO_UID", ""), environment.get("SUDO_GID", "")
    numbers = all(word.isascii() and word.isdigit() and int(word) < 2**32 - 1 for word in (user, group))
    return (int(user), int(group)) if effective_user == 0 and numbers and int(user) != 0 else None


def check_writable(path: Path) -> None:
    """To be asked before anything is done. Raises UsageError: REFUSED where something is there, UNWRITABLE where no folder is."""
    if os.path.lexists(path):
        raise UsageError(f"{path} is there already, and is not overwritten: remove it, or name another file", status=ExitStatus.REFUSED)
    if not path.parent.is_dir():
        raise UsageError(f"{path} cannot be written: there is no folder {path.parent}", status=ExitStatus.UNWRITABLE)


def write_profile(path: Path, text: str, *, environment: Mapping[str, str] = os.environ) -> None:
    """Raises UsageError as `check_writable`, and UNWRITABLE where the system refuses.

    `environment`: has SUDO_UID and SUDO_GID where somebody called sudo.
    """
    check_writable(path)
    owner = owner_behind_sudo(environment, effective_user=os.geteuid())
    beside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}")
    try:
        _write(beside, text.encode(), owner)
        _put_in_place(beside, path)
        sync_folder(path.parent)
    except FileExistsError:
        raise UsageError(f"{path} has just been made by somebody else, and is not overwritten", status=ExitStatus.REFUSED) from None
    except OSError as problem:
        raise UsageError(f"{path} cannot be written: {problem.strerror}", status=ExitStatus.UNWRITABLE) from None
    finally:
        with suppress(OSError):
            beside.unlink()


def _write(path: Path, content: bytes, owner: tuple[int, int] | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
    with open(descriptor, "wb") as file:
        if owner is not None:
            os.fchown(descriptor, *owner)
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _put_in_place(beside: Path, path: Path) -> None:
    """Raises FileExistsError where something is there by now: a link never replaces anything, as a renaming would."""
    try:
        os.link(beside, path, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links (FAT): whoever makes the name first has it.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE))
        os.replace(beside, path)
