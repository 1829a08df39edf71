"""Where fuzz targets put their files."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Final


@cache
def folder() -> Path:
    """A folder for this process's files: the only place where the profile reader may read."""
    kept = tempfile.TemporaryDirectory(prefix="vpnprobe-fuzz-")
    _KEPT.append(kept)
    return Path(kept.name).resolve()


_KEPT: Final[list[tempfile.TemporaryDirectory[str]]] = []
