"""Every cause by its control experiment."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from evidence_support import BOTH, C2S, CLEAR, S2C

from vpnprobe.evidence import checks
from vpnprobe.evidence.causes import explain
from vpnprobe.evidence.decoy_streams import SMALL_TURNS, TURNS, DecoyStream
from vpnprobe.evidence.naming import identifier
from vpnprobe.evidence.packet_records import Check
from vpnprobe.evidence.records import PathFacts, PortState, RefusalKind, TtlTrace
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Transport

BLOCKED, PASS, REFUSED, DEGRADED, NO_ANSWER = (
    Outcome.BLOCKED,
    Outcome.PASS,
    Outcome.REFUSED,
    Outcome.DEGRADED,
    Outcome.NO_ANSWER,
)
UDP_500, UDP_1194 = checks.udp_reach(500), checks.udp_reach(1194)
TCP_443, TCP_1723 = checks.tcp_reach(443), checks.tcp_reach(1723)
RESET = checks.openvpn_reset(Transport.UDP, 1194)
PATH = PathFacts(background=CLEAR, client_address="10.0.0.1", client_seen_as="10.0.0.1")
NATTED = replace(PATH, client_seen_as="192.0.2.7")


def row(check: Check, way: Direction, outcome: Outcome, cause: Cause | None = None, **detail: Any) -> Observation:
    told: Mapping[str, Any] = {**({"form": check.variant} if check.variant else {}), **detail}
    return Observation(identifier(check, way), check.probe, check.name, way, check.transport, outcome, check.port, cause, detail=told)


def explained(failed: Observation, *others: Observation, facts: PathFacts = PATH) -> Observation:
    return next(o for o in explain([failed, *others], facts) if o.id == failed.id)


def cause_of(failed: Observation, *others: Observation, facts: PathFacts = PATH) -> Cause | None:
    return explained(failed, *others, facts=facts).cause


class TestCauses:
    def test_another_protocol_passes_between_the_same_addresses(self) -> None:
        udp = row(UDP_500, C2S, PASS)
        failed = explained(row(checks.GRE_BARE, C2S, BLOCKED), udp)
        assert (failed.cause, failed.detail["compared_with"]) == (Cause.IP_PROTOCOL, [udp.id])

    def test_the_control_channel_is_enough_to_compare_with(self) -> None:
        assert cause_of(row(checks.ESP, C2S, BLOCKED)) is Cause.IP_PROTOCOL

    def test_with_nothing_to_compare_with_nothing_is_said(self) -> None:
        assert cause_of(row(checks.ESP, C2S, BLOCKED), facts=PathFacts()) is Cause.UNKNOWN

    def test_what_passes_the_other_way_is_no_comparison(self) -> None:
        assert cause_of(row(checks.ESP, C2S, BLOCKED), row(UDP_500, S2C, PASS), facts=PathFacts()) is Cause.UNKNOWN

    def test_another_port_passes(self) -> None:
        other = row(UDP_500, C2S, PASS)
        failed = explained(row(UDP_1194, C2S, BLOCKED), other)
        assert (failed.cause, failed.detail["compared_with"]) == (Cause.PORT, [other.id])

    def test_no_port_passes(self) -> None:
        assert cause_of(row(UDP_1194, C2S, BLOCKED), row(UDP_500, C2S, BLOCKED), row(TCP_443, BOTH, PASS)) is Cause.IP_PROTOCOL

    def test_a_tcp_port_that_fails_fails_beside_the_control_port(self) -> None:
        failed = explained(row(TCP_1723, BOTH, BLOCKED, lost_direction="c2s"))
        assert (failed.cause, "compared_with" in failed.detail) == (Cause.PORT, False)

    def test_the_protocols_own_messages_pass_on_the_port_where_ours_do_not(self) -> None:
        own = row(RESET, BOTH, PASS)
        assert cause_of(row(UDP_1194, C2S, BLOCKED), own) is Cause.PAYLOAD

    def test_a_decoy_passes_on_the_same_port(self) -> None:
        decoy = row(UDP_1194, C2S, PASS)
        failed = explained(row(RESET, BOTH, BLOCKED, lost_direction="c2s"), decoy)
        assert (failed.cause, failed.detail["compared_with"]) == (Cause.PAYLOAD, [decoy.id])

    def test_a_decoy_that_passes_the_other_way_tells_nothing(self) -> None:
        assert cause_of(row(RESET, BOTH, BLOCKED, lost_direction="s2c"), row(UDP_1194, C2S, PASS)) is Cause.UNKNOWN

    def test_where_the_lost_direction_is_not_known_the_decoy_passes_in_both(self) -> None:
        there, back = row(UDP_1194, C2S, PASS), row(UDP_1194, S2C, PASS)
        failed = row(RESET, BOTH, REFUSED, refusal=RefusalKind.PROHIBITED.value, by="10.0.5.1")
        assert [cause_of(failed, *decoys) for decoys in ([there], [back])] == [Cause.UNKNOWN, Cause.UNKNOWN]
        both = explained(failed, there, back)
        assert (both.cause, both.detail["compared_with"]) == (Cause.PAYLOAD, [there.id, back.id])
        assert cause_of(failed, there, row(UDP_500, S2C, PASS)) is Cause.UNKNOWN

    def test_a_decoy_on_another_port_tells_nothing(self) -> None:
        assert cause_of(row(RESET, BOTH, BLOCKED, lost_direction="c2s"), row(UDP_500, C2S, PASS)) is Cause.UNKNOWN

    def test_a_conversation_fails_as_its_port_does(self) -> None:
        failed = row(RESET, BOTH, BLOCKED, lost_direction="c2s")
        assert cause_of(failed, row(UDP_1194, C2S, BLOCKED), row(UDP_500, C2S, PASS)) is Cause.PORT
        assert cause_of(failed, row(UDP_1194, C2S, BLOCKED)) is Cause.IP_PROTOCOL
        over_tcp = row(checks.PPTP_CONTROL, BOTH, BLOCKED, lost_direction="c2s")
        assert cause_of(over_tcp, row(TCP_1723, BOTH, BLOCKED, lost_direction="c2s")) is Cause.PORT

    @pytest.mark.parametrize(
        ("other", "expected"),
        [
            (row(checks.wireguard_data(1194), S2C, BLOCKED, Cause.PACKETS, cut_after=4), Cause.PACKETS),
            (row(checks.wireguard_data(51820), S2C, BLOCKED, Cause.PACKETS, cut_after=4), Cause.UNKNOWN),
            (row(checks.wireguard_data(51820), S2C, DEGRADED, Cause.SIZE, largest_passing=1000, smallest_lost=1400), Cause.SIZE),
            (row(checks.wireguard_data(51820), S2C, DEGRADED, Cause.SIZE, largest_passing=1300, smallest_lost=1400), Cause.PAYLOAD),
            (row(checks.wireguard_data(51820), C2S, DEGRADED, Cause.SIZE, largest_passing=1000, smallest_lost=1400), Cause.PAYLOAD),
            (row(checks.wireguard_data(51820), S2C, DEGRADED, Cause.SIZE), Cause.PAYLOAD),
            (row(checks.openvpn_data(Transport.TCP, 443), S2C, DEGRADED, Cause.SIZE, largest_passing=1000), Cause.UNKNOWN),
        ],
    )
    def test_a_later_step_that_others_show_to_be_cut_or_too_large_is_not_lost_for_what_it_says(
        self, other: Observation, expected: Cause
    ) -> None:
        handshake = checks.openvpn_handshake(Transport.UDP, 1194)
        failed = row(handshake, BOTH, BLOCKED, lost_direction="s2c", lost_message="P_CONTROL_V1[1]", lost_bytes=1200)
        begun = row(RESET, BOTH, PASS)
        assert cause_of(failed, begun) is Cause.PAYLOAD
        assert cause_of(failed, begun, other) is expected
        unsized = replace(failed, detail={"lost_direction": "s2c"})
        by_size = other.cause is Cause.SIZE
        assert cause_of(unsized, begun, other) is (Cause.PAYLOAD if by_size else expected), "of what has no size none is said"

    CUT = row(checks.wireguard_data(1194), S2C, BLOCKED, Cause.PACKETS, cut_after=4)
    SIZE = row(checks.wireguard_data(51820), S2C, DEGRADED, Cause.SIZE, largest_passing=576, smallest_lost=1200)

    @pytest.mark.parametrize(
        ("other", "proof"),
        [
            (CUT, {(1194, S2C): (8, 2)}),
            (CUT, checks.openvpn_data(Transport.UDP, 1194, "tls-crypt")),
            (None, checks.openvpn_data(Transport.UDP, 1194, "tls-crypt")),
            (SIZE, checks.wireguard_data(443)),
        ],
    )
    def test_what_is_shown_to_go_on_or_to_pass_in_that_size_is_filtered_for_what_it_says(
        self, other: Observation | None, proof: Check | dict[tuple[int | None, Direction], tuple[int, int]]
    ) -> None:
        handshake = checks.openvpn_handshake(Transport.UDP, 1194)
        failed = row(handshake, BOTH, BLOCKED, lost_direction="s2c", lost_bytes=1200)
        facts, beside = PATH, [row(RESET, BOTH, PASS), *([other] if other is not None else [])]
        if isinstance(proof, dict):
            facts = replace(PATH, behind=proof)
        else:
            facts = replace(PATH, behind={} if other is not None else {(1194, S2C): (8, 0)})
            told = {"wrap": proof.variant} if proof.variant else {}
            beside.append(replace(row(proof, S2C, PASS, largest_passed=1492, **told), received=50))
        assert cause_of(failed, *beside, facts=facts) is Cause.PAYLOAD

    @pytest.mark.parametrize(
        ("behind", "expected"),
        [((4, 0), Cause.UNKNOWN), ((3, 0), Cause.PAYLOAD), ((8, 1), Cause.PAYLOAD), (None, Cause.PAYLOAD)],
    )
    def test_flows_that_let_nothing_through_any_more_are_not_filtered_for_what_was_lost(
        self, behind: tuple[int, int] | None, expected: Cause
    ) -> None:
        failed, begun = row(checks.openvpn_data(Transport.UDP, 1194), S2C, BLOCKED), row(RESET, BOTH, PASS)
        told = replace(PATH, behind={(1194, S2C): behind, (443, S2C): (9, 0), (1194, C2S): (9, 0)} if behind is not None else {})
        assert cause_of(failed, begun, facts=told) is expected

    @pytest.mark.parametrize(("there", "expected"), [((9, 0), Cause.UNKNOWN), ((9, 9), Cause.PAYLOAD)])
    def test_a_server_that_gets_nothing_any_more_has_no_answer_to_lose(self, there: tuple[int, int], expected: Cause) -> None:
        handshake = row(checks.openvpn_handshake(Transport.UDP, 1194), BOTH, BLOCKED, lost_direction="s2c")
        assert cause_of(handshake, row(RESET, BOTH, PASS), facts=replace(PATH, behind={(1194, C2S): there})) is expected

    ENDED, WHOLE = DecoyStream(2), DecoyStream(len(TURNS))
    LARGE_LOST, CLOSED = DecoyStream(SMALL_TURNS), DecoyStream(2, closed=True)

    @pytest.mark.parametrize("begun", [True, False])
    @pytest.mark.parametrize(
        ("streams", "expected"),
        [
            ([ENDED] * 4, Cause.PACKETS),
            ([ENDED] * 3, Cause.UNKNOWN),
            ([ENDED] * 4 + [WHOLE], Cause.PAYLOAD),
            ([WHOLE], Cause.PAYLOAD),
            ([LARGE_LOST] * 4, Cause.UNKNOWN),
            ([CLOSED] * 4, Cause.UNKNOWN),
            ([DecoyStream(0)] * 4, Cause.UNKNOWN),
            ([], Cause.PAYLOAD),
        ],
    )
    def test_a_stream_is_filtered_for_what_it_says_where_others_go_on_on_its_port(
        self, streams: list[DecoyStream], expected: Cause, *, begun: bool
    ) -> None:
        """Be it that its first message is lost, or a later one."""
        failed = row(checks.openvpn_handshake(Transport.TCP, 443), BOTH, BLOCKED, lost_direction="s2c")
        passing = row(checks.openvpn_reset(Transport.TCP, 443) if begun else TCP_443, BOTH, PASS)
        elsewhere = {1194: (self.WHOLE,), 80: (self.ENDED,) * 4}
        facts = replace(PATH, decoy_streams={**elsewhere, **({443: tuple(streams)} if streams else {})})
        assert cause_of(failed, passing, facts=facts) is expected

    def test_streams_say_nothing_of_datagrams(self) -> None:
        failed, begun = row(checks.openvpn_data(Transport.UDP, 1194), S2C, BLOCKED), row(RESET, BOTH, PASS)
        assert cause_of(failed, begun, facts=replace(PATH, decoy_streams={1194: (self.ENDED,) * 4})) is Cause.PAYLOAD

    def test_where_large_turns_are_lost_a_limit_of_size_that_is_known_is_why(self) -> None:
        failed = row(checks.openvpn_handshake(Transport.TCP, 443), BOTH, BLOCKED, lost_direction="s2c", lost_bytes=1200)
        begun = row(checks.openvpn_reset(Transport.TCP, 443), BOTH, PASS)
        limited = row(checks.openvpn_data(Transport.TCP, 1194), S2C, DEGRADED, Cause.SIZE, largest_passing=576, smallest_lost=1200)
        facts = replace(PATH, decoy_streams={443: (self.LARGE_LOST,) * 4})
        assert cause_of(failed, begun, limited, facts=facts) is Cause.SIZE
        assert cause_of(failed, begun, limited, facts=replace(PATH, decoy_streams={443: (self.ENDED,) * 4})) is Cause.PACKETS

    def test_a_cause_that_is_known_stays(self) -> None:
        assert cause_of(row(UDP_500, C2S, REFUSED, Cause.HOST_FIREWALL)) is Cause.HOST_FIREWALL

    def test_what_passes_needs_no_cause(self) -> None:
        assert explained(row(UDP_500, C2S, PASS)).cause is None
        assert explained(row(UDP_500, C2S, DEGRADED, Cause.LOSS)).cause is Cause.LOSS
        assert explained(row(UDP_500, C2S, NO_ANSWER)).cause is None


class TestRefusals:
    def test_the_peer_refuses_in_its_protocols_words(self) -> None:
        assert cause_of(row(checks.L2TP_CONTROL, BOTH, REFUSED, by="peer", message="StopCCN")) is Cause.UNKNOWN

    @pytest.mark.parametrize("state", [PortState.CLOSED, PortState.UNKNOWN, PortState.DAEMON])
    def test_nobody_listens(self, state: PortState) -> None:
        facts = replace(PATH, ports={(Transport.TCP, 443): state})
        assert cause_of(row(TCP_443, BOTH, REFUSED, refusal=RefusalKind.RST.value), facts=facts) is Cause.NO_LISTENER

    def test_a_port_of_ours_is_not_refused_by_the_peer(self) -> None:
        facts = replace(PATH, ports={(Transport.TCP, 443): PortState.OURS})
        assert cause_of(row(TCP_443, BOTH, REFUSED, refusal=RefusalKind.RST.value), facts=facts) is Cause.PORT

    def test_a_router_refused_in_the_servers_name(self) -> None:
        facts = replace(PATH, ports={(Transport.TCP, 443): PortState.CLOSED})
        assert cause_of(row(TCP_443, BOTH, REFUSED, refusal=RefusalKind.RST.value, by_router=True), facts=facts) is Cause.PORT

    def test_a_refusal_from_before_the_server_is_no_missing_listener(self) -> None:
        facts = replace(PATH, server_address="10.0.9.1", ports={(Transport.UDP, 1194): PortState.CLOSED})
        failed = row(UDP_1194, C2S, REFUSED, refusal=RefusalKind.PORT_UNREACHABLE.value, by="10.0.5.1")
        assert cause_of(failed, row(UDP_500, C2S, PASS), facts=facts) is Cause.PORT
        assert cause_of(replace(failed, detail={**failed.detail, "by": "10.0.9.1"}), facts=facts) is Cause.NO_LISTENER

    @pytest.mark.parametrize("state", list(PortState))
    @pytest.mark.parametrize("kind", [RefusalKind.PORT_UNREACHABLE, RefusalKind.RST])
    def test_the_server_refuses_where_it_listens(self, state: PortState, kind: RefusalKind) -> None:
        """A kernel says the same of a port that nobody has."""
        facts = replace(PATH, server_address="10.0.9.1", ports={(Transport.UDP, 1194): state})
        cause = cause_of(row(UDP_1194, C2S, REFUSED, refusal=kind.value, by="10.0.9.1"), facts=facts)
        icmp = kind is RefusalKind.PORT_UNREACHABLE
        assert cause is (Cause.NO_LISTENER if state is not PortState.OURS else Cause.HOST_FIREWALL if icmp else Cause.IP_PROTOCOL)

    def test_port_unreachable_of_a_protocol_without_ports_is_a_firewalls_word(self) -> None:
        """For want of a listener a kernel says protocol unreachable."""
        facts = replace(PATH, server_address="10.0.9.1")
        kinds = (RefusalKind.PORT_UNREACHABLE, RefusalKind.PROTOCOL_UNREACHABLE)
        causes = [cause_of(row(checks.GRE_BARE, C2S, REFUSED, refusal=kind.value, by="10.0.9.1"), facts=facts) for kind in kinds]
        assert causes == [Cause.HOST_FIREWALL, Cause.NO_LISTENER]

    def test_prohibited_is_a_filters_word(self) -> None:
        failed = row(UDP_1194, C2S, REFUSED, refusal=RefusalKind.PROHIBITED.value)
        assert cause_of(failed, row(UDP_500, C2S, PASS)) is Cause.PORT

    def test_what_the_client_refuses_is_no_missing_listener(self) -> None:
        failed = row(checks.ESP, S2C, REFUSED, refusal=RefusalKind.PROTOCOL_UNREACHABLE.value)
        assert cause_of(failed) is Cause.IP_PROTOCOL

    def test_no_program_for_the_protocol(self) -> None:
        failed = row(checks.ESP, C2S, REFUSED, refusal=RefusalKind.PROTOCOL_UNREACHABLE.value)
        assert cause_of(failed) is Cause.NO_LISTENER

    @pytest.mark.parametrize(
        ("check", "answered"),
        [
            (checks.ESP, row(checks.ikev1_main(500), BOTH, PASS)),
            (checks.ESP, row(checks.ikev2_init(4500), BOTH, PASS)),
            (checks.GRE_BARE, row(checks.PPTP_CONTROL, BOTH, PASS)),
            (UDP_1194, row(RESET, BOTH, PASS)),
        ],
    )
    def test_where_its_server_answered_it_is_not_said_that_nobody_is_there(self, check: Check, answered: Observation) -> None:
        icmp = RefusalKind.PROTOCOL_UNREACHABLE if check.port is None else RefusalKind.PORT_UNREACHABLE
        found = explained(row(check, C2S, REFUSED, refusal=icmp.value), answered, row(checks.tcp_reach(22), BOTH, PASS))
        assert (found.cause, found.detail["answered_beside"]) == (Cause.NO_LISTENER, [answered.id])
        silent = explained(row(check, C2S, REFUSED, refusal=icmp.value), replace(answered, outcome=NO_ANSWER))
        assert "answered_beside" not in silent.detail

    def test_protocol_unreachable_from_somebody_else_is_a_filter(self) -> None:
        failed = row(checks.ESP, C2S, REFUSED, refusal=RefusalKind.PROTOCOL_UNREACHABLE.value, by_peer=False)
        assert cause_of(failed) is Cause.IP_PROTOCOL


def test_data_of_which_nothing_comes_back_says_nothing_where_the_other_direction_stalls() -> None:
    """What ends such sessions is not settled, and it may count the packets of both directions."""
    check = checks.openvpn_reset(Transport.TCP, 1194)._replace(name="data")
    begun = row(checks.openvpn_reset(Transport.TCP, 1194), BOTH, PASS)
    stalls = replace(row(check, C2S, NO_ANSWER), sent=100, received=29)
    failed = explained(row(check, S2C, BLOCKED), stalls, begun)
    assert (failed.cause, failed.detail["compared_with"]) == (Cause.UNKNOWN, [stalls.id])
    for other in (replace(stalls, received=0), replace(stalls, received=100), replace(stalls, outcome=PASS)):
        assert cause_of(row(check, S2C, BLOCKED), other, begun) is Cause.PAYLOAD


def test_data_of_which_nothing_comes_back_is_cut_where_the_other_direction_is() -> None:
    """What counts a flow's packets counts those of both directions: on a long path all of one leave before any of the other."""
    data = checks.openvpn_data(Transport.UDP, 1194)
    cut, lost = replace(row(data, C2S, BLOCKED), cause=Cause.PACKETS), row(data, S2C, BLOCKED)
    failed = explained(lost, cut, row(checks.openvpn_handshake(Transport.UDP, 1194), BOTH, PASS))
    assert (failed.cause, failed.detail["compared_with"]) == (Cause.PACKETS, [cut.id])
    elsewhere = replace(row(checks.openvpn_data(Transport.UDP, 443), C2S, BLOCKED), cause=Cause.PACKETS)
    assert cause_of(lost, elsewhere, row(checks.openvpn_handshake(Transport.UDP, 1194), BOTH, PASS)) is Cause.PAYLOAD


class TestNat:
    BARE = row(checks.GRE_BARE, S2C, PASS)
    THERE = row(checks.GRE_IN_CALL, C2S, PASS)
    LOST = row(checks.GRE_IN_CALL, S2C, BLOCKED)

    def test_a_nat_without_helper(self) -> None:
        failed = explained(self.LOST, self.THERE, self.BARE, facts=NATTED)
        assert (failed.cause, failed.detail["compared_with"]) == (Cause.NAT, [self.THERE.id])

    def test_a_nat_that_rewrites_call_ids_has_a_helper_and_is_not_it(self) -> None:
        rewriting = replace(row(checks.tcp_reach(1723), BOTH, PASS), probe="nat", check="alg", detail={"rewritten": [{"name": "call_id"}]})
        [failed, *_] = explain([self.LOST, self.THERE, self.BARE], NATTED, beside=[rewriting])
        assert failed.cause is Cause.STATE
        [failed, *_] = explain([self.LOST, self.THERE, self.BARE], NATTED, beside=[replace(rewriting, detail={"rewritten": []})])
        assert failed.cause is Cause.NAT

    def test_the_same_without_a_nat_is_a_firewall_that_takes_it_for_no_answer(self) -> None:
        assert cause_of(self.LOST, self.THERE, self.BARE) is Cause.STATE

    def test_where_the_calls_gre_passes_neither_way_it_is_a_filter_on_enhanced_gre(self) -> None:
        assert cause_of(self.LOST, row(checks.GRE_IN_CALL, C2S, BLOCKED), self.BARE) is Cause.PAYLOAD

    def test_where_nothing_asked_for_it_as_far_as_is_known_it_may_be_the_nats_doing_or_a_filters(self) -> None:
        lost = replace(row(checks.GRE_IN_CALL, C2S, BLOCKED), received=0)
        assert cause_of(self.LOST, lost, facts=NATTED) is Cause.UNKNOWN
        kept = row(checks.GRE_IN_CALL, C2S, NO_ANSWER, Cause.HOST_FIREWALL, host="server")
        assert cause_of(self.LOST, kept, self.BARE, facts=NATTED) is Cause.NAT
        before = TtlTrace(checks.GRE_IN_CALL, S2C, {1: "10.0.3.1", 2: None}, silent=frozenset({2}))
        other = TtlTrace(UDP_500, S2C, {1: "10.0.3.1", 2: "10.0.2.1", 3: "192.0.2.7"}, passes=True)
        assert cause_of(self.LOST, lost, facts=replace(NATTED, traces=(before, other))) is Cause.IP_PROTOCOL

    def test_gre_that_dies_before_the_nat_is_not_the_nats_doing(self) -> None:
        trace = TtlTrace(checks.GRE_IN_CALL, S2C, {1: "10.0.3.1", 2: "10.0.2.1", 3: None})
        assert cause_of(self.LOST, self.THERE, facts=replace(NATTED, traces=(trace,))) is Cause.IP_PROTOCOL

    def test_gre_that_reaches_the_nat_and_no_farther_is(self) -> None:
        trace = TtlTrace(checks.GRE_IN_CALL, S2C, {1: "10.0.3.1", 2: "192.0.2.7", 3: None})
        assert cause_of(self.LOST, self.THERE, facts=replace(NATTED, traces=(trace,))) is Cause.NAT

    def test_a_trace_without_an_answer_tells_nothing(self) -> None:
        trace = TtlTrace(checks.GRE_IN_CALL, S2C, {1: None, 2: None})
        assert cause_of(self.LOST, self.THERE, facts=replace(NATTED, traces=(trace,))) is Cause.IP_PROTOCOL

    @pytest.mark.parametrize("check", [checks.GRE_BARE, checks.GRE_IN_CALL])
    def test_a_nat_lets_nothing_in_that_the_client_keeps_from_asking(self, check: Check) -> None:
        kept = row(checks.GRE_BARE, C2S, NO_ANSWER, Cause.HOST_FIREWALL, host="client")
        by_server = row(checks.GRE_BARE, C2S, NO_ANSWER, Cause.HOST_FIREWALL, host="server")
        failed = row(check, S2C, BLOCKED)
        assert cause_of(failed, kept, row(UDP_500, S2C, PASS), facts=NATTED) is Cause.NAT
        assert cause_of(failed, kept, row(UDP_500, S2C, PASS)) is Cause.IP_PROTOCOL
        told = cause_of(failed, by_server, row(UDP_500, S2C, PASS), facts=NATTED)
        assert told is Cause.IP_PROTOCOL

    @pytest.mark.parametrize("check", [checks.GRE_IN_CALL, checks.GRE_BARE, checks.ESP])
    def test_the_nat_says_so_itself(self, check: Check) -> None:
        refused = row(check, S2C, REFUSED, refusal=RefusalKind.PROTOCOL_UNREACHABLE.value, by="192.0.2.7")
        assert cause_of(refused, facts=NATTED) is Cause.NAT
        by_another = replace(refused, detail={**refused.detail, "by": "192.0.2.1"})
        assert cause_of(by_another, row(UDP_500, S2C, PASS), facts=NATTED) is Cause.IP_PROTOCOL

    def test_one_that_knows_no_call_says_so_though_another_has_a_helper(self) -> None:
        helper = replace(row(checks.tcp_reach(1723), BOTH, PASS), probe="nat", check="alg", detail={"rewritten": [{"name": "call_id"}]})
        refused = row(checks.GRE_IN_CALL, S2C, REFUSED, refusal=RefusalKind.PROTOCOL_UNREACHABLE.value, by="192.0.2.7")
        prohibited = replace(refused, detail={**refused.detail, "refusal": RefusalKind.PROHIBITED.value})
        assert cause_of(refused, self.THERE, self.BARE, helper, facts=NATTED) is Cause.NAT
        assert cause_of(prohibited, self.THERE, self.BARE, helper, facts=NATTED) is not Cause.NAT

    def test_lcp_is_in_the_call_too(self) -> None:
        assert cause_of(row(checks.PPTP_LCP, S2C, BLOCKED), self.THERE, self.BARE, facts=NATTED) is Cause.NAT

    def test_bare_gre_that_is_lost_behind_a_nat(self) -> None:
        assert cause_of(row(checks.GRE_BARE, S2C, BLOCKED), self.THERE, facts=NATTED) is Cause.IP_PROTOCOL


class TestUnsolicited:
    """What the server sends by itself does not come to a port of the client's that has sent nothing."""

    KEPT_OUT = replace(PATH, lets_in_unsolicited=False)
    HOPS = TtlTrace(UDP_1194, C2S, {1: "10.0.0.254", 2: "10.0.1.254", 3: "10.0.2.254", 4: None}, reached=4, passes=True)

    @staticmethod
    def rows(check: Check) -> tuple[Observation, Observation, Observation]:
        return row(check, S2C, BLOCKED), replace(row(check, C2S, BLOCKED), received=0), row(UDP_1194, S2C, PASS)

    def traced(self, check: Check, there: int, back: int) -> PathFacts:
        """The last routers that answered, by their TTLs from the client and from the server."""
        traces = (
            TtlTrace(check, C2S, {ttl: f"10.0.{ttl - 1}.254" if ttl <= there else None for ttl in (1, 2, 3)}),
            TtlTrace(check, S2C, {ttl: f"10.0.{4 - ttl}.1" if ttl <= back else None for ttl in (1, 2, 3)}),
        )
        return replace(self.KEPT_OUT, traces=(self.HOPS, *traces))

    @pytest.mark.parametrize("check", [checks.ESP, checks.GRE_BARE, checks.GRE_IN_CALL, UDP_500])
    def test_what_nothing_of_the_clients_has_opened_is_kept_out_with_it(self, check: Check) -> None:
        failed, *others = self.rows(check)
        assert cause_of(failed, *others, facts=self.traced(check, 1, 2)) is Cause.STATE, "it is lost nearer to the client than theirs"
        assert cause_of(failed, *others, facts=self.traced(check, 2, 2)) not in (Cause.STATE, Cause.UNKNOWN), "one router drops both"
        assert cause_of(failed, *others, facts=self.KEPT_OUT) is Cause.UNKNOWN, "no router says where"
        let_in = replace(self.traced(check, 1, 2), lets_in_unsolicited=True)
        assert cause_of(failed, *others, facts=let_in) not in (Cause.STATE, Cause.UNKNOWN)

    def test_what_never_left_the_client_has_opened_nothing(self) -> None:
        kept = row(checks.ESP, C2S, NO_ANSWER, Cause.HOST_FIREWALL, host="client")
        assert cause_of(row(checks.ESP, S2C, BLOCKED), kept, row(UDP_1194, S2C, PASS), facts=self.KEPT_OUT) is Cause.STATE

    @pytest.mark.parametrize("check", [checks.ESP, UDP_500])
    def test_what_the_clients_own_has_opened_or_may_have_is_lost_for_another_reason(self, check: Check) -> None:
        failed, lost, passing = self.rows(check)
        kept = row(check, C2S, NO_ANSWER, Cause.HOST_FIREWALL, host="server")
        for forth in (row(check, C2S, PASS), replace(lost, received=1), replace(lost, received=None), kept):
            assert cause_of(failed, forth, passing, facts=self.KEPT_OUT) not in (Cause.STATE, Cause.UNKNOWN)
        assert cause_of(failed, passing, facts=self.KEPT_OUT) not in (Cause.STATE, Cause.UNKNOWN)


class TestLastPackets:
    """Of a UDP port the last packets are lost together."""

    CUT = row(UDP_1194, S2C, Outcome.DEGRADED, Cause.UNKNOWN)

    def test_where_conversations_of_that_port_fail_it_is_not_known_why(self) -> None:
        assert cause_of(self.CUT, row(RESET, BOTH, BLOCKED, Cause.UNKNOWN)) is Cause.UNKNOWN

    def test_where_nothing_else_fails_there_it_is_loss(self) -> None:
        assert cause_of(self.CUT, row(RESET, BOTH, PASS)) is Cause.LOSS
        assert cause_of(self.CUT, row(UDP_500, S2C, BLOCKED)) is Cause.LOSS


class TestServersNat:
    """The server is behind a NAT that has 198.51.100.1; the router before it is 10.0.1.254."""

    PATH = replace(PATH, server_address="198.51.100.1", server_own_addresses={Transport.TCP: "10.0.9.9"})
    FORWARDED = TtlTrace(UDP_500, C2S, {1: "10.0.0.254", 2: "10.0.1.254", 3: "198.51.100.1", 4: None}, reached=4)
    LOST = row(checks.ESP, C2S, BLOCKED)

    def cause(self, failed: Observation, *others: Observation, traces: tuple[TtlTrace, ...] = ()) -> Cause | None:
        return cause_of(failed, *others, facts=replace(self.PATH, traces=traces))

    @pytest.mark.parametrize("check", [checks.ESP, checks.GRE_BARE, checks.GRE_IN_CALL])
    def test_what_vanishes_there_is_not_forwarded(self, check: Check) -> None:
        trace = TtlTrace(check, C2S, {1: "10.0.0.254", 2: "10.0.1.254", 3: None})
        assert self.cause(row(check, C2S, BLOCKED), traces=(trace, self.FORWARDED)) is Cause.NAT

    def test_a_silent_router_before_it_hides_no_router_behind(self) -> None:
        far = TtlTrace(UDP_500, C2S, {1: "10.0.0.254", 2: "10.0.1.254", 3: None, 4: "10.0.3.254", 5: "198.51.100.1"}, reached=6)
        lost = TtlTrace(checks.ESP, C2S, {1: "10.0.0.254", 2: "10.0.1.254", 3: None, 4: None})
        assert self.cause(self.LOST, traces=(lost, far)) is Cause.IP_PROTOCOL

    def test_what_vanishes_before_it_is_filtered(self) -> None:
        trace = TtlTrace(checks.ESP, C2S, {1: "10.0.0.254", 2: None, 3: None})
        assert self.cause(self.LOST, traces=(trace, self.FORWARDED)) is Cause.IP_PROTOCOL

    def test_what_vanishes_behind_it_is_not_its_doing(self) -> None:
        """What the NAT forwards it is a hop of, and routers behind it answer with its address."""
        far = TtlTrace(UDP_500, C2S, {1: "10.0.0.254", 2: "198.51.100.1", 3: "198.51.100.1", 4: None}, passes=True)
        trace = TtlTrace(checks.ESP, C2S, {1: "10.0.0.254", 2: "198.51.100.1", 3: None})
        assert self.cause(self.LOST, traces=(trace, far)) is Cause.IP_PROTOCOL
        late = row(UDP_1194, C2S, BLOCKED, Cause.NAT, after_server={"sent": 6, "received": 6})
        assert self.cause(late, traces=(replace(trace, check=UDP_1194), far)) is Cause.STATE
        assert self.cause(late, traces=(TtlTrace(UDP_1194, C2S, {1: "10.0.0.254", 2: None}), far)) is Cause.NAT
        conversation = row(RESET, BOTH, BLOCKED, lost_direction="c2s")
        assert self.cause(conversation, late, traces=(replace(trace, check=UDP_1194), far)) is Cause.STATE

    def test_without_a_trace_it_is_not_known_to_be_there(self) -> None:
        assert self.cause(self.LOST) is Cause.IP_PROTOCOL

    def test_the_servers_own_packets_do_not_vanish_for_want_of_a_forward(self) -> None:
        assert self.cause(row(checks.ESP, S2C, BLOCKED)) is Cause.IP_PROTOCOL

    @pytest.mark.parametrize("check", [checks.ESP, UDP_500])
    def test_what_never_came_to_the_server_is_refused_by_the_nat(self, check: Check) -> None:
        refused = replace(row(check, C2S, REFUSED, refusal=RefusalKind.PORT_UNREACHABLE.value, by="198.51.100.1"), received=0)
        assert self.cause(refused) is Cause.NAT

    def test_what_another_refuses_is_not_the_nats_doing(self) -> None:
        refused = replace(row(UDP_500, C2S, REFUSED, refusal=RefusalKind.PROHIBITED.value, by="10.0.0.254"), received=0)
        assert self.cause(refused, row(UDP_1194, C2S, PASS)) is Cause.PORT

    def test_a_conversation_fails_as_its_port_does(self) -> None:
        port = row(UDP_1194, C2S, BLOCKED, Cause.STATE, after_server={"sent": 6, "received": 6})
        assert self.cause(row(RESET, BOTH, BLOCKED, lost_direction="c2s"), port) is Cause.STATE

    def test_a_call_fails_as_other_gre_does_that_only_the_server_opens(self) -> None:
        bare = row(checks.GRE_BARE, C2S, BLOCKED, Cause.STATE, after_server={"sent": 6, "received": 6})
        assert self.cause(row(checks.GRE_IN_CALL, C2S, BLOCKED), bare) is Cause.STATE


def test_a_port_that_was_not_asked_about_is_unknown() -> None:
    assert PATH.port_state(Transport.UDP, 53) is PortState.UNKNOWN
    assert PATH.port_state(Transport.GRE, None) is PortState.OURS
