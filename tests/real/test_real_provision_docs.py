"""Each command of docs/provisioning.md is run as it stands there, on the host that it names."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from provision_support import SERVER_ADDRESS, World, world
from real_support import PROGRAM

from vpnprobe.errors import CannotRun
from vpnprobe.lab.namespaces import require_tools

pytestmark = [pytest.mark.root, pytest.mark.real, pytest.mark.requires("namespaces", "openvpn")]

TEXT = (Path(__file__).parents[2] / "docs" / "provisioning.md").read_text()
COMMANDS = [
    (host, command.split("#")[0].split())
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    for host, command in re.findall(r"^(client|server)# vpnprobe (.*)$", block, re.MULTILINE)
]


def run(here: World, host: str, words: list[str]) -> None:
    below = ["--root", str(here.root)] if host == "server" else []
    wanted = [SERVER_ADDRESS if word == "SERVER" else word for word in words]
    whole = ["ip", "netns", "exec", f"{here.prefix}-{host}", *PROGRAM, *wanted, *below]
    done = subprocess.run(whole, cwd=here.folder, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, f"{host}: {' '.join(words)}: {done.stderr}{done.stdout}"


def test_all_commands_in_order(tmp_path: Path) -> None:
    assert len(COMMANDS) >= 12
    try:
        require_tools()
    except CannotRun as lack:
        pytest.skip(str(lack))
    with world(tmp_path, f"vprd-{os.getpid()}") as here:
        before = here.state()
        serve = ["ip", "netns", "exec", f"{here.prefix}-server", *PROGRAM, "serve", "--token-file", str(tmp_path / "token")]
        with (tmp_path / "log").open("wb") as log, subprocess.Popen(serve, stdout=log, stderr=log) as agent:
            deadline = time.monotonic() + 30
            while b"ready" not in (tmp_path / "log").read_bytes():
                assert time.monotonic() < deadline
                time.sleep(0.05)
            first = COMMANDS[0]
            run(here, *first)
            agent.terminate()
        # What takes all back comes last, wherever it stands in the text.
        last = [one for one in COMMANDS if one[1][1:2] == ["rollback"]]
        for host, words in [*(one for one in COMMANDS[1:] if one not in last), *last]:
            run(here, host, words)
        assert here.state() == before
