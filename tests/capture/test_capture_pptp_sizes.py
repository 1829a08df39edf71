"""PPTP's control connection by the lengths of its segments."""

import pytest
from test_capture_openvpn_sizes import conversations, tcp


@pytest.mark.parametrize(
    ("sizes", "stage"),
    [
        ((156,), "sccrq-unanswered"),
        ((156, -156), "control-up"),
        ((156, -156, 168), "ocrq-unanswered"),
        ((156, -156, 168, -32), "call-up"),
        ((16, -20), "midstream-control"),
    ],
)
def test_how_far_it_came(sizes: tuple[int, ...], stage: str) -> None:
    (one,) = conversations(tcp(*sizes, port=1723))
    assert (one.protocol, one.stage, one.client.port, one.server.port) == ("pptp", stage, 50000, 1723)
    assert one.detail["guessed_from"] == "sizes"
    assert "guess" in one.findings[0]


def test_on_another_port_it_is_not_guessed() -> None:
    assert conversations(tcp(156, -156, 168, -32, port=1724)) == []
