"""Every outcome from both ends' records; what 'blocked' needs; and that strangers' rows change nothing."""

from dataclasses import replace

import pytest
from evidence_support import BOTH, C2S, CLEAR, CLIENT, RECEIVED, S2C, SENT, SERVER, ends, facts_with, judged, keys, seen, trip

from vpnprobe.evidence import checks
from vpnprobe.evidence.checks import CHECKS as TABLE
from vpnprobe.evidence.checks import COUNTED, Kind, kind_of
from vpnprobe.evidence.judge import JUDGED_BY, rows_of
from vpnprobe.evidence.judging.base import Judge
from vpnprobe.evidence.judging.facts import skipped
from vpnprobe.evidence.judging.goals import CLOSED, goals
from vpnprobe.evidence.judging.goals import refusals as refusing
from vpnprobe.evidence.judging.packets import more_to_tell_loss
from vpnprobe.evidence.naming import identifier
from vpnprobe.evidence.packet_records import Check, PacketRecord
from vpnprobe.evidence.records import EndRecord, PathFacts, PortState, Refusal, RefusalKind, Skip
from vpnprobe.evidence.statistics import ERROR_BOUND, Background
from vpnprobe.observations.schema import Cause, Direction, Outcome, Transport
from vpnprobe.wire.nonce import ANSWER

UDP = checks.udp_reach(500)
TCP = checks.tcp_reach(443)
RESET = checks.openvpn_reset(Transport.UDP, 1194)
GRE_C2S = "gre-passthrough-bare-gre-c2s"
RESET_ID = "openvpn-reset-udp-1194-both"
DAEMON = {(Transport.TCP, 1723): PortState.DAEMON}


class TestPackets:
    def test_pass(self) -> None:
        found = judged(trip(checks.GRE_BARE, C2S, keys(6), keys(6)))[GRE_C2S]
        assert (found.outcome, found.sent, found.received, found.error_bound) == (Outcome.PASS, 6, 6, None)
        assert found.detail == {"form": "bare", "largest_passed": 34, "proof": "peer"}
        assert found.family == 4

    def test_blocked_by_the_peers_word(self) -> None:
        found = judged(trip(checks.GRE_BARE, C2S, keys(6), []))[GRE_C2S]
        assert found.outcome is Outcome.BLOCKED
        assert found.error_bound is not None
        assert found.error_bound <= ERROR_BOUND

    def test_one_lost_packet_of_six_is_worth_no_word(self) -> None:
        assert judged(trip(checks.GRE_BARE, C2S, keys(6), keys(5)))[GRE_C2S].outcome is Outcome.PASS

    def test_two_lost_packets_of_six_are(self) -> None:
        found = judged(trip(checks.GRE_BARE, C2S, keys(6), keys(4)))[GRE_C2S]
        assert (found.outcome, found.cause) == (Outcome.DEGRADED, Cause.LOSS)

    def test_two_lost_packets_of_a_hundred_are_not(self) -> None:
        assert judged(trip(checks.GRE_BARE, C2S, keys(100), keys(98)))[GRE_C2S].outcome is Outcome.PASS

    @pytest.mark.parametrize(
        ("check", "came", "each", "more"),
        [
            (checks.ESP, 12, 3, 28),
            (checks.ESP, 11, 3, 28),
            (checks.ESP, 9, 3, 0),  # Its own loss is told already.
            (checks.ESP, 12, 50, 0),
            (checks.ESP_IN_UDP, 12, 3, 28),
            (UDP, 12, 3, 0),  # No protocol rests on it.
        ],
    )
    def test_where_the_path_loses_some_it_takes_enough_packets_to_tell(self, check: Check, came: int, each: int, more: int) -> None:
        """`each`: the path loses one in so many."""
        path = [key for number, key in enumerate(keys(100)) if number % each]
        rows = [*trip(check, C2S, keys(12), keys(came)), *trip(checks.udp_reach(53), C2S, keys(100), path)]
        judge = Judge(*ends(rows), facts_with(background={}))
        assert more_to_tell_loss(judge, check, C2S, judge.counts(check).total(C2S)) == more

    def test_silence_on_a_lossy_path_is_not_yet_blocked(self) -> None:
        facts = facts_with(background={C2S: Background(20, 80)})
        found = judged(trip(checks.GRE_BARE, C2S, keys(6), []), facts)[GRE_C2S]
        assert found.outcome is Outcome.NO_ANSWER
        assert found.error_bound is not None
        assert found.error_bound > ERROR_BOUND

    def test_enough_of_it_is(self) -> None:
        facts = facts_with(background={C2S: Background(20, 80)})
        trials = Background(20, 80).trials_needed()
        assert judged(trip(checks.GRE_BARE, C2S, keys(trials), []), facts)[GRE_C2S].outcome is Outcome.BLOCKED
        assert judged(trip(checks.GRE_BARE, C2S, keys(trials - 1), []), facts)[GRE_C2S].outcome is Outcome.NO_ANSWER

    def test_three_packets_prove_nothing_on_the_clearest_path(self) -> None:
        facts = facts_with(background={C2S: Background(0, 10**6)})
        assert judged(trip(checks.GRE_BARE, C2S, keys(3), []), facts)[GRE_C2S].outcome is Outcome.NO_ANSWER

    def test_without_the_peers_word_silence_says_nothing(self) -> None:
        found = judged(trip(checks.GRE_BARE, C2S, keys(20), []), recorded=False)[GRE_C2S]
        assert (found.outcome, found.error_bound) == (Outcome.NO_ANSWER, None)
        assert (found.sent, found.received) == (20, None)
        assert "proof" not in found.detail

    def test_without_anything_that_passes_there_is_no_bound(self) -> None:
        found = judged(trip(checks.GRE_BARE, C2S, keys(20), []), facts_with(background={}))[GRE_C2S]
        assert (found.outcome, found.error_bound) == (Outcome.NO_ANSWER, None)

    @pytest.mark.parametrize(
        ("count", "heard", "outcome"), [(4, 0, "blocked"), (3, 0, "no-answer"), (7, 1, "no-answer"), (8, 1, "blocked")]
    )
    def test_two_captures_with_nothing_else_in_them(self, count: int, heard: int, outcome: str) -> None:
        """Where the other end's capture shows that it was at work, more is asked of silence than where it is empty."""
        rows = [*trip(checks.GRE_IN_CALL, C2S, keys(count), []), *seen(SERVER, SENT, checks.GRE_IN_CALL, keys(heard, start=50))]
        found = judged(rows, facts_with(background={}, joined=False))["gre-passthrough-in-call-gre-c2s"]
        assert found.outcome == outcome

    def test_refused(self) -> None:
        refusal = Refusal(checks.ESP, C2S, RefusalKind.PROTOCOL_UNREACHABLE, "10.0.0.9")
        found = judged(trip(checks.ESP, C2S, keys(6), []), refusals=[refusal])["esp-passthrough-esp-c2s"]
        assert found.outcome is Outcome.REFUSED
        assert (found.detail["refusal"], found.detail["by"]) == ("protocol-unreachable", "10.0.0.9")

    def test_a_refusal_that_did_not_hold_is_no_refusal(self) -> None:
        refusal = Refusal(checks.ESP, C2S, RefusalKind.PROTOCOL_UNREACHABLE, "10.0.0.9")
        found = judged(trip(checks.ESP, C2S, keys(6), keys(6)), refusals=[refusal])["esp-passthrough-esp-c2s"]
        assert found.outcome is Outcome.PASS

    @pytest.mark.parametrize(("watched", "outcome"), [(True, Outcome.BLOCKED), (False, Outcome.REFUSED)])
    def test_what_a_closed_socket_of_the_client_refuses_is_no_refusal(self, watched: bool, outcome: Outcome) -> None:
        """Sockets of trials are closed in time; what a firewall of the client's own refuses shows on its wire."""
        client, server = ends(trip(UDP, S2C, keys(6), []))
        server = replace(server, refusals=(Refusal(UDP, S2C, RefusalKind.PORT_UNREACHABLE, "10.0.0.1"),))
        facts = replace(facts_with(), client_address="10.0.0.1")
        judge = Judge(replace(client, sees_closed_ports=watched), server, facts)
        (found,) = rows_of(judge, UDP)
        assert found.outcome is outcome

    def test_a_refusal_of_the_other_direction_is_not_this_ones(self) -> None:
        refusal = Refusal(checks.ESP, S2C, RefusalKind.PROTOCOL_UNREACHABLE, "10.0.0.9")
        assert judged(trip(checks.ESP, C2S, keys(6), []), refusals=[refusal])["esp-passthrough-esp-c2s"].outcome is Outcome.BLOCKED

    def test_an_answer_tells_the_round_trip(self) -> None:
        numbers = range(1, 4)
        asked = [f"{7:08x}{number:016x}" for number in numbers]
        answers = [f"{7:08x}{number | ANSWER:016x}" for number in numbers]
        rows = [
            *trip(UDP, C2S, asked, asked),
            *seen(SERVER, SENT, UDP, answers, at=0.002),
            *seen(CLIENT, RECEIVED, UDP, answers, at=0.005),
        ]
        assert judged(rows)["udp-reach-udp-500-s2c"].rtt_ms == pytest.approx(5.0)

    def test_another_keys_answer_is_itself(self) -> None:
        """ESP is known by SPI and number, which say nothing of an answer."""
        rows = [
            *trip(checks.ESP, C2S, ["0000100000000001"], ["0000100000000001"]),
            *trip(checks.ESP, S2C, ["0000200000000001"] * 2, ["0000200000000001"]),
        ]
        assert judged(rows)["esp-passthrough-esp-s2c"].rtt_ms is None

    def test_a_check_of_which_nothing_left_is_no_observation(self) -> None:
        assert judged(seen(SERVER, RECEIVED, checks.GRE_BARE, ["stranger"])) == {}

    @pytest.mark.parametrize("sees", [False, True])
    def test_a_port_that_nobody_could_open_is_witnessed_on_the_wire_alone(self, sees: bool) -> None:
        facts = facts_with(ports={(Transport.UDP, 500): PortState.CLOSED})
        found = judged(trip(UDP, C2S, keys(6), []), facts, sees=sees)["udp-reach-udp-500-c2s"]
        assert found.outcome is (Outcome.BLOCKED if sees else Outcome.NO_ANSWER)
        assert found.detail == {"port_state": "closed", **({"proof": "peer"} if sees else {})}
        assert found.received == (0 if sees else None)


class TestConnections:
    def test_pass(self) -> None:
        rows = [
            *trip(TCP, C2S, ["port-1"], ["port-1"], message="SYN"),
            *trip(TCP, S2C, ["port-1"], ["port-1"], message="SYN-ACK", at=0.004),
        ]
        found = judged(rows)["tcp-reach-tcp-443-both"]
        assert (found.outcome, found.sent, found.received) == (Outcome.PASS, 1, 1)
        assert found.rtt_ms == pytest.approx(5.0)
        assert found.detail == {"arrived_at_server": 1, "proof": "answered"}

    def test_blocked_on_the_way_there(self) -> None:
        found = judged(trip(TCP, C2S, keys(4), [], message="SYN"), sees=True)["tcp-reach-tcp-443-both"]
        assert (found.outcome, found.detail["lost_direction"], found.detail["arrived_at_server"]) == (Outcome.BLOCKED, "c2s", 0)

    def test_blocked_on_the_way_back(self) -> None:
        rows = [*trip(TCP, C2S, keys(4), keys(4), message="SYN"), *trip(TCP, S2C, keys(4), [], message="SYN-ACK")]
        found = judged(rows)["tcp-reach-tcp-443-both"]
        assert (found.outcome, found.detail["lost_direction"], found.detail["arrived_at_server"]) == (Outcome.BLOCKED, "s2c", 4)

    def test_a_port_to_which_another_check_came_through_is_not_blocked(self) -> None:
        """As where a policer takes what is more than so many packets a second."""
        lost = trip(TCP, C2S, keys(4), [], message="SYN")
        found = judged([*lost, *self.reset(443)], sees=True)["tcp-reach-tcp-443-both"]
        assert (found.outcome, found.cause, found.sent, found.received) == (Outcome.DEGRADED, Cause.UNKNOWN, 4, 0)
        assert judged([*lost, *self.reset(80)], sees=True)["tcp-reach-tcp-443-both"].outcome is Outcome.BLOCKED

    def reset(self, port: int) -> list[PacketRecord]:
        check = Check("openvpn", "reset", Transport.TCP, port)
        there = trip(check, C2S, ["one"], ["one"], message="P_CONTROL_HARD_RESET_CLIENT_V2")
        return [*there, *trip(check, S2C, ["one"], ["one"], message="P_CONTROL_HARD_RESET_SERVER_V2")]

    def test_loss_either_way_counts_into_the_bound(self) -> None:
        rows = trip(TCP, C2S, keys(6), [], message="SYN")
        clear = judged(rows)["tcp-reach-tcp-443-both"].error_bound
        lossy_back = judged(rows, facts_with(background={C2S: CLEAR[C2S], S2C: Background(30, 70)}))["tcp-reach-tcp-443-both"].error_bound
        assert clear is not None
        assert lossy_back is not None
        assert clear < lossy_back

    def test_refused_by_the_server(self) -> None:
        refusal = Refusal(TCP, C2S, RefusalKind.RST, None, "port-1")
        rows = trip(TCP, C2S, ["port-1"], ["port-1"], message="SYN")
        found = judged(rows, refusals=[refusal], sees=True)["tcp-reach-tcp-443-both"]
        assert found.outcome is Outcome.REFUSED
        assert "by_router" not in found.detail

    def test_refused_before_the_server(self) -> None:
        refusal = Refusal(TCP, C2S, RefusalKind.RST, None, "port-1")
        found = judged(trip(TCP, C2S, ["port-1"], [], message="SYN"), refusals=[refusal], sees=True)["tcp-reach-tcp-443-both"]
        assert (found.outcome, found.detail["by_router"]) == (Outcome.REFUSED, True)

    def test_without_an_agent_nobody_says_what_arrived(self) -> None:
        found = judged(trip(TCP, C2S, keys(8), [], message="SYN"), recorded=False)["tcp-reach-tcp-443-both"]
        assert found.outcome is Outcome.NO_ANSWER
        assert (found.sent, found.received) == (8, None)
        assert not {"arrived_at_server", "proof"} & found.detail.keys()

    def test_a_capture_that_holds_only_the_answer(self) -> None:
        rows = seen(CLIENT, RECEIVED, TCP, ["port-1"], message="SYN-ACK")
        assert judged(rows, facts_with(joined=False))["tcp-reach-tcp-443-both"].outcome is Outcome.PASS

    def test_strangers_connections_are_no_observation(self) -> None:
        assert judged(seen(SERVER, RECEIVED, TCP, ["port-9"], message="SYN")) == {}


def conversed(check: Check, *messages: tuple[Direction, str, int, int]) -> list[PacketRecord]:
    """Messages of conversations: direction, name, how many were sent and how many came, each 10 ms after the one before."""
    rows: list[PacketRecord] = []
    for number, (way, name, sent, came) in enumerate(messages):
        rows += trip(check, way, keys(sent), keys(came), message=name, at=0.01 * number)
    return rows


class TestConversations:
    def test_pass(self) -> None:
        rows = conversed(RESET, (C2S, "P_CONTROL_HARD_RESET_CLIENT_V2", 2, 2), (S2C, "P_CONTROL_HARD_RESET_SERVER_V2", 2, 1))
        found = judged(rows)[RESET_ID]
        assert (found.outcome, found.sent, found.received) == (Outcome.PASS, 2, 1)
        assert found.rtt_ms == pytest.approx(11.0)
        assert found.detail["messages"][0] == {"message": "P_CONTROL_HARD_RESET_CLIENT_V2", "direction": "c2s", "sent": 2, "received": 2}

    def test_the_first_message_is_lost(self) -> None:
        found = judged(conversed(RESET, (C2S, "P_CONTROL_HARD_RESET_CLIENT_V2", 6, 0)))[RESET_ID]
        assert (found.outcome, found.detail["lost_direction"]) == (Outcome.BLOCKED, "c2s")
        assert found.detail["lost_message"] == "P_CONTROL_HARD_RESET_CLIENT_V2"

    def test_the_answer_is_lost(self) -> None:
        rows = conversed(RESET, (C2S, "P_CONTROL_HARD_RESET_CLIENT_V2", 6, 6), (S2C, "P_CONTROL_HARD_RESET_SERVER_V2", 6, 0))
        found = judged(rows)[RESET_ID]
        assert (found.outcome, found.detail["lost_direction"]) == (Outcome.BLOCKED, "s2c")

    def test_the_peer_got_it_and_does_not_answer(self) -> None:
        found = judged(conversed(RESET, (C2S, "P_CONTROL_HARD_RESET_CLIENT_V2", 6, 6)))[RESET_ID]
        assert (found.outcome, found.error_bound, found.detail["arrived_at_server"]) == (Outcome.NO_ANSWER, None, 6)

    def test_too_few_to_say(self) -> None:
        found = judged(conversed(RESET, (C2S, "P_CONTROL_HARD_RESET_CLIENT_V2", 2, 0)))[RESET_ID]
        assert found.outcome is Outcome.NO_ANSWER
        assert found.error_bound is not None

    def test_the_first_bound_that_is_known_is_told(self) -> None:
        rows = conversed(RESET, (C2S, "P_CONTROL_HARD_RESET_CLIENT_V2", 3, 0), (S2C, "P_CONTROL_HARD_RESET_SERVER_V2", 1, 0))
        assert judged(rows)[RESET_ID].error_bound == CLEAR[C2S].chance_of_losing_all(3)

    def test_refused_by_icmp(self) -> None:
        refusal = Refusal(RESET, C2S, RefusalKind.PORT_UNREACHABLE, "10.0.0.9")
        found = judged(conversed(RESET, (C2S, "P_CONTROL_HARD_RESET_CLIENT_V2", 2, 0)), refusals=[refusal])[RESET_ID]
        assert (found.outcome, found.detail["refusal"]) == (Outcome.REFUSED, "port-unreachable")

    @pytest.mark.parametrize(
        ("check", "refusing"),
        [
            (checks.PPTP_CONTROL, "SCCRP-refused"),
            (checks.PPTP_CONTROL, "OCRP-refused"),
            (checks.L2TP_CONTROL, "StopCCN"),
            (checks.L2TP_CONTROL, "CDN"),
        ],
    )
    def test_refused_in_the_protocols_own_words(self, check: Check, refusing: str) -> None:
        rows = conversed(check, (C2S, "SCCRQ", 1, 1), (S2C, refusing, 1, 1))
        found = judged(rows)[identifier(check, BOTH)]
        assert (found.outcome, found.detail["by"], found.detail["message"]) == (Outcome.REFUSED, "peer", refusing)
        assert "consistent_with" not in found.detail

    def test_a_connection_that_is_closed_at_once_may_be_a_wrapped_openvpn(self) -> None:
        check = checks.openvpn_reset(Transport.TCP, 443)
        rows = conversed(check, (C2S, "P_CONTROL_HARD_RESET_CLIENT_V2", 1, 1), (S2C, CLOSED, 1, 1))
        found = judged(rows)["openvpn-reset-tcp-443-both"]
        assert found.outcome is Outcome.REFUSED
        assert "tls-crypt" in found.detail["consistent_with"]

    def test_one_that_somebody_before_the_server_closed_is_none(self) -> None:
        check = checks.openvpn_reset(Transport.TCP, 443)
        rows = [
            *conversed(check, (C2S, "P_CONTROL_HARD_RESET_CLIENT_V2", 6, 0)),
            *seen(CLIENT, RECEIVED, check, keys(1), message=CLOSED, at=0.02),
        ]
        assert judged(rows)["openvpn-reset-tcp-443-both"].outcome is Outcome.BLOCKED

    def test_a_refusal_that_never_came_is_none(self) -> None:
        rows = conversed(checks.L2TP_CONTROL, (C2S, "SCCRQ", 1, 1), (S2C, "StopCCN", 1, 0))
        assert judged(rows)["l2tp-control-udp-1701-both"].outcome is Outcome.NO_ANSWER

    def test_the_numbers_of_messages_are_told(self) -> None:
        rows = [
            *conversed(checks.PPTP_CONTROL, (C2S, "OCRQ", 1, 0)),
            *seen(SERVER, RECEIVED, checks.PPTP_CONTROL, keys(1), message="OCRQ", detail={"call_id": 1234}),
        ]
        assert judged(rows)["pptp-control-tcp-1723-both"].detail["numbers"] == {"OCRQ at server": {"call_id": 1234}}

    def test_a_conversation_of_which_only_the_answer_is_there(self) -> None:
        rows = seen(CLIENT, RECEIVED, checks.PPTP_CONTROL, keys(1), message="OCRP")
        found = judged(rows, facts_with(joined=False))["pptp-control-tcp-1723-both"]
        assert (found.outcome, found.rtt_ms) == (Outcome.PASS, None)

    def test_strangers_conversations_are_no_observation(self) -> None:
        assert judged(seen(SERVER, RECEIVED, RESET, keys(3), message="P_CONTROL_HARD_RESET_CLIENT_V2")) == {}

    def test_a_real_server_speaks_for_itself(self) -> None:
        """It keeps no record for us: what the client got from it counts."""
        rows = [
            *seen(CLIENT, SENT, checks.PPTP_CONTROL, keys(1), message="OCRQ"),
            *seen(CLIENT, RECEIVED, checks.PPTP_CONTROL, keys(1), message="OCRP", at=0.01),
            *seen(CLIENT, RECEIVED, checks.PPTP_LCP, keys(2, start=70), message="Configure-Request", at=0.02),
        ]
        found = judged(rows, facts_with(ports=DAEMON))
        assert found["pptp-control-tcp-1723-both"].outcome is Outcome.PASS
        assert found["pptp-control-tcp-1723-both"].detail["port_state"] == "daemon"
        assert found["pptp-lcp-in-call-gre-s2c"].outcome is Outcome.PASS

    @pytest.mark.parametrize(("sees", "outcome"), [(True, Outcome.BLOCKED), (False, Outcome.NO_ANSWER)])
    def test_what_a_real_server_got_only_the_wire_can_say(self, sees: bool, outcome: Outcome) -> None:
        rows = trip(checks.GRE_IN_CALL, C2S, keys(6), [])
        assert judged(rows, facts_with(ports=DAEMON), sees=sees)["gre-passthrough-in-call-gre-c2s"].outcome is outcome


def test_every_kind_that_is_counted_has_its_judge() -> None:
    assert JUDGED_BY.keys() == COUNTED


def test_conversations_have_goals_and_nothing_else_has() -> None:
    built = [Check(spec.probe, spec.name, spec.transports[0], 1) for spec in TABLE if spec.transports and spec.probe != "wireguard"]
    for check in built:
        assert bool(goals(check)) == (kind_of(check) is Kind.CONVERSATION)
        assert not goals(check) & refusing(check)


def test_a_check_that_nobody_judges_gives_nothing() -> None:
    assert judged(trip(checks.ICMP_ECHO, C2S, keys(3), keys(3))) == {}


def test_skips_are_told_unless_it_was_measured_after_all() -> None:
    facts = PathFacts(
        background=CLEAR, skips=(Skip(checks.GRE_BARE, C2S, "no privilege"), Skip(checks.GRE_IN_CALL, S2C, "no PPTP call came up"))
    )
    found = judged(trip(checks.GRE_BARE, C2S, keys(6), keys(6)), facts)
    assert found[GRE_C2S].outcome is Outcome.PASS
    assert found["gre-passthrough-in-call-gre-s2c"] == skipped(facts.skips[1])
    assert rows_of(Judge(EndRecord(), EndRecord(), facts), checks.GRE_BARE) == []
    assert found["gre-passthrough-in-call-gre-s2c"].detail == {"reason": "no PPTP call came up", "form": "in-call"}


def test_a_skip_without_a_form_has_none() -> None:
    assert skipped(Skip(checks.ESP, C2S, "no privilege")).detail == {"reason": "no privilege"}


def test_ids_have_every_part_of_the_check() -> None:
    assert identifier(checks.GRE_IN_CALL, C2S) == "gre-passthrough-in-call-gre-c2s"
    assert identifier(RESET, BOTH) == RESET_ID


def test_the_background_is_what_passes_and_the_control_channels_own() -> None:
    client, server = ends([*trip(checks.ESP, C2S, keys(6), keys(5)), *trip(TCP, C2S, keys(9), keys(1), message="SYN")])
    judgement = Judge(client, server, facts_with(background={C2S: Background(1, 10)}))
    assert judgement.loss == {C2S: Background(2, 15), S2C: Background()}


# ------------------------------------------------------------------------------------------------ for any rows whatever
