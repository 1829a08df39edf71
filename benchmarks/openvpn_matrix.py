"""Tries the whole matrix of real OpenVPN servers and prints it as the table of docs/openvpn.md: echoes answered, and the first data packet.

Run by hand as root: `.venv/bin/python benchmarks/openvpn_matrix.py`.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "real"))

from openvpn_matrix_support import cells, config_id, running_matrix
from openvpn_profile_tests import Tried, tried

from vpnprobe.lab.openvpn_servers import DATA_CIPHERS
from vpnprobe.observations.schema import Direction


def main() -> None:
    with running_matrix() as matrix, tempfile.TemporaryDirectory() as folder:
        profiles = {
            f"{config_id(config)}-{cipher}": matrix.servers[config].client_profile(**{"data-ciphers": cipher}) for config, cipher in cells()
        }
        found = tried(matrix.lab, profiles, Path(folder))
        print("| server | " + " | ".join(DATA_CIPHERS) + " |")
        print("| --- |" + " --- |" * len(DATA_CIPHERS))
        for config in matrix.servers:
            told = (result(found[f"{config_id(config)}-{cipher}"]) for cipher in DATA_CIPHERS)
            print(f"| {config_id(config)} | " + " | ".join(told) + " |")


def result(profile_test: Tried) -> str:
    """What came of one cell: how many data packets came back, of how many that left, and the time to the first."""
    if not profile_test.complete:
        return "fails: " + ", ".join(profile_test.failures)
    there = profile_test.row("data", Direction.C2S)
    return f"{there.received} of {there.sent}, {profile_test.row('handshake').detail['first_data_ms']} ms"


if __name__ == "__main__":
    main()
