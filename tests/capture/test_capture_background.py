"""Background loss from the TCP segments of two captures of one run."""

from vpnprobe.capture.background import background_of
from vpnprobe.capture.decode import Decoder
from vpnprobe.capture.ends import Ends
from vpnprobe.evidence.statistics import Background
from vpnprobe.observations.schema import Direction
from vpnprobe.wire.fingerprint import TcpFingerprint

ENDS = Ends("10.0.0.1", "10.0.0.2")


def seen(*segments: TcpFingerprint, sender: str = "10.0.0.1") -> Decoder:
    decoder = Decoder()
    decoder.segments[sender, "connection"] = set(segments)
    return decoder


def segment(sequence: int, identification: int) -> TcpFingerprint:
    return TcpFingerprint(sequence, 100, 0x18, identification)


def test_a_repetition_of_what_arrived_is_a_loss() -> None:
    client = seen(segment(1, 10), segment(1, 11), segment(101, 12))
    server = seen(segment(1, 11), segment(101, 12))
    assert background_of([client], [server], ENDS, ENDS)[Direction.C2S] == Background(lost=1, passed=2)


def test_what_never_arrived_says_nothing_of_the_path() -> None:
    client = seen(segment(1, 10), *(segment(101, number) for number in range(20, 40)))
    server = seen(segment(1, 10))
    assert background_of([client], [server], ENDS, ENDS)[Direction.C2S] == Background(lost=0, passed=1)


def test_the_way_back_is_counted_by_itself() -> None:
    client = seen(segment(1, 10), sender="10.0.0.2")
    server = seen(segment(1, 9), segment(1, 10), sender="10.0.0.2")
    found = background_of([client], [server], ENDS, ENDS)
    assert found[Direction.C2S] == Background()
    assert found[Direction.S2C] == Background(lost=1, passed=1)


def test_an_end_without_traffic_measures_nothing() -> None:
    assert background_of([seen(segment(1, 10))], [], ENDS, None) == {}
