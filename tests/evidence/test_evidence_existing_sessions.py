"""Sessions with an existing server beside which a server agent watches the wire: its rows are about the client's checks."""

from evidence_support import C2S, CLIENT, RECEIVED, S2C, SENT, SERVER, ends, facts_with, judged, keys, seen, trip

from vpnprobe.evidence import checks
from vpnprobe.evidence.existing_sessions import under_clients_checks
from vpnprobe.evidence.records import PortState
from vpnprobe.observations.schema import Outcome, Transport

PORT = 51820
PLAIN, OF_PROFILE = checks.wireguard_handshake(PORT), checks.wireguard_handshake(PORT, "profile")
BESIDE = facts_with(ports={(Transport.UDP, PORT): PortState.DAEMON})
INITIATION, RESPONSE = "Handshake Initiation", "Handshake Response"
OURS, OTHERS = keys(2), keys(2, start=2)


def test_what_the_wire_shows_of_a_session_is_about_the_clients_check() -> None:
    rows = [
        *seen(CLIENT, SENT, OF_PROFILE, OURS, message=INITIATION),
        *seen(SERVER, RECEIVED, PLAIN, [*OURS, *OTHERS], message=INITIATION),
        *seen(SERVER, SENT, PLAIN._replace(name="data"), [f"{OURS[0]}.1"]),
    ]
    found = under_clients_checks(*ends(rows)).packet_records
    assert [row.check for row in found] == [OF_PROFILE] * 2 + [PLAIN] * 2 + [checks.wireguard_data(PORT, "profile")]


def test_what_only_the_client_can_tell_apart_counts_for_none_of_its_checks() -> None:
    """Without keys the agent has all of OpenVPN's control channel under the reset, and the client has TLS under the handshake."""
    reset, handshake = (check(Transport.UDP, 1194, "profile") for check in (checks.openvpn_reset, checks.openvpn_handshake))
    opening, acknowledged, of_tls = "P_CONTROL_HARD_RESET_CLIENT_V2", "P_ACK_V1", "P_CONTROL_V1"
    rows = [
        *seen(CLIENT, SENT, reset, OURS[:1], message=opening),
        *seen(CLIENT, SENT, reset, OURS[:1], message=acknowledged),
        *seen(CLIENT, SENT, handshake, OURS[:1], message=f"{of_tls}[1]"),
        *(
            row
            for message in (opening, acknowledged, of_tls)
            for row in seen(SERVER, RECEIVED, reset._replace(variant=""), OURS[:1], message=message)
        ),
        *seen(SERVER, SENT, reset._replace(variant=""), OURS[:1], message=of_tls),
    ]
    found = judged(rows, facts_with(ports={(Transport.UDP, 1194): PortState.DAEMON}), sees=True)["openvpn-reset-profile-udp-1194-both"]
    assert [(row["message"], row["received"]) for row in found.detail["messages"]] == [(opening, 1), (acknowledged, 1)]


def test_without_such_sessions_nothing_changes() -> None:
    client, server = ends(trip(PLAIN, C2S, OURS, OURS, message=INITIATION))
    assert under_clients_checks(client, server) is server


def test_an_initiation_that_comes_and_is_not_answered() -> None:
    rows = [*seen(CLIENT, SENT, OF_PROFILE, OURS, message=INITIATION), *seen(SERVER, RECEIVED, PLAIN, OURS, message=INITIATION)]
    (row,) = judged(rows, BESIDE, sees=True).values()
    assert (row.outcome, row.sent, row.received) == (Outcome.NO_ANSWER, 2, 0)
    assert row.detail["arrived_at_server"] == 2
    assert row.detail["reason"] == "WireGuard answers nobody whose key it does not know"


def test_a_cookie_is_no_silence() -> None:
    rows = [
        *seen(CLIENT, SENT, OF_PROFILE, OURS[:1], message=INITIATION),
        *seen(SERVER, RECEIVED, PLAIN, OURS[:1], message=INITIATION),
        *seen(SERVER, SENT, PLAIN, OURS[:1], message="Cookie Reply"),
        *seen(CLIENT, RECEIVED, OF_PROFILE, OURS[:1], message="Cookie Reply"),
    ]
    (row,) = judged(rows, BESIDE, sees=True).values()
    assert (row.outcome, row.detail["reason"]) == (Outcome.NO_ANSWER, "Cookie Reply alone came back")


def test_its_answers_are_none_of_plain_sessions_beside_it() -> None:
    """Initiations with keys of our own are answered by nobody, and the server's answers to the profile's are not theirs."""
    rows = [
        *trip(OF_PROFILE, C2S, OURS, [], message=INITIATION),
        *seen(SERVER, RECEIVED, PLAIN, [*OURS, *OTHERS], message=INITIATION),
        *seen(SERVER, SENT, PLAIN, OURS, message=RESPONSE),
        *trip(OF_PROFILE, S2C, [], [], message=RESPONSE),
        *seen(CLIENT, RECEIVED, OF_PROFILE, OURS, message=RESPONSE),
        *seen(CLIENT, SENT, PLAIN, OTHERS, message=INITIATION),
    ]
    found = judged(rows, BESIDE, sees=True)
    assert found["wireguard-handshake-profile-udp-51820-both"].outcome is Outcome.PASS
    plain = found["wireguard-handshake-udp-51820-both"]
    assert (plain.outcome, plain.sent, plain.received, plain.detail["arrived_at_server"]) == (Outcome.NO_ANSWER, 2, None, 2)
    assert plain.detail["reason"] == "WireGuard answers nobody whose key it does not know"
    assert "lost_direction" not in plain.detail
