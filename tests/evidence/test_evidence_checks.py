"""The table of checks: it agrees with itself and with what is published, and nothing else in `evidence` names a protocol."""

import re
from pathlib import Path

import pytest

from vpnprobe import evidence
from vpnprobe.evidence import checks
from vpnprobe.evidence.checks import CHECKS, SPECS, CheckSpec, Kind
from vpnprobe.evidence.packet_records import Check
from vpnprobe.observations.schema import Transport
from vpnprobe.rules.model import KNOWN_CHECKS

TCP, UDP = Transport.TCP, Transport.UDP
PUBLISHED = {
    "tcp": {"reach", "nmap"},
    "udp": {"reach", "nmap"},
    "gre": {"passthrough"},
    "esp": {"passthrough"},
    "pptp": {"control", "lcp"},
    "l2tp": {"control", "data"},
    "ike": {"ikev1-main", "ikev2-init", "esp-in-udp"},
    "openvpn": {"reset", "handshake", "data"},
    "wireguard": {"handshake", "data"},
    "path": {"trace", "outage", "late", "own-queue", "own-firewall", "routes"},
    "mtu": {"path-mtu", "black-hole"},
    "nat": {"mapping", "alg", "filtering", "idle-timeout"},
    "quality": {"loss", "delay", "reordering", "throughput"},
}
"""As CLI.md has them, outages of the whole path, ends that were late, and what the probes' own packets displaced."""


def test_the_table_is_what_is_published() -> None:
    assert {probe: set(names) for probe, names in KNOWN_CHECKS.items()} == PUBLISHED
    assert [spec for spec in CHECKS if not spec.observed] == [SPECS["path", "echo"], SPECS["path", "control"]]


def named(spec: CheckSpec) -> str:
    return f"{spec.probe}/{spec.name}"


@pytest.mark.parametrize("spec", CHECKS, ids=named)
def test_a_line_of_the_table_agrees_with_the_others(spec: CheckSpec) -> None:
    assert SPECS[spec.probe, spec.name] is spec
    assert bool(spec.unit) == (spec.kind is Kind.NUMBER)
    assert not spec.after or SPECS[spec.probe, spec.after].kind is Kind.CONVERSATION
    assert not spec.raw or spec.transports in ((Transport.GRE,), (Transport.ESP,))
    assert spec.counted_in == ("", "") or SPECS[spec.counted_in].kind is spec.kind
    assert spec.words or spec.name in ("reach", "nmap")


@pytest.mark.parametrize(
    "check",
    [
        checks.GRE_BARE,
        checks.GRE_IN_CALL,
        checks.PPTP_LCP,
        checks.ESP,
        checks.PPTP_CONTROL,
        checks.L2TP_CONTROL,
        checks.ESP_IN_UDP,
        checks.ICMP_ECHO,
        checks.udp_reach(53),
        checks.tcp_reach(443),
        checks.ikev1_main(500),
        checks.ikev2_init(4500),
        checks.openvpn_reset(TCP, 443),
        checks.openvpn_handshake(UDP, 1194, "tls-crypt"),
        checks.openvpn_data(UDP, 1194),
    ],
    ids=str,
)
def test_every_check_that_is_asked_is_in_it(check: Check) -> None:
    spec = checks.spec_of(check)
    assert spec is not None
    assert check.transport in spec.transports
    assert checks.kind_of(check) is spec.kind


def test_what_is_not_in_the_table_is_of_no_kind() -> None:
    newer = Check("quic", "handshake", UDP, 443, "profile")
    assert checks.spec_of(newer) is None
    assert checks.kind_of(newer) is None
    assert not checks.is_raw(newer)
    assert checks.is_existing(newer)
    assert not checks.is_existing(newer._replace(variant=""))
    assert checks.same_packets(newer) is None
    assert checks.earlier_steps(newer) == ()
    assert checks.answering_port(newer) == (UDP, 443)


def test_earlier_steps_are_of_the_same_sessions() -> None:
    asked = checks.openvpn_data(TCP, 443, "tls-crypt")
    assert checks.earlier_steps(asked) == (checks.openvpn_reset(TCP, 443, "tls-crypt"), checks.openvpn_handshake(TCP, 443, "tls-crypt"))
    assert checks.earlier_steps(checks.openvpn_reset(TCP, 443)) == checks.earlier_steps(checks.ESP) == ()
    assert checks.comes_before("openvpn", "reset", "data")
    assert not checks.comes_before("openvpn", "data", "reset")
    assert not checks.comes_before("gre", "reset", "data")


def test_what_goes_in_a_call_is_answered_by_whoever_has_its_control_connection() -> None:
    assert checks.answering_port(checks.GRE_IN_CALL) == checks.answering_port(checks.PPTP_LCP) == (TCP, 1723)
    assert checks.answering_port(checks.GRE_BARE) == (Transport.GRE, None)
    assert checks.answering_port(checks.udp_reach(53)) == (UDP, 53)


def test_the_same_packets_are_told_by_the_table() -> None:
    assert checks.same_packets(checks.PPTP_LCP) == checks.GRE_IN_CALL
    assert checks.same_packets(checks.GRE_IN_CALL) is None


def test_a_plain_payload_asks_about_the_port_in_the_same_ip_version() -> None:
    asked = checks.openvpn_reset(UDP, 1194, "tls-crypt")
    assert checks.plain_on_port(asked) == checks.udp_reach(1194)
    assert checks.plain_on_port(asked._replace(family=6)) == checks.udp_reach(1194)._replace(family=6)
    assert checks.plain_on_port(checks.tcp_reach(80)) is checks.plain_on_port(checks.ESP) is None


PROTOCOLS = re.compile(r"(?<![a-z])(openvpn|pptp|l2tp|ike|wireguard)(?![a-z])", re.IGNORECASE)
NAMES_THEM = {"checks.py": "it is the table"}


def test_nothing_else_in_evidence_names_a_protocol() -> None:
    root = Path(evidence.__file__).parent
    named = {
        path.name: found.group()
        for path in root.rglob("*.py")
        if path.name not in NAMES_THEM and (found := PROTOCOLS.search(path.read_text("utf-8")))
    }
    assert named == {}
