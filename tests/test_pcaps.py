"""The rebuilt captures are what their script makes, and tcpdump prints the texts from them again."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

PCAPS = Path(__file__).parent.parent / "pcaps"
NAMES = ("seed-client", "seed-server")


@pytest.fixture(scope="module")
def rebuild_seed() -> ModuleType:
    sys.path.insert(0, str(PCAPS))
    try:
        return importlib.import_module("rebuild_seed")
    finally:
        sys.path.remove(str(PCAPS))


@pytest.fixture(scope="module")
def tcpdump() -> str:
    found = shutil.which("tcpdump") or shutil.which("tcpdump", path="/usr/sbin:/sbin")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("tcpdump is missing")
        pytest.skip("tcpdump is missing")
    return found


def normalised(line: str) -> str:
    return re.sub(r"\s+", " ", line).strip().replace("203.0.113.5", "sip").replace("sip.pptp", "sip.1723")


@pytest.mark.parametrize("name", NAMES)
def test_tcpdump_prints_the_seed_again(name: str, tcpdump: str) -> None:
    command = [tcpdump, "-n", "-r", str(PCAPS / f"{name}.pcap")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "TZ": "CST-8"}).stdout
    expected = (PCAPS / f"{name}.txt").read_text(encoding="ascii")
    assert [normalised(line) for line in printed.splitlines()] == [normalised(line) for line in expected.splitlines()]


@pytest.mark.parametrize("name", NAMES)
def test_the_captures_are_what_the_script_makes(name: str, rebuild_seed: ModuleType) -> None:
    text = (PCAPS / f"{name}.txt").read_text(encoding="ascii")
    assert (PCAPS / f"{name}.pcap").read_bytes() == rebuild_seed.rebuild(text, rebuild_seed.DATES[name])


def test_the_first_packets_stand_at_their_dates(rebuild_seed: ModuleType) -> None:
    def first(name: str) -> int:
        return int.from_bytes((PCAPS / f"{name}.pcap").read_bytes()[24:28], "little")

    assert (first("seed-client"), first("seed-server")) == (1429802354, 1429806987)


@pytest.mark.parametrize(
    "line",
    [
        "no packet at all",
        "23:19:14.735117 IP 10.10.5.251 > sip: ICMP echo request, id 1, seq 1, length 64",
        "23:19:14.735117 IP 10.10.5.251.1 > sip.1723: Flags [.], ack 1, win 1, options [nop,nop,md5 valid], length 0",
        "23:19:14.735117 IP 10.10.5.251.1 > sip.1723: Flags [P.], seq 1:2, ack 1, win 1, length 1",
        "23:19:14.735117 IP 10.10.5.251.1 > sip.1723: Flags [P.], seq 1:17, ack 1, win 1, length 16: pptp CTRL_MSGTYPE=CCRQ CALL_ID(1)",
        "23:19:14.735117 IP 10.10.5.251 > sip: GREv1, call 0, seq 1, ack 0, length 41: LCP, Conf-Request (0x01), id 1, length 22",
    ],
)
def test_a_line_that_cannot_be_rebuilt_is_refused(line: str, rebuild_seed: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"line|option|control message"):
        rebuild_seed.rebuild(line, rebuild_seed.DATES["seed-client"])
