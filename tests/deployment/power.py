"""A power cut, simulated: of a folder remains what was synced, and nothing else.

The strictest disk that POSIX allows: bytes, mode and owner of a file remain as they were at its last fsync, names in a folder as they
were at the folder's last fsync; a file that was never synced is empty. With a seed some of the rest remains too, each file and folder by
chance.
"""

import os
import random
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COUNTED = ("fsync", "replace", "unlink", "mkdir", "rmdir", "write", "ftruncate", "fchmod", "fchown")


@dataclass
class Kept:
    """What the disk has of a file or folder."""

    mode: int = 0o600
    owner: tuple[int, int] = (0, 0)
    content: bytes = b""
    attributes: dict[str, bytes] = field(default_factory=dict)
    mtime_ns: int = 0
    names: dict[str, tuple[int, bool]] = field(default_factory=dict)
    """Of a folder: number of each, and whether it is a folder."""


class PowerCut:
    """From `begin` on it counts operations, and cuts before the one that is asked for."""

    def __init__(self, root: Path, at: int | None, luck: int) -> None:
        self.root, self.at, self.operations = root, at, 0
        self.chance = random.Random(luck) if luck >= 0 else None
        self.numbers: dict[int, int] = {}
        self.kept: dict[int, Kept] = {}
        self.last = 0

    def begin(self) -> None:
        for path in (self.root, *self.root.rglob("*")):
            self._keep(path)
        for name in COUNTED:
            setattr(os, name, self._counted(name, getattr(os, name)))
        self._number_new("open")

    def _number_new(self, name: str) -> None:
        real = getattr(os, name)

        def opened(path: Any, flags: int, *rest: Any, **named: Any) -> int:
            new = bool(flags & os.O_CREAT) and not os.path.lexists(path)
            handle: int = real(path, flags, *rest, **named)
            if new:
                self._new(os.fstat(handle).st_ino)
            return handle

        setattr(os, name, opened)

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any, **named: Any) -> Any:
            if self.operations == self.at:
                self.cut()
            self.operations += 1
            done = real(*arguments, **named)
            if name == "fsync":
                self._keep(Path(os.readlink(f"/proc/self/fd/{arguments[0]}")))
            elif name == "mkdir":
                self._new(os.stat(arguments[0]).st_ino)
            return done

        return act

    def _new(self, inode: int) -> int:
        self.last += 1
        self.numbers[inode] = self.last
        return self.last

    def _number(self, inode: int) -> int:
        return self.numbers.get(inode) or self._new(inode)

    def _keep(self, path: Path) -> None:
        if path == self.root or path.is_relative_to(self.root):
            self.kept[self._number(path.lstat().st_ino)] = self._now(path)

    def _now(self, path: Path) -> Kept:
        found = path.lstat()
        kept = Kept(stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid), mtime_ns=found.st_mtime_ns)
        if path.is_dir():
            kept.names = {one.name: (self._number(one.lstat().st_ino), one.is_dir()) for one in path.iterdir()}
        else:
            kept.content = path.read_bytes()
            kept.attributes = {name: os.getxattr(path, name) for name in os.listxattr(path)}
        return kept

    def cut(self) -> None:
        """Leaves ROOT.cut, and ends this process where it stands."""
        if self.chance is not None:
            for path in (self.root, *self.root.rglob("*")):
                if self.chance.random() < 0.5:
                    self._keep(path)
        self.at = None
        self._write(self._number(self.root.stat().st_ino), self.root.with_name(f"{self.root.name}.cut"), is_folder=True)
        os._exit(99)

    def _write(self, number: int, path: Path, *, is_folder: bool) -> None:
        kept = self.kept.get(number, Kept(mode=0o755 if is_folder else 0o600))
        if is_folder:
            path.mkdir()
            for name, (inner, folder) in kept.names.items():
                self._write(inner, path / name, is_folder=folder)
        else:
            path.write_bytes(kept.content)
        os.chown(path, *kept.owner)
        path.chmod(kept.mode)
        for attribute, value in kept.attributes.items():
            os.setxattr(path, attribute, value)
        if not is_folder:
            os.utime(path, ns=(kept.mtime_ns, kept.mtime_ns))


def put_in_place(root: Path) -> None:
    """What the disk has is what the machine finds when it comes up."""
    shutil.rmtree(root)
    root.with_name(f"{root.name}.cut").rename(root)
