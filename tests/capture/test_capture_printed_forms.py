"""One trace in all the forms in which people paste it says the same each time, whoever printed it and whatever was done to it since."""

import html
import re
import shutil
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from vpnprobe.capture.decode import Decoder
from vpnprobe.capture.printed.characters import lines_of
from vpnprobe.capture.printed.traces import PrintedText, parse
from vpnprobe.capture.reading import read_capture

ROOT: Final = Path(__file__).parents[2]
CAPTURES: Final = {name: ROOT / "tests" / "data" / f"{name}.pcap" for name in ("pptp-real-client", "wireguard-roaming-client")}
CAPTURES["seed-server"] = ROOT / "pcaps" / "seed-server.pcap"


def printed(program: str, capture: str, *options: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"the program {program} is not installed")
    return subprocess.run([found, *options, "-r", str(CAPTURES[capture])], capture_output=True, text=True, check=True).stdout


def read(text: str | bytes) -> PrintedText:
    return parse(lines_of([text if isinstance(text, bytes) else text.encode()]))


def stages(text: str | bytes) -> list[tuple[str, str]]:
    found = []
    for trace in read(text).traces:
        decoder = Decoder()
        for frame in trace.frames:
            decoder.take(frame)
        found += [(one.protocol, one.stage) for one in decoder.conversations()]
    return sorted(found)


def captured(capture: str) -> list[tuple[str, str]]:
    (trace,) = read_capture(CAPTURES[capture]).traces
    return sorted((one.protocol, one.stage) for one in trace.decoder.conversations())


def each(change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: "\n".join(change(line) for line in text.splitlines())


def wrapped(width: int, prefix: str = "") -> Callable[[str], str]:
    def wrap(text: str) -> str:
        lines = (textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) for line in text.splitlines())
        return "\n".join(prefix + piece for pieces in lines for piece in pieces)

    return wrap


def broken(width: int) -> Callable[[str], str]:
    return each(lambda line: "\n".join(line[at : at + width] for at in range(0, max(1, len(line)), width)))


OPTIONS: Final = (
    "-nn",
    "-n",
    "-nnv",
    "-nnvv",
    "-nnvvv",
    "-nne",
    "-nnevv",
    "-nnx",
    "-nnX",
    "-nnxx",
    "-nnvXX",
    "-nnA",
    "-nnt",
    "-nntv",
    "-nntt",
    "-nnttt",
    "-nntttt",
    "-nnttttt",
    "-nnS",
    "-nn#",
    "-nn#v",
)
CHANGES: Final[dict[str, Callable[[str], str | bytes]]] = {
    "quoted": each("> ".__add__),
    "quoted twice": each(">> ".__add__),
    "first line quoted": "> ".__add__,
    "wrapped": wrapped(72),
    "wrapped and quoted": wrapped(60, "> "),
    "broken at 80": broken(80),
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "no-break spaces": lambda text: text.replace(" ", "\u00a0"),
    "entities": html.escape,
    "table": each("| {} |".format),
    "bullets": each("* ".__add__),
    "code in bullets": each("- `{}`".format),
    "numbered": lambda text: "\n".join(f"{number:4d}\t{line}" for number, line in enumerate(text.splitlines(), 1)),
    "one line": lambda text: " ".join(text.splitlines()),
    "blank lines": lambda text: text.replace("\n", "\n\n"),
    "syslog": each("Nov 28 14:00:01 gw tcpdump[411]: ".__add__),
    "journal": each("2026-11-28T14:00:01.123456+01:00 gw tcpdump[411]: ".__add__),
    "compose": each("vpn-1  | ".__add__),
    "Junos": each(lambda line: re.sub(r"^(\S+) IP ", r"\1 Out IP ", line)),
    "any": each(lambda line: re.sub(r"^(\S+) IP ", r"\1 eth0  Out IP ", line)),
    "no IP": each(lambda line: re.sub(r"^(\S+) IP ", r"\1 ", line)),
    "tabs": lambda text: text.replace(" ", "\t"),
    "remarks between": lambda text: text.replace("\n", "\n\nThen I see this:\n\n", 3),
    "prompts around": lambda text: f"root@gw:~# tcpdump -i any\nlistening on any\n{text}^C\n9 packets captured\nroot@gw:~#",
}
OF_ONE_LINE: Final = frozenset(("Junos", "any", "no IP", "remarks between"))
"""Changes of packets that are printed in one line."""
SHARK: Final = {"list": [], "dates": ["-t", "ad"], "details": ["-V"], "dumps": ["-x"], "list with dumps": ["-Px"], "both": ["-Vx"]}


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("options", OPTIONS)
def test_options_of_tcpdump(capture: str, options: str) -> None:
    text = printed("tcpdump", capture, options)
    assert stages(text) == captured(capture)
    assert read(text).unread == 0


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize(
    ("change", "options"),
    [(change, options) for change in CHANGES for options in ("-nn", "-nnv") if options == "-nn" or change not in OF_ONE_LINE],
)
def test_what_people_do_to_it(capture: str, change: str, options: str) -> None:
    changed = CHANGES[change](printed("tcpdump", capture, options))
    assert stages(changed) == captured(capture)
    assert read(changed).unread == 0


@pytest.mark.parametrize("capture", CAPTURES)
def test_the_second_lines_of_v_alone(capture: str) -> None:
    text = "\n".join(line for line in printed("tcpdump", capture, "-nnv").splitlines() if line.startswith("    "))
    assert stages(text) == captured(capture)


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("form", SHARK)
def test_forms_of_tshark(capture: str, form: str) -> None:
    text = printed("tshark", capture, "-n", *SHARK[form])
    assert stages(text) == captured(capture)
    assert stages(CHANGES["quoted"](text)) == captured(capture)


def test_columns_with_headings() -> None:
    names = ["frame.number", "frame.time_epoch", "ip.src", "ip.dst", "ip.proto", "udp.srcport", "udp.dstport", "udp.length", "udp.payload"]
    fields = [option for name in names for option in ("-e", name)]
    text = printed("tshark", "wireguard-roaming-client", "-T", "fields", "-E", "header=y", *fields)
    assert stages(text) == captured("wireguard-roaming-client")
