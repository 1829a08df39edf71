"""This program's standard-library part as one zip archive, and the few lines of Python that start it from a stream.

What goes over: FIRST_STAGE on the command line reads Python text up to a zero byte, that text (the second stage) reads a length of eight
bytes and the archive, puts it where zipimport can open it, and calls `vpnprobe.agents.remote.main`, which finds standard input and output
untouched beyond that point. The archive is the same bytes for the same files.
"""

import io
import zipfile
from pathlib import Path
from typing import Final

import vpnprobe

FIRST_STAGE: Final = "import os; exec(bytes(iter(lambda: os.read(0, 1)[0], 0)))"
"""Has no quotes, since it stands inside two shells' quotes already. Reads byte by byte, so that nothing is read too much."""

PARTS: Final = (
    "errors.py",
    "wire",
    "firewall",
    "observations",
    "provisioning",
    "conversations",
    "evidence",
    "transports",
    "endpoint",
    "probes",
    "agents",
)
"""What the server agent may import of `vpnprobe`, beside the package itself."""
_SUFFIXES: Final = frozenset((".py", ".toml"))
_TIMESTAMP: Final = (2020, 1, 1, 0, 0, 0)

_SECOND_STAGE: Final = b"""
import os, sys

def exactly(count):
    data = bytearray()
    while len(data) < count:
        chunk = os.read(0, min(count - len(data), 1 << 16))
        if not chunk:
            sys.exit("vpnprobe: the connection ended before the program had arrived")
        data += chunk
    return bytes(data)

archive = exactly(int.from_bytes(exactly(8), "big"))
try:
    descriptor = os.memfd_create("vpnprobe")
    place = "/proc/self/fd/%d" % descriptor
    with open(descriptor, "wb", closefd=False) as file:
        file.write(archive)
    os.stat(place)
except (AttributeError, OSError):
    import atexit, shutil, tempfile
    folder = tempfile.mkdtemp(prefix="vpnprobe-")
    atexit.register(shutil.rmtree, folder, True)
    place = os.path.join(folder, "vpnprobe.zip")
    with open(place, "wb") as file:
        file.write(archive)
del archive
sys.path.insert(0, place)
from vpnprobe.agents.remote import main
sys.exit(main())
"""


def archive_of(root: Path) -> bytes:
    """The parts of the package at `root` (the folder `vpnprobe`) as a zip archive."""
    files = [root / "__init__.py"]
    for part in (root / name for name in PARTS):
        files += [part] if part.is_file() else sorted(file for file in part.rglob("*") if file.suffix in _SUFFIXES)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(f"vpnprobe/{file.relative_to(root).as_posix()}", _TIMESTAMP)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.read_bytes())
    return buffer.getvalue()


def transmission(archive: bytes | None = None) -> bytes:
    """What FIRST_STAGE reads: the second stage and the archive. None: this very program."""
    content = archive_of(Path(vpnprobe.__file__).parent) if archive is None else archive
    return _SECOND_STAGE + b"\0" + len(content).to_bytes(8, "big") + content
