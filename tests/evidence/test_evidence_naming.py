"""Names of questions in observations."""

import pytest
from evidence_support import C2S, S2C

from vpnprobe.evidence import questions
from vpnprobe.evidence.naming import STEPS, earlier_steps, form_detail, identifier, skipped
from vpnprobe.evidence.packet_records import Question
from vpnprobe.evidence.records import Skip
from vpnprobe.observations.schema import Direction, Outcome, Transport

TCP, UDP = Transport.TCP, Transport.UDP


@pytest.mark.parametrize(
    ("question", "way", "expected"),
    [
        (questions.openvpn_data(UDP, 443, "tls-crypt"), C2S, "openvpn-data-tls-crypt-udp-443-c2s"),
        (questions.openvpn_reset(TCP, 443), Direction.BOTH, "openvpn-reset-tcp-443-both"),
        (questions.GRE_BARE, S2C, "gre-passthrough-bare-gre-s2c"),
    ],
)
def test_an_id_has_every_part_of_its_question(question: Question, way: Direction, expected: str) -> None:
    assert identifier(question, way) == expected


def test_what_the_form_of_a_question_says_in_its_row() -> None:
    def detail_of(form: str) -> dict[str, object]:
        return form_detail(questions.openvpn_data(UDP, 1194, form))

    assert detail_of("") == {}
    assert detail_of("tls-crypt-v2") == {"wrap": "tls-crypt-v2"}
    assert detail_of("profile") == {"profile": True}
    assert detail_of("profile-2") == {"profile": True, "remote": "2"}
    assert form_detail(questions.GRE_BARE) == {"form": "bare"}


def test_earlier_steps_are_of_the_same_sessions() -> None:
    asked = questions.openvpn_data(TCP, 443, "tls-crypt")
    assert earlier_steps(asked) == tuple(asked._replace(check=check) for check in STEPS[:2])
    assert earlier_steps(questions.openvpn_reset(TCP, 443)) == earlier_steps(questions.ESP) == ()


@pytest.mark.parametrize("way", [C2S, S2C])
def test_data_that_was_not_tried_says_why(way: Direction) -> None:
    question: Question = questions.openvpn_data(UDP, 443, "tls-crypt")
    row = skipped(Skip(question, way, "another program answers there"))
    assert (row.id, row.outcome) == (f"openvpn-data-tls-crypt-udp-443-{way}", Outcome.SKIPPED)
    assert row.detail == {"reason": "another program answers there", "wrap": "tls-crypt"}
