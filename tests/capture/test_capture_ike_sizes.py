"""IKE and ESP in UDP by their ports and order, as `tcpdump -q` prints them."""

import pytest
from test_capture_openvpn_sizes import conversations

from vpnprobe.rules import load_default
from vpnprobe.rules.diagnoses import diagnosed

LINE = "10:00:00.{:06d} IP {}.{} > {}.{}: UDP, length {}"


def text(*packets: tuple[int, int]) -> str:
    """Datagrams of (port, size), those of a negative size come back."""
    ends = ("192.0.2.10", "198.51.100.20")
    lines = []
    for number, (port, size) in enumerate(packets):
        source, destination = ends if size > 0 else ends[::-1]
        lines.append(LINE.format(number, source, port, destination, port, abs(size)))
    return "\n".join(lines)


INIT = ((500, 464), (500, -472))
AUTH = ((4500, 292), (4500, -244))
MAIN = ((500, 180), (500, -160), (500, 244), (500, -244))
LAST_OF_MAIN = ((4500, 80), (4500, -80))
QUICK = ((4500, 208), (4500, -208), (4500, 80))
ESP = ((4500, 132), (4500, -132), (4500, 132))


@pytest.mark.parametrize(
    ("packets", "stages"),
    [
        (((500, 464),), [("isakmp-other", "other")]),
        (INIT, [("ikev2", "sa_init-answered")]),
        ((*INIT, AUTH[0]), [("ikev2", "auth-request-unanswered")]),
        ((*INIT, *AUTH, *ESP), [("ikev2", "auth-answered"), ("esp-udp", "both-ways")]),
        ((*INIT, *AUTH[:1] * 5), [("ikev2", "auth-request-unanswered")]),
        (MAIN, [("ikev1", "main-answered")]),
        ((*MAIN, *LAST_OF_MAIN), [("ikev1", "main-complete")]),
        ((*MAIN, *LAST_OF_MAIN, *QUICK), [("ikev1", "quick-mode-answered")]),
        ((*MAIN, *LAST_OF_MAIN, *QUICK, *ESP), [("ikev1", "quick-mode-answered"), ("esp-udp", "both-ways")]),
        ((*ESP, *ESP), [("esp-udp", "both-ways")]),
        (((4500, 132),) * 5, [("esp-udp", "one-way")]),
        (((4500, 132),) * 2, []),
        (((4500, 1),) * 9, []),
    ],
)
def test_how_far_it_came(packets: tuple[tuple[int, int], ...], stages: list[tuple[str, str]]) -> None:
    found = conversations(text(*packets))
    assert sorted((one.protocol, one.stage) for one in found) == sorted(stages)
    assert all(one.detail["guessed_from"] == "ports" and one.findings[0].startswith("A guess") for one in found)


@pytest.mark.parametrize(
    ("packets", "message", "times"),
    [
        (((500, 464),) * 4, "message", 4),
        ((*INIT, *AUTH[:1] * 3), "IKE_AUTH", 3),
        ((*MAIN, *LAST_OF_MAIN[:1] * 12), "message", 12),
    ],
)
def test_what_the_client_says_again_is_not_answered(packets: tuple[tuple[int, int], ...], message: str, times: int) -> None:
    (one,) = diagnosed(conversations(text(*packets)), load_default())
    [fact] = one.detail["facts"]
    assert (fact["fact"], fact["message"], fact["times"], fact["frames"][-1]) == ("unanswered", message, times, len(packets))
    assert one.detail["diagnosis"]["name"] == "ike-unanswered"


def test_what_was_answered_is_not_told() -> None:
    found = conversations(text(*INIT, *AUTH, *ESP))
    assert not any(one.detail.get("facts") for one in found)


def test_what_can_be_read_is_no_guess() -> None:
    (one,) = conversations(text(*INIT) + "\n10:00:01.0 IP 192.0.2.10.500 > 198.51.100.20.500: isakmp: parent_sa ikev2_init[I]")
    assert (one.protocol, one.findings) == ("ikev2", ())
