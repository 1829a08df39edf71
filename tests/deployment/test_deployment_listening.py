"""Whether what was applied runs: a listener that does not open its port is taken back at once."""

import socket
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from vpnprobe.deployment import listening
from vpnprobe.deployment.listening import require_listening
from vpnprobe.deployment.settings import Listener, Settings, Wrap
from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.observations.schema import Transport


def settings(port: int) -> Settings:
    one = Listener(transport=Transport.UDP, port=port, wrap=Wrap.NONE, device="vpn0", pool=IPv4Network("10.8.0.0/24"))
    return Settings(host="192.0.2.1", listeners=(one,))


@pytest.fixture
def taken_back(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, int]]:
    found: list[tuple[Path, int]] = []
    monkeypatch.setattr(listening, "give_up", lambda root, tell, number: found.append((root, number)))
    return found


def test_one_that_listens_stays(taken_back: list[tuple[Path, int]], tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("0.0.0.0", 0))
        require_listening(settings(one.getsockname()[1]), tmp_path, lambda _: None, 2)
    assert not taken_back


def test_one_that_does_not_is_taken_back(taken_back: list[tuple[Path, int]], tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    with pytest.raises(CannotRun, match=f"does not listen on udp/{port} after 0.2 s: everything was put back") as caught:
        require_listening(settings(port), tmp_path, lambda _: None, 2, within_s=0.2)
    assert caught.value.status is ExitStatus.PUT_BACK
    assert taken_back == [(tmp_path, 2)]
