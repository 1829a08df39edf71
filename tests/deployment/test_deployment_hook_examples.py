"""The examples in docs/hooks, as hooks: with a web server of our own, and a command that writes down what it was asked."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from deployment_support import Server, file, plan_of

from vpnprobe.deployment.apply import apply_plan, roll_back
from vpnprobe.deployment.hooks import Hooks
from vpnprobe.errors import CannotRun, UsageError

EXAMPLES = Path(__file__).parents[2] / "docs/hooks"
PLAN = plan_of(
    file("/etc/host.conf"),
    host={"hostname": "vpn"},
    settings={"listeners": [{"transport": "udp", "port": 1194}, {"transport": "tcp", "port": 443}]},
)


@pytest.fixture
def hooks(tmp_path: Path) -> Hooks:
    return Hooks((tmp_path / "hooks.d",))


def install(hooks: Hooks, example: str, *stages: str) -> None:
    for stage in stages:
        folder = hooks.folders[0] / stage
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(EXAMPLES / example, folder / example)
        (folder / example).chmod(0o755)


@pytest.fixture
def told() -> Iterator[tuple[str, list[str]]]:
    """A web hook's address, and what it has been told."""
    lines: list[str] = []

    class WebHook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            lines.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), WebHook) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", lines
        server.shutdown()
        thread.join()


def test_a_web_hook_is_told(server: Server, hooks: Hooks, told: tuple[str, list[str]]) -> None:
    install(hooks, "announce.py", "post-apply", "post-rollback")
    address, lines = told
    for stage in ("post-apply", "post-rollback"):
        (hooks.folders[0] / stage / "announce.url").write_text(f"{address}\n")
    apply_plan(PLAN, root=server.root, hooks=hooks)
    roll_back(server.root, print, hooks=hooks)
    assert lines == ["vpn: OpenVPN on udp/1194: applied", "vpn: OpenVPN on udp/1194: taken back"]


def test_a_web_hook_that_cannot_be_reached_takes_back(server: Server, hooks: Hooks, monkeypatch: pytest.MonkeyPatch) -> None:
    install(hooks, "announce.py", "post-apply")
    monkeypatch.setenv("ANNOUNCE_URL", "http://127.0.0.1:9/")
    with pytest.raises(CannotRun, match=r"the web hook cannot be reached: .*everything has been put back"):
        apply_plan(PLAN, root=server.root, hooks=hooks)
    monkeypatch.setenv("ANNOUNCE_OPTIONAL", "1")
    assert apply_plan(PLAN, root=server.root, hooks=hooks).transaction == 2


def test_a_clouds_firewall_is_opened_and_closed(server: Server, hooks: Hooks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(hooks, "open_cloud_firewall.py", "pre-apply", "post-rollback")
    asked = tmp_path / "asked"
    cloud = tmp_path / "cloud"
    cloud.write_text(f'#!/bin/sh\necho "$@" >>{asked}\n')
    cloud.chmod(0o755)
    with pytest.raises(UsageError, match="OPEN_PORT_COMMAND is not set"):
        apply_plan(PLAN, root=server.root, hooks=hooks)
    monkeypatch.setenv("OPEN_PORT_COMMAND", f"{cloud} open {{transport}} '{{port}};x'")
    monkeypatch.setenv("CLOSE_PORT_COMMAND", f"{cloud} close {{port}}/{{transport}}")
    apply_plan(PLAN, root=server.root, hooks=hooks)
    roll_back(server.root, print, hooks=hooks)
    assert asked.read_text().splitlines() == ["open udp 1194;x", "open tcp 443;x", "close 1194/udp", "close 443/tcp"]


def test_a_cloud_that_refuses_is_refused(server: Server, hooks: Hooks, monkeypatch: pytest.MonkeyPatch) -> None:
    install(hooks, "open_cloud_firewall.py", "pre-apply")
    monkeypatch.setenv("OPEN_PORT_COMMAND", "false")
    with pytest.raises(UsageError, match=r"status 1.*nothing was changed"):
        apply_plan(PLAN, root=server.root, hooks=hooks)
