"""L2TP by its port and sizes, as `tcpdump -q` prints it."""

import pytest
from test_capture_openvpn_sizes import conversations, udp


@pytest.mark.parametrize(
    ("sizes", "stage"),
    [
        ((99,), "sccrq-unanswered"),
        ((99, -99), "sccrp"),
        ((99, -99, 20, -12), "tunnel-up"),
        ((99, -99, 20, -12, 48, -28), "session-answered"),
        ((99, -99, 20, -12, 48, -28, -12, 50, -12, -26, 26), "session-up"),
        ((20, -12), "midstream-control"),
        ((26, -26, 26), "midstream-data"),
    ],
)
def test_how_far_it_came(sizes: tuple[int, ...], stage: str) -> None:
    (one,) = conversations(udp(*sizes, port=1701))
    assert (one.protocol, one.stage, one.client.port, one.server.port) == ("l2tp", stage, 50000, 1701)
    assert one.detail["guessed_from"] == "ports"
    assert one.findings[0].startswith("A guess")
    assert one.frames_c2s + one.frames_s2c == len(sizes)


def test_another_port_shows_nothing() -> None:
    assert conversations(udp(99, -99, 20, port=1702)) == []
