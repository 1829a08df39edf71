"""What a profile test finds of data: a limit on size, a cut, and what the path loses."""

from profile_test_support import (
    DATA_OPCODE,
    NamelessServer,
    server_over_udp,
    tried,
)

from vpnprobe.probes.existing_server import ECHOES


def data_packets(data: bytes) -> bool:
    return data[0] >> 3 == DATA_OPCODE


class TestData:
    def test_none_comes_through(self) -> None:
        found = tried(server_over_udp, loses=lambda data, inward: data_packets(data))
        assert found.codes == [("data", "data-dead")]
        assert found.said == "none of 12 echo requests to 10.255.238.1 was answered"
        assert found.outcomes["handshake-profile-udp-1194-both"] == "pass"

    def test_none_comes_back(self) -> None:
        found = tried(server_over_udp, loses=lambda data, inward: data_packets(data) and not inward)
        assert found.codes == [("data", "data-dead")]

    def test_large_ones_vanish(self) -> None:
        found = tried(server_over_udp, loses=lambda data, inward: data_packets(data) and len(data) > 1300, echoes=24)
        assert found.codes == [("data", "data-large-dead")]
        assert found.said == "packets of 1400 bytes and more vanish, 1200 bytes pass"

    def test_none_follow_after_some_time(self) -> None:
        seen: list[bytes] = []

        def loses(data: bytes, inward: bool) -> bool:
            seen.extend([data] if data_packets(data) else [])
            return len(seen) > 60

        found = tried(server_over_udp, loses=loses, echoes=ECHOES)
        assert found.codes == [("data", "data-cut")]
        assert found.said == "30 echo requests were answered, and none of the 72 that followed"

    def test_there_is_nobody_to_ask(self) -> None:
        found = tried(server_over_udp, kind=NamelessServer)
        assert found.codes == []
        row = found.rows["openvpn-data-profile-udp-1194-c2s"]
        assert row.outcome.value == "skipped"
        assert "no address of its own in the tunnel" in row.detail["reason"]
