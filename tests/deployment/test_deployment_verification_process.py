"""openvpn's process, from its start to its end, with stand-ins that do not do what they should."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from vpnprobe.deployment.verification import process as module
from vpnprobe.deployment.verification.process import Secrets, TunnelProcess

CONNECTS = """
import os, signal, socket, sys, time
end = socket.socket(socket.AF_UNIX)
end.connect(sys.argv[sys.argv.index("--management") + 1])
"""
STUBBORN = f"{CONNECTS}\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen(sys.argv[0] + '.up', 'w')\ntime.sleep(60)"


def tunnel(folder: Path, code: str, text: bytes = b"client\n") -> TunnelProcess:
    program = folder / "openvpn"
    program.write_text(f"#!{sys.executable} -I\n{code}\n")
    program.chmod(0o755)
    return TunnelProcess(str(program), folder / "x.ovpn", Secrets(), attempts=1, text=text)


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def stands(path: Path) -> None:
    while not path.exists():
        await asyncio.sleep(0.01)


def ran(main: Callable[[], Coroutine[Any, Any, None]]) -> float:
    began = time.monotonic()
    asyncio.run(asyncio.wait_for(main(), 30))
    return time.monotonic() - began


def test_a_second_interrupt_kills_what_does_not_end(tmp_path: Path) -> None:
    process = tunnel(tmp_path, STUBBORN)

    async def trying() -> None:
        async with process:
            await process.come_up(60)

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(trying())
        await stands(tmp_path / "openvpn.up")
        task.cancel()
        await asyncio.sleep(0.2)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert ran(main) < module.END_DEADLINE_S
    assert process.pid is not None
    assert not is_there(process.pid)


def test_one_that_ends_well_before_it_connects_is_not_waited_for(tmp_path: Path) -> None:
    process = tunnel(tmp_path, "import sys\nsys.stdin.read()\nprint('did nothing')")

    async def main() -> None:
        async with process:
            assert not await process.come_up(20)

    assert ran(main) < 10
    assert process.problem == "it ended by itself with status 0"


def test_a_long_profile_stops_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that never reads its standard input is given up, and the loop goes on meanwhile."""
    monkeypatch.setattr(module, "TEXT_DEADLINE_S", 0.5)
    process = tunnel(tmp_path, "import time\ntime.sleep(60)", b"# x\n" * (1 << 20))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    async def main() -> None:
        counting = asyncio.get_running_loop().create_task(count())
        async with process:
            assert not await process.come_up(20)
        counting.cancel()

    ran(main)
    assert turns > 5
    assert process.problem == "it does not read its profile"


def test_a_long_profile_comes_whole(tmp_path: Path) -> None:
    text = b"# x\n" * 300_000
    process = tunnel(tmp_path, "import sys\nsys.exit(len(sys.stdin.buffer.read()) != 1200000 and 3)", text)

    async def main() -> None:
        async with process:
            await process.come_up(20)

    ran(main)
    assert process.problem == "it ended by itself with status 0"


def test_interrupted_while_the_profile_is_given_it_ends(tmp_path: Path) -> None:
    process = tunnel(tmp_path, "import time\ntime.sleep(60)", b"# x\n" * (1 << 20))

    async def trying() -> None:
        async with process:
            raise AssertionError("it has not read its profile")

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(trying())
        while process.pid is None:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    ran(main)
    assert process.pid is not None
    assert not is_there(process.pid)


def test_no_token_of_the_environment_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VPNPROBE_TOKEN", "a token")
    process = tunnel(tmp_path, "import os, sys\nsys.exit(7 if 'VPNPROBE_TOKEN' in os.environ else 8)")

    async def main() -> None:
        async with process:
            await process.come_up(20)

    ran(main)
    assert process.problem == "it ended by itself with status 8"
