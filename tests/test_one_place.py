"""A protocol is told once: its name stands in the places that CONTRIBUTING lists, and in no generic file."""

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import pytest

import vpnprobe
from vpnprobe.conversations.registry import PROTOCOLS, ProtocolSpec
from vpnprobe.observations.schema import Protocol

ROOT: Final = Path(vpnprobe.__file__).parent.parent
FILES: Final = sorted(
    path.relative_to(ROOT).as_posix() for path in (ROOT / "vpnprobe").rglob("*") if path.suffix in (".py", ".toml", ".json", ".j2")
)
NAMES: Final = {
    "pptp": ("pptp",),
    "l2tp": ("l2tp",),
    "ike": ("ike", "isakmp", "ikev1", "ikev2"),
    "openvpn": ("openvpn",),
    "wireguard": ("wireguard",),
}
"""By the word that is looked for: how file names call the protocol."""
WORD: Final = {name: re.compile(rf"(?i)(?<![a-z0-9]){name}(v[12])?(?![a-z0-9])") for name in NAMES}
ELSEWHERE: Final = {
    "vpnprobe/profiles/*": "client profiles as they exist in the wild",
    "vpnprobe/lab/*": "real servers of these protocols, and what scenarios expect of them",
    "vpnprobe/rules/*.py": "examples in the words of rules",
    "vpnprobe/provisioning/openvpn*.py": "its configuration files",
    "vpnprobe/deployment/*": "it is what is set up and verified",
    "vpnprobe/cli/provision*.py": "it is what is set up and verified",
    "vpnprobe/cli/openvpn*.py": "its profiles on the command line",
    "vpnprobe/cli/wireguard*.py": "its profiles on the command line",
    "vpnprobe/cli/profiles.py": "which reader a profile has",
    "vpnprobe/cli/words.py": "words of options",
    "vpnprobe/cli/demo.py": "words about the scenario that it began with",
    "vpnprobe/endpoint/ppp_call.py": "PPP inside the GRE of a PPTP call: the one instrument of the path that is one protocol's",
    "vpnprobe/endpoint/*_running.py": "tunnels of a profile's own identity that are up on this machine",
    "vpnprobe/transports/simulated/*": "the helper for PPTP that NATs have",
    "vpnprobe/transports/topology.py": "the helper for PPTP that NATs have",
    "vpnprobe/conversations/lcp.py": "PPP inside the GRE of a PPTP call",
    "vpnprobe/wire/gre.py": "enhanced GRE is PPTP's",
    "vpnprobe/wire/esp.py": "ESP's keys are IKE's",
    "vpnprobe/capture/followers/gre.py": "enhanced GRE is PPTP's",
    "vpnprobe/capture/tunnels.py": "tunnels in which others may be",
    "vpnprobe/rules/diagnoses.toml": "what stopped conversations, in words",
    "vpnprobe/capture/printed/contents/*": "how programs print these protocols",
    "vpnprobe/capture/printed/dialects/shark_*.py": "what Wireshark calls their fields",
    "vpnprobe/wire/ikev1.py": "IKEv1 is asked as L2TP/IPsec asks it",
    "vpnprobe/probes/ike.py": "IKEv1 is asked as L2TP/IPsec asks it",
}
"""Files in which a name may stand besides, and why."""
MOST_OPENVPN: Final = 5
"""Files outside its own, profiles, lab, rules and words in which OpenVPN's name stands."""


def places() -> list[str]:
    """The places that CONTRIBUTING lists, with NAME in them."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    listed = text[text.index("## Adding a protocol") : text.index("## Tests")]
    return re.findall(r"^\| `([^`]+)` \|", listed, re.M)


def fits(file: str, place: str, names: tuple[str, ...]) -> bool:
    return any(fnmatch(file, place.replace("NAME", name)) for name in names)


def files_with(word: str) -> Iterator[str]:
    return (file for file in FILES if WORD[word].search((ROOT / file).read_text("utf-8")))


@pytest.mark.parametrize("word", NAMES)
def test_a_protocols_name_stands_in_its_places_only(word: str) -> None:
    allowed = [*places(), *ELSEWHERE]
    assert [file for file in files_with(word) if not any(fits(file, place, NAMES[word]) for place in allowed)] == []


def missing_places(spec: ProtocolSpec) -> list[str]:
    """Places of the list in which the protocol does not stand. One that is only followed in captures has no probe, and so no rules."""
    live = ("probes", "rules", "report", "lab", "observations")
    verdicts = {protocol.value.partition("-")[0] for protocol in Protocol}
    needed = [place for place in places() if spec.respond is not None or place.split("/")[1] not in live]
    needed = [place for place in needed if not place.endswith("schema.py") or spec.probe in verdicts]
    return [place for place in needed if not any(fits(file, place, NAMES[spec.probe]) for file in files_with(spec.probe))]


@pytest.mark.parametrize("spec", PROTOCOLS, ids=lambda spec: spec.name)
def test_every_place_of_the_list_is_there(spec: ProtocolSpec) -> None:
    assert missing_places(spec) == []


def test_every_exception_is_needed() -> None:
    named = {file for word in NAMES for file in files_with(word)}
    assert [place for place in ELSEWHERE if not any(fnmatch(file, place) for file in named)] == []


def test_few_files_name_openvpn() -> None:
    own = (
        "vpnprobe/*openvpn*",
        "vpnprobe/deployment/*",
        "vpnprobe/profiles/*",
        "vpnprobe/cli/profiles.py",
        "vpnprobe/cli/provision*.py",
        "vpnprobe/lab/*",
        "vpnprobe/rules/*",
        "vpnprobe/report/words.py",
        "vpnprobe/cli/words.py",
        "vpnprobe/capture/printed/contents/*",
        "vpnprobe/capture/printed/dialects/shark_*.py",
    )
    found = [file for file in files_with("openvpn") if not any(fnmatch(file, place) for place in own)]
    assert len(found) <= MOST_OPENVPN, found


NO_PORT: Final = re.compile(r"\bif .*\bport(_number)? (==|in) \(?[0-9]")


def test_nothing_generic_asks_for_a_port_by_number() -> None:
    generic = [file for file in FILES if file.startswith(("vpnprobe/agents", "vpnprobe/endpoint", "vpnprobe/evidence", "vpnprobe/capture"))]
    assert [file for file in generic if NO_PORT.search((ROOT / file).read_text("utf-8"))] == []
