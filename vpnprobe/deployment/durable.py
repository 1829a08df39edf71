"""Files that are there whole and stay after a power cut, below a root that no symbolic link leads out of. The standard library alone.

Copied into the journal's folder, beside rollback.py. Whatever cannot be done raises OSError.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any


def inside(root: Path, path: str | PurePosixPath, *, follow_last: bool = True) -> Path:
    """Where a path of the server lies below `root`. Symbolic links are read as the server reads them, so that none leads out of it."""
    left, found, links = _steps(PurePosixPath(path)), root, 0
    while left:
        part = left.pop(0)
        if part == "..":
            found = found if found == root else found.parent
        elif (follow_last or left) and (found / part).is_symlink():
            if (links := links + 1) > 40:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            target = PurePosixPath(os.readlink(found / part))
            found = root if target.is_absolute() else found
            left = _steps(target) + left
        else:
            found = found / part
    return found


def _steps(path: PurePosixPath) -> list[str]:
    """Without the root, which may be two slashes."""
    return [part for part in path.parts if part.strip("/")]


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def xattrs_of(path: Path | int) -> dict[str, str]:
    """Extended attributes in base64; empty where the file system has none."""
    try:
        return {name: base64.b64encode(os.getxattr(path, name)).decode() for name in sorted(os.listxattr(path))}
    except OSError:
        return {}


def found_state(path: Path) -> dict[str, Any]:
    """A regular file's hash, mode, owner, extended attributes and time. Raises OSError."""
    found = os.stat(path, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    mode = stat.S_IMODE(found.st_mode)
    owner = {"uid": found.st_uid, "gid": found.st_gid}
    return {"sha256": digest, "mode": f"{mode:04o}", **owner, "xattrs": xattrs_of(path), "mtime_ns": found.st_mtime_ns}


def write_whole(path: Path, content: bytes, was: Mapping[str, Any], temporary: Path) -> None:
    """A file with this content, mode, owner and extended attributes, on the disk: whole or not at all. Raises OSError."""
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        try:
            _fill(handle, content, was)
        finally:
            os.close(handle)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _fill(handle: int, content: bytes, was: Mapping[str, Any]) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(handle, left) :]
    if (was["uid"], was["gid"]) != (os.geteuid(), os.getegid()):
        os.fchown(handle, was["uid"], was["gid"])
    os.fchmod(handle, int(was["mode"], 8))
    for name in set(xattrs_of(handle)) - set(was["xattrs"]):
        with contextlib.suppress(OSError):  # the kernel's own, such as a security label
            os.removexattr(handle, name)
    for name, value in was["xattrs"].items():
        os.setxattr(handle, name, base64.b64decode(value))
    if "mtime_ns" in was:
        os.utime(handle, ns=(was["mtime_ns"], was["mtime_ns"]))
    os.fsync(handle)
