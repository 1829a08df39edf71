"""Names of checks in observations."""

import pytest
from evidence_support import C2S, S2C

from vpnprobe.evidence import checks
from vpnprobe.evidence.naming import STEPS, earlier_steps, form_detail, identifier, skipped
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


def test_earlier_steps_are_of_the_same_sessions() -> None:
    asked = checks.openvpn_data(TCP, 443, "tls-crypt")
    assert earlier_steps(asked) == tuple(asked._replace(name=step) for step in STEPS[:2])
    assert earlier_steps(checks.openvpn_reset(TCP, 443)) == earlier_steps(checks.ESP) == ()


@pytest.mark.parametrize("way", [C2S, S2C])
def test_data_that_was_not_tried_says_why(way: Direction) -> None:
    check: Check = checks.openvpn_data(UDP, 443, "tls-crypt")
    row = skipped(Skip(check, way, "another program answers there"))
    assert (row.id, row.outcome) == (f"openvpn-data-tls-crypt-udp-443-{way}", Outcome.SKIPPED)
    assert row.detail == {"reason": "another program answers there", "wrap": "tls-crypt"}
