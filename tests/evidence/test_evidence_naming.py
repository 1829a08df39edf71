"""Names of checks in observations."""

import pytest
from evidence_support import C2S, S2C

from vpnprobe.evidence import checks
from vpnprobe.evidence.judging.facts import skipped
from vpnprobe.evidence.naming import form_detail, identifier
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import Skip
from vpnprobe.observations.schema import Direction, Outcome, Transport

TCP, UDP = Transport.TCP, Transport.UDP


@pytest.mark.parametrize(
    ("check", "way", "expected"),
    [
        (checks.openvpn_data(UDP, 443, "tls-crypt"), C2S, "openvpn-data-tls-crypt-udp-443-c2s"),
        (checks.openvpn_reset(TCP, 443), Direction.BOTH, "openvpn-reset-tcp-443-both"),
        (checks.GRE_BARE, S2C, "gre-passthrough-bare-gre-s2c"),
        (checks.GRE_BARE._replace(family=6), S2C, "gre-passthrough-bare-gre6-s2c"),
        (checks.udp_reach(500)._replace(family=6), C2S, "udp-reach-udp6-500-c2s"),
    ],
)
def test_an_id_has_every_part_of_its_check(check: Check, way: Direction, expected: str) -> None:
    assert identifier(check, way) == expected


def test_what_the_form_of_a_check_says_in_its_row() -> None:
    def detail_of(form: str) -> dict[str, object]:
        return form_detail(checks.openvpn_data(UDP, 1194, form))

    assert detail_of("") == {}
    assert detail_of("tls-crypt-v2") == {"wrap": "tls-crypt-v2"}
    assert detail_of("profile") == {"profile": True}
    assert detail_of("profile-2") == {"profile": True, "remote": "2"}
    assert form_detail(checks.GRE_BARE) == {"form": "bare"}


@pytest.mark.parametrize("way", [C2S, S2C])
def test_data_that_was_not_tried_says_why(way: Direction) -> None:
    check: Check = checks.openvpn_data(UDP, 443, "tls-crypt")
    row = skipped(Skip(check, way, "another program answers there"))
    assert (row.id, row.outcome) == (f"openvpn-data-tls-crypt-udp-443-{way}", Outcome.SKIPPED)
    assert row.detail == {"reason": "another program answers there", "wrap": "tls-crypt"}
