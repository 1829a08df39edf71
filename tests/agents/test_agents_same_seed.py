"""The same seed is the same run, in another process too: neither hashes of words nor the time of day come in."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from vpnprobe.cli import run_command
from vpnprobe.observations.document import read
from vpnprobe.observations.schema import Result

RUN: Final = """
import sys
from pathlib import Path
from vpnprobe.agents.simulation import CONTROL_PORT, measure_simulated
from vpnprobe.conversations.registry import usual_ports
from vpnprobe.lab.scenario import load
from vpnprobe.probes.settings import Settings

names = frozenset({"tcp", "udp", "gre", "esp", "pptp", "l2tp", "ike", "wireguard"})
settings = Settings(usual_ports(), names, control_port=CONTROL_PORT)
measured, took = measure_simulated(load(sys.argv[1]).topology, seed=7, settings=settings, tell=lambda _: None)
folder = Path(sys.argv[2])
for name, capture in measured.captures.items():
    (folder / name).write_bytes(capture)
(folder / "told").write_text("\\n".join(map(repr, (*measured.observations, measured.client, measured.server, took))))
"""
"""All probes but the one in which TLS draws random bytes for itself."""
DEMO: Final = "import sys; from vpnprobe.cli import run_command; sys.exit(run_command(sys.argv[1:]))"


def in_a_process(code: str, *arguments: str, hash_seed: int) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)


def test_every_packet_is_the_same_where_nothing_is_encrypted_by_tls(tmp_path: Path) -> None:
    folders = [tmp_path / str(hash_seed) for hash_seed in (1, 2)]
    for hash_seed, folder in enumerate(folders, 1):
        folder.mkdir()
        in_a_process(RUN, "lossy", str(folder), hash_seed=hash_seed)
    contents = [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in folders]
    assert set(contents[0]) == {"client.pcap", "server.pcap", "told"}
    assert contents[0] == contents[1]


def told(result: Result) -> tuple[object, ...]:
    """The document without when it was made."""
    run = result.run
    return result.observations, result.verdicts, result.recommendation, run.duration_s, run.client, run.server


def test_the_document_is_the_same(tmp_path: Path) -> None:
    for hash_seed in (1, 2):
        in_a_process(DEMO, "demo", "--scenario", "seed", "--quiet", "-o", str(tmp_path / str(hash_seed)), hash_seed=hash_seed)
    first, second = (read(tmp_path / str(hash_seed)) for hash_seed in (1, 2))
    assert told(first) == told(second)


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    for seed in (1, 2):
        assert run_command(["demo", "--scenario", "lossy", "--seed", str(seed), "--quiet", "-o", str(tmp_path / str(seed))]) == 0
    first, second = (read(tmp_path / str(seed)) for seed in (1, 2))
    assert told(first) != told(second)
