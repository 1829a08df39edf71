"""A /proc of the tests' own: folders and links as proc(5) has them."""

import os
from pathlib import Path


class FakeProc:
    """Process 1 is there, so that nothing seems hidden."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "net").mkdir(parents=True)
        self.process(1, "/sbin/init")

    def process(self, pid: int, *arguments: str, cwd: Path | None = None, root: Path | None = None, parent: int = 1) -> Path:
        """`cwd`, `root`: None: this user may not look into them."""
        folder = self.path / str(pid)
        folder.mkdir()
        (folder / "cmdline").write_bytes(b"".join(os.fsencode(argument) + b"\0" for argument in arguments))
        (folder / "stat").write_text(f"{pid} (a (name) of it) S {parent} {pid} {pid} 0")
        for name, target in (("cwd", cwd), ("root", root)):
            if target is not None:
                (folder / name).symlink_to(target)
        return folder

    def shares_mounts(self, pid: int) -> None:
        (self.path / str(pid) / "ns").mkdir()
        (self.path / str(pid) / "ns/mnt").symlink_to(os.readlink("/proc/self/ns/mnt"))

    def table(self, name: str, *lines: str) -> None:
        (self.path / "net" / name).write_text("\n".join(["head", *lines, ""]))
