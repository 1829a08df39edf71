"""Streams of our own beside conversations over TCP that fail: what they tell of cuts and of filters, and that nothing else needs them."""

import pytest

from vpnprobe.agents import responders
from vpnprobe.agents.simulation import measure_simulated
from vpnprobe.evidence.decoy_streams import TURNS
from vpnprobe.observations.schema import Cause, Observation, Outcome
from vpnprobe.probes import decoy_streams
from vpnprobe.probes.decoy_streams import turns_in
from vpnprobe.probes.settings import Settings
from vpnprobe.transports.stack import TcpStream
from vpnprobe.transports.topology import Filter, Link, Topology

PORTS = (443, 1723)
OPENVPN_RESET = Filter("r1", protocol=6, ports=(443,), payload_offset=2, payload=b"\x38", payload_mask=b"\xf8")
MAGIC_COOKIE = Filter("r1", protocol=6, payload_offset=4, payload=b"\x1a\x2b\x3c\x4d", payload_mask=b"\xff" * 4)


def found_in(*filters: Filter, loss: float = 0.0, delay_s: float = 0.02) -> dict[str, Observation]:
    """The rows of OpenVPN over TCP, plain, and of PPTP's control connection that do not pass, by probe and check."""
    topology = Topology(routers=1, links=(Link(delay_s, loss=loss), Link(delay_s)), filters=filters)
    settings = Settings((443,), frozenset({"openvpn", "pptp", "tcp", "udp"}))
    measured, _ = measure_simulated(topology, seed=1, settings=settings, tell=lambda _: None)
    rows = [row for row in measured.observations if row.port in PORTS and row.transport.value == "tcp" and "wrap" not in row.detail]
    return {f"{row.probe}/{row.check}": row for row in rows if row.outcome in (Outcome.BLOCKED, Outcome.REFUSED)}


def cut(after: int, direction: str | None = None) -> Filter:
    return Filter("r1", protocol=6, ports=PORTS, direction=direction, after_packets=after)


@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        (cut(3), {"openvpn/reset": Cause.UNKNOWN, "pptp/control": Cause.UNKNOWN}),
        (cut(7), {"openvpn/handshake": Cause.PACKETS, "pptp/control": Cause.PACKETS}),
        (cut(6, "s2c"), {"openvpn/handshake": Cause.PACKETS, "pptp/control": Cause.PACKETS}),
        (cut(5, "c2s"), {"openvpn/handshake": Cause.PACKETS, "pptp/control": Cause.PACKETS}),
        (OPENVPN_RESET, {"openvpn/reset": Cause.PAYLOAD}),
        (MAGIC_COOKIE, {"pptp/control": Cause.PAYLOAD}),
    ],
    ids=["after-3", "after-7", "after-6-back", "after-5-there", "openvpn", "pptp"],
)
def test_a_cut_is_told_from_a_filter_on_what_is_said(planted: Filter, expected: dict[str, Cause]) -> None:
    found = found_in(planted)
    assert {name: row.cause for name, row in found.items()} == expected
    assert all(row.error_bound is not None and row.error_bound <= 1e-6 for row in found.values())


def test_attempts_that_are_given_up_take_nothing_from_others_on_their_port() -> None:
    """Where another port does, one way to say it on this port is given up, with what was under way for it; the others go on."""
    topology = Topology(links=(Link(0.01),) * 4, filters=(Filter("r2", protocol=6, ports=(443,), after_packets=12),))
    settings = Settings((1194, 443), frozenset({"openvpn", "tcp", "udp"}))
    measured, _ = measure_simulated(topology, seed=1, settings=settings, tell=lambda _: None)
    blocked = [row for row in measured.observations if row.outcome is Outcome.BLOCKED]
    assert {(row.check, row.port) for row in blocked} == {("handshake", 443)}
    assert {row.cause for row in blocked} == {Cause.PACKETS}


def test_a_filter_is_told_on_a_lossy_path_too() -> None:
    assert found_in(OPENVPN_RESET, loss=0.1)["openvpn/reset"].cause is Cause.PAYLOAD


@pytest.mark.parametrize("delay_s", [0.0005, 0.3])
def test_delay_does_not_change_it(delay_s: float) -> None:
    ended = found_in(cut(9), delay_s=delay_s)  # What is sent again counts too, so that a long path loses the first messages.
    assert {row.port for row in ended.values()} == set(PORTS)
    assert {row.cause for row in ended.values()} <= {Cause.PACKETS, Cause.UNKNOWN}
    assert found_in(MAGIC_COOKIE, delay_s=delay_s)["pptp/control"].cause is Cause.PAYLOAD


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_where_conversations_come_up_there_are_none(monkeypatch: pytest.MonkeyPatch, loss: float) -> None:
    """Nor where some are lost by chance and tried once or twice more."""

    def made(*_: object) -> None:
        raise AssertionError("a decoy stream where nothing fails")

    monkeypatch.setattr(decoy_streams, "_begin", made)
    assert found_in(loss=loss) == {}


def test_an_older_server_agent_knows_of_none_and_nothing_follows_from_that(monkeypatch: pytest.MonkeyPatch) -> None:
    async def one_alone(_: responders.TcpResponder, stream: TcpStream, data: bytes) -> None:
        await stream.send(responders.NoncePayload.decode(data[: responders.STREAM_BYTES]).answer().encode())
        await stream.receive()

    monkeypatch.setattr(responders.TcpResponder, "_decoy_stream", one_alone)
    assert found_in(OPENVPN_RESET)["openvpn/reset"].cause is Cause.PAYLOAD


@pytest.mark.parametrize(("payloads", "turns"), [(0, 0), (1, 1), (30, 30), (66, 30), (67, 31), (sum(TURNS), len(TURNS))])
def test_a_turn_is_answered_once_all_of_it_is(payloads: int, turns: int) -> None:
    assert turns_in(payloads) == turns
