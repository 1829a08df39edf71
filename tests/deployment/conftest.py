"""What tests of deployment share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from firewall_support import Hosts


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """Four hosts; the server's files are below `tmp_path/root`."""
    root = tmp_path / "root"
    root.mkdir()
    with Hosts(f"vpfw{os.getpid()}", root) as built:
        yield built
