"""What holds of every judgement, whatever the two ends recorded."""

from dataclasses import replace

from evidence_support import C2S, CLIENT, RECEIVED, S2C, SENT, SERVER, facts_with, judged, keys
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.evidence import checks
from vpnprobe.evidence.judge import judge
from vpnprobe.evidence.judging.goals import CLOSED
from vpnprobe.evidence.packet_records import PacketRecord
from vpnprobe.evidence.records import EndRecord, PathFacts, PortState, Refusal, RefusalKind
from vpnprobe.evidence.statistics import ERROR_BOUND, LEAST_TRIALS, Background
from vpnprobe.observations.schema import Outcome, Transport

UDP = checks.udp_reach(500)
TCP = checks.tcp_reach(443)
RESET = checks.openvpn_reset(Transport.UDP, 1194)


CHECKS = [checks.GRE_BARE, checks.GRE_IN_CALL, checks.ESP, UDP, TCP, RESET, checks.PPTP_CONTROL, checks.PPTP_LCP]
MESSAGES = {
    "reach": ["SYN", "SYN-ACK", "payload", ""],
    "control": ["SCCRQ", "SCCRP", "OCRP", "SCCRP-refused"],
    "reset": ["P_CONTROL_HARD_RESET_CLIENT_V2", "P_CONTROL_HARD_RESET_SERVER_V2", CLOSED],
}
own_keys = st.sampled_from(keys(12))
foreign_keys = st.sampled_from(keys(12, start=900))
states = st.dictionaries(
    st.sampled_from([(Transport.UDP, 500), (Transport.TCP, 443), (Transport.TCP, 1723), (Transport.UDP, 1194)]), st.sampled_from(PortState)
)
losses = st.builds(Background, st.integers(0, 60), st.integers(0, 400))


@st.composite
def packet_records(draw: st.DrawFn, key: st.SearchStrategy[str] = own_keys) -> PacketRecord:
    check = draw(st.sampled_from(CHECKS))
    message = draw(st.sampled_from(MESSAGES.get(check.name, ["", "Configure-Request", "Configure-Ack"])))
    vantage, movement = draw(st.sampled_from([CLIENT, SERVER])), draw(st.sampled_from([SENT, RECEIVED]))
    at = draw(st.floats(0, 10))
    return PacketRecord(vantage, movement, at, check, draw(key), message, ttl_limited=draw(st.booleans()) and movement is SENT)


records = st.lists(packet_records(), max_size=40)


@st.composite
def refusals(draw: st.DrawFn) -> Refusal:
    check = draw(st.sampled_from(CHECKS))
    return Refusal(check, draw(st.sampled_from([C2S, S2C])), draw(st.sampled_from(RefusalKind)), draw(st.sampled_from([None, "10.0.0.9"])))


@st.composite
def strangers(draw: st.DrawFn) -> PacketRecord:
    """A row of the server's with a nonce that the client never used."""
    row = draw(packet_records(foreign_keys))
    peer = draw(st.sampled_from([None, ("192.0.2.66", 4000), ("10.0.0.1", 4000)]))
    return PacketRecord(SERVER, RECEIVED, row.at, row.check, row.key, row.message, peer=peer)


@given(records, st.lists(strangers(), max_size=12), states, losses, st.lists(refusals(), max_size=4), st.booleans())
def test_a_server_row_without_our_nonce_never_changes_an_observation(
    rows: list[PacketRecord],
    foreign: list[PacketRecord],
    ports: dict[tuple[Transport, int], PortState],
    loss: Background,
    refused: list[Refusal],
    sees: bool,
) -> None:
    facts = replace(facts_with(ports=ports, background={C2S: loss, S2C: loss}), client_address="10.0.0.1", client_seen_as="10.0.0.1")
    assert judged(rows, facts, refusals=refused, sees=sees) == judged([*rows, *foreign], facts, refusals=refused, sees=sees)


@given(records, states, losses, st.booleans(), st.booleans(), st.lists(refusals(), max_size=4))
def test_blocked_is_never_said_lightly(
    rows: list[PacketRecord],
    ports: dict[tuple[Transport, int], PortState],
    loss: Background,
    recorded: bool,
    sees: bool,
    refused: list[Refusal],
) -> None:
    """Not without the receiving end's word, not with fewer than four fresh keys, not with a bound above 1e-6."""
    facts = facts_with(ports=ports, background={C2S: loss, S2C: loss})
    for found in judged(rows, facts, refusals=refused, recorded=recorded, sees=sees).values():
        if found.outcome is not Outcome.BLOCKED:
            continue
        lost_way = found.detail.get("lost_direction", found.direction)
        assert recorded or lost_way == S2C
        assert found.error_bound is not None
        assert found.error_bound <= ERROR_BOUND
        assert found.sent is not None
        assert found.sent >= LEAST_TRIALS
        state = ports.get((found.transport, found.port or 0), PortState.OURS)
        assert lost_way == S2C or sees or state in (PortState.OURS, PortState.UNKNOWN)


@given(records, losses)
def test_what_never_left_is_never_lost(rows: list[PacketRecord], loss: Background) -> None:
    facts = facts_with(background={C2S: loss, S2C: loss})
    received = [row for row in rows if row.movement is RECEIVED]
    assert judged(received, facts) == {}


@given(records, losses)
def test_the_order_of_rows_does_not_matter(rows: list[PacketRecord], loss: Background) -> None:
    facts = facts_with(background={C2S: loss, S2C: loss})
    forwards = {name: (o.outcome, o.sent, o.received, o.error_bound) for name, o in judged(rows, facts).items()}
    backwards = {name: (o.outcome, o.sent, o.received, o.error_bound) for name, o in judged(rows[::-1], facts).items()}
    assert forwards == backwards


def test_an_empty_record_gives_an_empty_judgement() -> None:
    assert judge(EndRecord(), EndRecord(), PathFacts()) == []
