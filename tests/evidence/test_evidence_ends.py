"""What an end could have seen: without raw sockets, behind its own firewall, from another address, with somebody answering in its name."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from evidence_support import C2S, CLEAR, CLIENT, RECEIVED, S2C, SENT, SERVER, ends, facts_with, judged, keys, seen, trip

from vpnprobe.evidence import checks
from vpnprobe.evidence.causes import REFUSED_BY_HOST
from vpnprobe.evidence.judge import judge
from vpnprobe.evidence.judging.connection import ANOTHER, KEPT, UNANSWERED
from vpnprobe.evidence.packet_records import Check, PacketRecord
from vpnprobe.evidence.records import EndRecord, PathFacts, PortState, Refusal, RefusalKind
from vpnprobe.observations.schema import Cause, Direction, Observation, Outcome, Transport

UDP = checks.udp_reach(500)
TCP = checks.tcp_reach(443)
OURS = {(Transport.TCP, 443): PortState.OURS, (Transport.UDP, 500): PortState.OURS}
PATH = PathFacts(background=CLEAR, ports=OURS, client_address="10.0.0.1", client_seen_as="10.0.0.1", server_address="10.0.9.1")
RESET = checks.openvpn_reset(Transport.UDP, 500)
RESET_OF_CLIENT, RESET_OF_SERVER = "P_CONTROL_HARD_RESET_CLIENT_V2", "P_CONTROL_HARD_RESET_SERVER_V2"


Said = Callable[[EndRecord], EndRecord]


def as_it_is(end: EndRecord) -> EndRecord:
    return end


def without_raw(end: EndRecord) -> EndRecord:
    return replace(end, sees_raw=False)


def dropped_on_input(*kinds: Check) -> Said:
    return lambda end: replace(end, dropped_on_input=frozenset(kinds))


def dropped_on_output(*kinds: Check) -> Said:
    return lambda end: replace(end, dropped_on_output=frozenset(kinds))


def at_ends(
    rows: list[PacketRecord], facts: PathFacts = PATH, *, client: Said = as_it_is, server: Said = as_it_is
) -> dict[str, Observation]:
    """Judged with something said of the ends."""
    one, other = ends(rows)
    return {o.id: o for o in judge(client(one), server(other), facts)}


class TestWithoutRawSockets:
    def test_a_server_that_sees_no_gre_says_nothing_by_its_silence(self) -> None:
        found = at_ends(trip(checks.GRE_BARE, C2S, keys(20), []), server=without_raw)
        assert found["gre-passthrough-bare-gre-c2s"].outcome is Outcome.NO_ANSWER
        assert found["gre-passthrough-bare-gre-c2s"].error_bound is None

    def test_its_silence_about_udp_still_does(self) -> None:
        found = at_ends(trip(UDP, C2S, keys(20), []), server=without_raw)
        assert found["udp-reach-udp-500-c2s"].outcome is Outcome.BLOCKED

    def test_what_a_client_may_not_receive_is_no_observation(self) -> None:
        """Its kernel refuses what the server sends: that says nothing of the path."""
        assert "esp-passthrough-esp-s2c" not in at_ends(trip(checks.ESP, S2C, keys(6), []), client=without_raw)

    def test_what_came_all_the_same_is(self) -> None:
        found = at_ends(trip(checks.ESP, S2C, keys(6), keys(6)), client=without_raw)
        assert found["esp-passthrough-esp-s2c"].outcome is Outcome.PASS


KEPT_BY_SERVER = "it reaches the server, whose own firewall (or port forwarding) keeps it from the program there"
KEPT_BY_CLIENT = "it reaches the client, whose own firewall keeps it from the program there"


class TestOwnFirewalls:
    @pytest.mark.parametrize(
        ("client", "server", "reason"),
        [
            (as_it_is, dropped_on_input(checks.ESP), KEPT_BY_SERVER),
            (dropped_on_output(checks.ESP), as_it_is, "the client's own firewall drops it before it leaves"),
        ],
    )
    def test_a_host_that_keeps_packets_from_its_agent_blocks_no_path(self, client: Said, server: Said, reason: str) -> None:
        found = at_ends(trip(checks.ESP, C2S, keys(20), []), client=client, server=server)["esp-passthrough-esp-c2s"]
        assert (found.outcome, found.cause, found.detail["reason"]) == (Outcome.NO_ANSWER, Cause.HOST_FIREWALL, reason)

    def test_a_conversation_is_kept_with_its_port(self) -> None:
        rows = trip(RESET, C2S, keys(20), [], message="P_CONTROL_HARD_RESET_CLIENT_V2")
        found = at_ends(rows, server=dropped_on_input(UDP))["openvpn-reset-udp-500-both"]
        assert (found.outcome, found.cause) == (Outcome.NO_ANSWER, Cause.HOST_FIREWALL)

    def test_answers_that_the_clients_own_firewall_keeps_are_not_the_servers_silence(self) -> None:
        rows = trip(RESET, C2S, keys(8), keys(8), message="P_CONTROL_HARD_RESET_CLIENT_V2")
        rows += trip(RESET, S2C, keys(8), [], message="P_CONTROL_HARD_RESET_SERVER_V2")
        found = at_ends(rows, client=dropped_on_input(UDP))["openvpn-reset-udp-500-both"]
        assert (found.outcome, found.cause) == (Outcome.NO_ANSWER, Cause.HOST_FIREWALL)
        assert (found.detail["host"], found.detail["lost_direction"], found.detail["reason"]) == ("client", "s2c", KEPT_BY_CLIENT)

    @pytest.mark.parametrize("kind", [RefusalKind.PORT_UNREACHABLE, RefusalKind.PROHIBITED])
    def test_a_conversation_that_is_kept_and_refused_is_kept(self, kind: RefusalKind) -> None:
        client, server = ends(trip(RESET, C2S, keys(8), [], message=RESET_OF_CLIENT), refusals=[Refusal(UDP, C2S, kind, "10.0.9.1")])
        found = {o.id: o for o in judge(client, dropped_on_input(UDP)(server), PATH)}["openvpn-reset-udp-500-both"]
        assert (found.outcome, found.cause, found.detail["reason"]) == (Outcome.NO_ANSWER, Cause.HOST_FIREWALL, KEPT_BY_SERVER)

    def test_what_the_path_loses_on_the_way_back_is_no_firewalls_of_the_server(self) -> None:
        """Its plain payloads are kept there, and its resets are not."""
        rows = trip(RESET, C2S, keys(12), keys(12), message=RESET_OF_CLIENT)
        rows += trip(RESET, S2C, keys(12), [], message=RESET_OF_SERVER, at=0.001)
        found = at_ends(rows, server=dropped_on_input(UDP))["openvpn-reset-udp-500-both"]
        assert (found.outcome, found.cause, found.detail["lost_direction"]) == (Outcome.BLOCKED, Cause.UNKNOWN, "s2c")

    def test_what_came_all_the_same_was_kept_by_nobody(self) -> None:
        found = at_ends(trip(RESET, C2S, keys(4), keys(4), message=RESET_OF_CLIENT), server=dropped_on_input(UDP))
        assert (found["openvpn-reset-udp-500-both"].outcome, found["openvpn-reset-udp-500-both"].cause) == (Outcome.NO_ANSWER, None)

    def test_without_a_raw_socket_there_is_no_firewall_to_see(self) -> None:
        def keeping(end: EndRecord) -> EndRecord:
            return replace(end, dropped_on_input=frozenset({checks.ESP}), sees_raw=False)

        found = at_ends(trip(checks.ESP, C2S, keys(20), []), server=keeping)["esp-passthrough-esp-c2s"]
        assert (found.outcome, found.cause) == (Outcome.NO_ANSWER, None)

    def test_lcp_is_kept_with_its_call(self) -> None:
        rows = trip(checks.PPTP_LCP, C2S, keys(20), [], message="Configure-Request")
        found = at_ends(rows, server=dropped_on_input(checks.GRE_IN_CALL))["pptp-lcp-in-call-gre-c2s"]
        assert found.cause is Cause.HOST_FIREWALL

    def test_what_passes_is_kept_by_nobody(self) -> None:
        found = at_ends(trip(checks.ESP, C2S, keys(6), keys(6)), server=dropped_on_input(checks.ESP))
        assert found["esp-passthrough-esp-c2s"].outcome is Outcome.PASS

    @pytest.mark.parametrize("kind", [RefusalKind.PROHIBITED, RefusalKind.PORT_UNREACHABLE, RefusalKind.UNREACHABLE])
    def test_a_refusal_in_the_servers_name_is_its_firewalls_or_its_routers(self, kind: RefusalKind) -> None:
        """Its wire is watched, and showed nothing: a router that forwards ports to it answers from the same address."""
        refusal = Refusal(UDP, C2S, kind, "10.0.9.1")
        found = judged(trip(UDP, C2S, keys(6), []), PATH, refusals=[refusal], sees=True)["udp-reach-udp-500-c2s"]
        assert (found.outcome, found.cause) == (Outcome.REFUSED, Cause.HOST_FIREWALL)
        assert found.detail["reason"] == REFUSED_BY_HOST["server"]
        assert "or by the router" in REFUSED_BY_HOST["server"]
        conversed = judged(trip(RESET, C2S, keys(6), [], message=RESET_OF_CLIENT), PATH, refusals=[refusal])["openvpn-reset-udp-500-both"]
        assert (conversed.outcome, conversed.cause) == (Outcome.REFUSED, Cause.HOST_FIREWALL)

    @pytest.mark.parametrize("kind", [RefusalKind.PROHIBITED, RefusalKind.PORT_UNREACHABLE])
    def test_what_the_client_refuses_at_its_own_address_is_its_firewalls(self, kind: RefusalKind) -> None:
        rows = [*trip(UDP, S2C, keys(6), []), *trip(RESET, C2S, keys(8), keys(8), message=RESET_OF_CLIENT)]
        rows += trip(RESET, S2C, keys(8), [], message=RESET_OF_SERVER, at=0.001)
        found = judged(rows, PATH, refusals=[Refusal(UDP, S2C, kind, "10.0.0.1")])
        for row in (found["udp-reach-udp-500-s2c"], found["openvpn-reset-udp-500-both"]):
            assert (row.outcome, row.cause, row.detail["host"]) == (Outcome.REFUSED, Cause.HOST_FIREWALL, "client")
            assert row.detail["reason"] == "the client's own firewall refuses it"

    def test_behind_a_nat_that_address_may_be_the_nats(self) -> None:
        facts = replace(PATH, client_seen_as="192.0.2.7")
        refusal = Refusal(UDP, S2C, RefusalKind.PORT_UNREACHABLE, "192.0.2.7")
        found = judged(trip(UDP, S2C, keys(6), []), facts, refusals=[refusal])["udp-reach-udp-500-s2c"]
        assert (found.outcome, found.cause) == (Outcome.REFUSED, Cause.IP_PROTOCOL)

    def test_what_an_end_refuses_to_send_is_its_own_firewalls(self) -> None:
        refusals = [Refusal(UDP, C2S, RefusalKind.PROHIBITED, "10.0.0.1"), Refusal(UDP, S2C, RefusalKind.PROHIBITED, "10.0.9.1")]
        found = judged([*trip(UDP, C2S, keys(6), []), *trip(UDP, S2C, keys(6), [])], PATH, refusals=refusals)
        told = [(found[f"udp-reach-udp-500-{way}"].cause, found[f"udp-reach-udp-500-{way}"].detail["host"]) for way in (C2S, S2C)]
        assert told == [(Cause.HOST_FIREWALL, "client"), (Cause.HOST_FIREWALL, "server")]

    def test_another_hosts_prohibition_is_a_filter(self) -> None:
        refusal = Refusal(UDP, C2S, RefusalKind.PROHIBITED, "10.0.5.1")
        found = judged(trip(UDP, C2S, keys(6), []), PATH, refusals=[refusal])["udp-reach-udp-500-c2s"]
        assert (found.outcome, found.cause) == (Outcome.REFUSED, Cause.IP_PROTOCOL)


def from_elsewhere(check: Check, names: list[str]) -> list[PacketRecord]:
    """Payloads that came to the server from another address than the control channel did."""
    came = seen(SERVER, RECEIVED, check, names)
    return [*seen(CLIENT, SENT, check, names), *(replace(row, peer=("192.0.2.77", 4000)) for row in came)]


class TestAnotherAddress:
    """A jump host, or a carrier's pool of addresses."""

    BESIDE = from_elsewhere(checks.udp_reach(53), keys(4, start=500))

    def test_what_carries_our_tag_is_still_known(self) -> None:
        found = at_ends([*self.BESIDE, *trip(UDP, C2S, keys(8), [])])
        assert found["udp-reach-udp-500-c2s"].outcome is Outcome.BLOCKED

    @pytest.mark.parametrize("way", [C2S, S2C])
    def test_what_does_not_is_not(self, way: Direction) -> None:
        rows = trip(RESET, way, keys(8), [], message="P_CONTROL_HARD_RESET_CLIENT_V2" if way is C2S else "P_CONTROL_HARD_RESET_SERVER_V2")
        rows += seen(CLIENT, SENT, RESET, keys(8), message="P_CONTROL_HARD_RESET_CLIENT_V2")
        found = at_ends([*self.BESIDE, *rows])
        assert found["openvpn-reset-udp-500-both"].outcome is Outcome.NO_ANSWER

    def test_syns_are_not_either(self) -> None:
        found = at_ends([*self.BESIDE, *trip(TCP, C2S, keys(8), [], message="SYN")])
        assert found["tcp-reach-tcp-443-both"].outcome is Outcome.NO_ANSWER

    def test_what_the_server_sends_goes_to_the_address_that_it_knows(self) -> None:
        found = at_ends([*self.BESIDE, *trip(checks.ESP, S2C, keys(8), [])])
        assert found["esp-passthrough-esp-s2c"].outcome is Outcome.NO_ANSWER

    def test_a_strangers_packet_from_there_changes_nothing(self) -> None:
        stranger = replace(seen(SERVER, RECEIVED, UDP, ["not-ours"])[0], peer=("192.0.2.77", 4000))
        found = at_ends([stranger, *trip(TCP, C2S, keys(8), [], message="SYN")])
        assert found["tcp-reach-tcp-443-both"].outcome is Outcome.BLOCKED

    def test_in_captures_of_two_attempts_addresses_say_nothing(self) -> None:
        found = at_ends([*self.BESIDE, *trip(TCP, C2S, keys(8), [], message="SYN")], replace(PATH, joined=False))
        assert found["tcp-reach-tcp-443-both"].outcome is Outcome.BLOCKED


class TestConnections:
    def test_somebody_in_between_answers_in_the_servers_name(self) -> None:
        rows = [*seen(CLIENT, SENT, TCP, keys(2), message="SYN"), *seen(CLIENT, RECEIVED, TCP, keys(2), message="SYN-ACK")]
        found = at_ends(rows)["tcp-reach-tcp-443-both"]
        assert (found.outcome, found.detail["reason"]) == (Outcome.NO_ANSWER, ANOTHER)

    @pytest.mark.parametrize("state", [PortState.DAEMON, PortState.UNKNOWN])
    def test_another_programs_port_is_its_own_to_answer(self, state: PortState) -> None:
        rows = [*seen(CLIENT, SENT, TCP, keys(2), message="SYN"), *seen(CLIENT, RECEIVED, TCP, keys(2), message="SYN-ACK")]
        assert at_ends(rows, replace(PATH, ports={(Transport.TCP, 443): state}))["tcp-reach-tcp-443-both"].outcome is Outcome.PASS

    def test_a_host_that_got_the_syn_and_answered_nothing(self) -> None:
        found = at_ends(trip(TCP, C2S, keys(6), keys(6), message="SYN"))["tcp-reach-tcp-443-both"]
        assert (found.outcome, found.cause, found.detail["reason"]) == (Outcome.NO_ANSWER, None, UNANSWERED)

    @pytest.mark.parametrize("refused", [None, RefusalKind.RST, RefusalKind.PORT_UNREACHABLE])
    def test_where_a_program_of_ours_listens_and_the_wire_is_watched_the_hosts_firewall_did_it(self, refused: RefusalKind | None) -> None:
        by = None if refused is RefusalKind.RST else "10.0.9.1"
        refusals = [Refusal(TCP, C2S, refused, by)] if refused is not None else []
        rows = trip(TCP, C2S, keys(6), keys(6), message="SYN")
        found = judged(rows, PATH, refusals=refusals, sees=True)["tcp-reach-tcp-443-both"]
        assert (found.outcome, found.cause, found.detail["host"]) == (Outcome.NO_ANSWER, Cause.HOST_FIREWALL, "server")
        assert found.detail["reason"] == KEPT["reason"]
        closed = replace(PATH, ports={(Transport.TCP, 443): PortState.CLOSED})
        assert judged(rows, closed, refusals=refusals, sees=True)["tcp-reach-tcp-443-both"].cause is not Cause.HOST_FIREWALL

    @pytest.mark.parametrize("watched", [True, False])
    def test_answers_that_the_clients_own_firewall_keeps_are_not_lost_on_the_path(self, watched: bool) -> None:
        rows = seen(CLIENT, SENT, TCP, keys(8), message="SYN")
        if watched:
            rows = [*trip(TCP, C2S, keys(8), keys(8), message="SYN"), *trip(TCP, S2C, keys(8), [], message="SYN-ACK")]
        found = at_ends(rows, client=dropped_on_input(TCP))["tcp-reach-tcp-443-both"]
        assert (found.outcome, found.cause, found.location) == (Outcome.NO_ANSWER, Cause.HOST_FIREWALL, None)
        assert (found.detail["host"], found.detail["lost_direction"], found.detail["reason"]) == ("client", "s2c", KEPT_BY_CLIENT)

    def test_connections_that_the_client_keeps_to_itself_do_not_vanish_on_the_path(self) -> None:
        rows = seen(CLIENT, SENT, TCP, keys(8), message="SYN")
        found = at_ends(rows, client=dropped_on_output(TCP))["tcp-reach-tcp-443-both"]
        assert (found.outcome, found.cause, found.location) == (Outcome.NO_ANSWER, Cause.HOST_FIREWALL, None)
        assert (found.detail["host"], found.detail["lost_direction"]) == ("client", "c2s")


class TestCounts:
    """Absence is never written as 0: a count is a number where somebody could have counted."""

    NOBODY = EndRecord(recorded=False)

    def rows(self, client: EndRecord, server: EndRecord, facts: PathFacts = PATH) -> dict[str, Observation]:
        return {o.id: o for o in judge(client, server, facts)}

    def test_one_end_alone_knows_what_left_it(self) -> None:
        client, _ = ends([*trip(checks.ESP, C2S, keys(6), []), *seen(CLIENT, SENT, TCP, keys(3), message="SYN")])
        found = self.rows(client, self.NOBODY)
        assert (found["esp-passthrough-esp-c2s"].sent, found["esp-passthrough-esp-c2s"].received) == (6, None)
        assert (found["tcp-reach-tcp-443-both"].sent, found["tcp-reach-tcp-443-both"].received) == (3, None)
        _, server = ends(trip(checks.ESP, S2C, keys(6), []))
        row = self.rows(self.NOBODY, server)["esp-passthrough-esp-s2c"]
        assert (row.sent, row.received, "proof" in row.detail) == (6, None, False)

    def test_what_an_answer_proves_is_a_count(self) -> None:
        """The Magic-Number of a Configure-Request comes back in what answers it."""
        call = [*seen(CLIENT, SENT, checks.PPTP_LCP, keys(3), message="Configure-Request")]
        call += seen(CLIENT, RECEIVED, checks.PPTP_LCP, keys(2), message="Configure-Ack", at=0.1)
        client, _ = ends(call)
        found = self.rows(client, self.NOBODY)
        there, back = found["pptp-lcp-in-call-gre-c2s"], found["pptp-lcp-in-call-gre-s2c"]
        assert (there.sent, there.received, there.detail["proof"]) == (3, 2, "answered")
        assert (back.sent, back.received, back.detail["proof"]) == (None, 2, "peer")

    @pytest.mark.parametrize(("sees", "received"), [(True, 0), (False, None)])
    def test_another_programs_port_is_counted_on_the_wire_alone(self, sees: bool, received: int | None) -> None:
        facts = replace(PATH, ports={(Transport.UDP, 500): PortState.DAEMON, (Transport.TCP, 443): PortState.DAEMON})
        rows = [*trip(RESET, C2S, keys(6), [], message="P_CONTROL_HARD_RESET_CLIENT_V2"), *trip(TCP, C2S, keys(6), [], message="SYN")]
        found = judged(rows, facts, sees=sees)
        assert found["openvpn-reset-udp-500-both"].received == received
        assert found["openvpn-reset-udp-500-both"].detail["messages"][0]["received"] == received
        assert found["tcp-reach-tcp-443-both"].received == received
        assert found["tcp-reach-tcp-443-both"].detail.get("arrived_at_server") == received

    def test_a_program_that_nobody_watches_sends_uncounted(self) -> None:
        facts = replace(PATH, ports={(Transport.UDP, 500): PortState.DAEMON})
        rows = [
            *trip(RESET, C2S, keys(2), [], message="P_CONTROL_HARD_RESET_CLIENT_V2"),
            *seen(CLIENT, RECEIVED, RESET, keys(2), message="P_CONTROL_HARD_RESET_SERVER_V2"),
        ]
        found = judged(rows, facts)["openvpn-reset-udp-500-both"]
        assert [(m["sent"], m["received"]) for m in found.detail["messages"]] == [(2, None), (None, 2)]

    def test_a_server_without_raw_sockets_counts_no_gre(self) -> None:
        row = at_ends(trip(checks.GRE_BARE, C2S, keys(6), []), server=without_raw)["gre-passthrough-bare-gre-c2s"]
        assert (row.sent, row.received) == (6, None)


class TestRoutersWords:
    def test_a_single_unreachable_stands_only_where_silence_is_proven_too(self) -> None:
        refusal = Refusal(UDP, C2S, RefusalKind.UNREACHABLE, "10.0.5.1")
        few = judged(trip(UDP, C2S, keys(2), []), facts_with(), refusals=[refusal])["udp-reach-udp-500-c2s"]
        many = judged(trip(UDP, C2S, keys(20), []), facts_with(), refusals=[refusal])["udp-reach-udp-500-c2s"]
        assert (few.outcome, few.detail["by"]) == (Outcome.NO_ANSWER, "10.0.5.1")
        assert (many.outcome, many.detail["by"]) == (Outcome.REFUSED, "10.0.5.1")

    def test_without_an_agent_it_is_all_there_is(self) -> None:
        refusal = Refusal(UDP, C2S, RefusalKind.UNREACHABLE, "10.0.5.1")
        found = judged(trip(UDP, C2S, keys(2), []), facts_with(), refusals=[refusal], recorded=False)["udp-reach-udp-500-c2s"]
        assert found.outcome is Outcome.REFUSED

    def test_one_that_says_who_it_is_comes_before_one_that_does_not(self) -> None:
        refusals = [Refusal(UDP, C2S, RefusalKind.PORT_UNREACHABLE, None), Refusal(UDP, C2S, RefusalKind.PROHIBITED, "10.0.5.1")]
        found = judged(trip(UDP, C2S, keys(6), []), facts_with(), refusals=refusals)["udp-reach-udp-500-c2s"]
        assert found.detail["by"] == "10.0.5.1"

    def test_a_refused_port_refuses_its_conversations(self) -> None:
        refusal = Refusal(UDP, C2S, RefusalKind.PORT_UNREACHABLE, "10.0.9.1")
        rows = trip(RESET, C2S, keys(2), [], message="P_CONTROL_HARD_RESET_CLIENT_V2")
        assert judged(rows, facts_with(), refusals=[refusal])["openvpn-reset-udp-500-both"].outcome is Outcome.REFUSED


def test_what_the_client_lacks_a_socket_for_its_own_kernel_refuses() -> None:
    refusal = Refusal(checks.ESP, S2C, RefusalKind.PROTOCOL_UNREACHABLE, "10.0.0.1")
    found = judged(trip(checks.ESP, S2C, keys(6), []), PATH, refusals=[refusal])["esp-passthrough-esp-s2c"]
    assert (found.outcome, found.cause) == (Outcome.REFUSED, Cause.NO_LISTENER)
    behind_nat = replace(PATH, client_seen_as="192.0.2.7")
    by_nat = Refusal(checks.ESP, S2C, RefusalKind.PROTOCOL_UNREACHABLE, "192.0.2.7")
    found = judged(trip(checks.ESP, S2C, keys(6), []), behind_nat, refusals=[by_nat])["esp-passthrough-esp-s2c"]
    assert found.cause is not Cause.NO_LISTENER


def test_a_record_up_to_a_time() -> None:
    client, _ = ends(
        [*seen(CLIENT, SENT, UDP, ["a"], at=1.0), *seen(CLIENT, SENT, UDP, ["b"], at=3.0), *seen(CLIENT, RECEIVED, UDP, ["c"], at=4.0)],
        refusals=[replace(Refusal(UDP, C2S, RefusalKind.RST, None), at=5.0)],
    )
    cut = client.until(2.0)
    assert [row.key for row in cut.packet_records] == ["a", "c"]
    assert cut.refusals == ()
