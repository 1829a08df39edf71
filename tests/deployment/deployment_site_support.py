"""A server's settings and keys, and its files below a folder."""

from collections.abc import Iterable
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from vpnprobe.deployment.durable import inside
from vpnprobe.deployment.pki import File
from vpnprobe.deployment.settings import Listener, Settings, Wrap
from vpnprobe.observations.schema import Transport

NOW = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
"""A time for what is never checked against the system's clock."""


def listener(transport: Transport = Transport.UDP, port: int = 1194, wrap: Wrap = Wrap.TLS_CRYPT_V2, **more: Any) -> Listener:
    number = port % 200
    pool = IPv4Network(f"10.99.{number}.0/24")
    return Listener(**{"transport": transport, "port": port, "wrap": wrap, "device": f"vpnp{port}", "pool": pool, **more})


def settings(*listeners: Listener, **more: Any) -> Settings:
    return Settings(**{"host": "vpn.example.org", "listeners": listeners or (listener(),), **more})


def write(files: Iterable[File], root: Path) -> None:
    """As a plan's steps would: each is whole at once, in the place of what was there."""
    for file in files:
        path = inside(root, file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(".new")
        beside.touch(mode=file.mode)
        beside.write_bytes(file.content)
        beside.replace(path)


def content(files: Iterable[File], path: str) -> bytes:
    """Of the one file of this path."""
    (found,) = [file for file in files if file.path == path]
    return found.content
