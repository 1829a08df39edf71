"""What the documents say of the program is so: names of failures, of the matrix, and of commands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from vpnprobe.conversations.openvpn_failures import FailureCode
from vpnprobe.deployment.real_client.options import LEFT_OUT, NO_DNS, QUIET
from vpnprobe.deployment.real_client.steps import STEPS
from vpnprobe.rules import load_default

ROOT = Path(__file__).parents[1]
OPENVPN = (ROOT / "docs" / "openvpn.md").read_text()
PROTOCOLS = (ROOT / "docs" / "protocols.md").read_text()
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", sorted({*load_default().failures, *FailureCode}))
def test_each_failure_is_explained(name: str) -> None:
    """In a table's row that begins with its name, and names others of the same row beside it."""
    assert any(
        f"`{name}`" in names for document in (OPENVPN, PROTOCOLS) for names in re.findall(r"^\| (`[^|]*) \|", document, re.MULTILINE)
    )


@pytest.mark.parametrize("name", sorted(name for name, failure in load_default().failures.items() if "wireguard" in failure.own_words))
def test_each_failure_with_words_for_wireguard_is_explained_there(name: str) -> None:
    assert f"`{name}`" in PROTOCOLS


def test_each_cell_of_the_matrix_says_what_was_run() -> None:
    rows = re.findall(r"^\| (?:udp|tcp)-\S+ \|(.*)\|$", OPENVPN, re.MULTILINE)
    assert len(rows) == 56
    for row in rows:
        cells = [cell.strip() for cell in row.split("|")]
        assert len(cells) == 3
        assert all(re.fullmatch(r"\d+ of \d+, [\d.]+ ms", cell) for cell in cells), row


def test_options_that_are_named_in_the_readme_exist() -> None:
    done = subprocess.run([sys.executable, "-m", "vpnprobe", "run", "--help"], capture_output=True, text=True, check=True)
    named = set(re.findall(r"`(--[a-z-]+)", README)) | set(re.findall(r"vpnprobe run.*?(--[a-z-]+)", README))
    assert named
    assert {option for option in named if option not in done.stdout} <= {"--client", "--server"}


def test_what_the_real_client_is_run_without_is_told() -> None:
    section = OPENVPN[OPENVPN.index("## Beside the real client") : OPENVPN.index("## What it was tried against")]
    assert f"`{' '.join(QUIET)}`" in section
    assert f"`{' '.join(NO_DNS)}`" in section
    told = section[section.index("Left out of the profile") : section.index("Options that may refuse")]
    assert set(re.findall(r"`([a-z0-9-]+)`", told)) == LEFT_OUT
    assert re.findall(r"^\| `([a-z]+)`: ", section, re.MULTILINE) == list(STEPS)
