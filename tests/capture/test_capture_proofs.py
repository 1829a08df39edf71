"""Two ends' captures of which one lost packets itself: what its end is proved to have got was not lost on the path."""

from pathlib import Path

import pytest
from capture_packets import written
from troubled import SCRIPTS, At, Trouble, played, seen

from vpnprobe.capture.analysis import Examined, examine_pair
from vpnprobe.capture.reading import read_capture
from vpnprobe.endpoint.pcap import encode_pcap
from vpnprobe.observations.schema import Outcome
from vpnprobe.transports.stack import Packet

LOST = "it was not lost on the path, but left out of the capture"


def examined(protocol: str, folder: Path, *, without: tuple[At, int] | None = None, before: int = 0) -> Examined:
    """A conversation that works, as both ends capture it. `without`: whose capture lacks which packet. `before`: how many went by before
    the server's began."""
    script = SCRIPTS[protocol]()
    packets = list(played([*script, script[-1]], len(script), Trouble.SILENT))[: len(script)]
    files = []
    for at in (At.CLIENT, At.SERVER):
        held = [Packet(data, 1.7e9 + moment, outgoing=False) for moment, data in seen(packets, at)]
        assert len(held) == len(script)
        if without is not None and at is without[0]:
            del held[without[1]]
        kept = held[before:] if at is At.SERVER else held
        files.append(read_capture(written(folder, encode_pcap(kept), f"{at}.pcap")))
    return examine_pair(*files)


def steps() -> list[tuple[str, At, int]]:
    """Packets behind which their receiver goes on, and which are not the first or the last of a capture, nor data.

    Quick mode's two messages of the initiator's have one name, so that neither is missed.
    """
    data = {"ikev1": 6, "openvpn-udp": 4, "wireguard": 2}
    return [
        (protocol, At.CLIENT if said.back else At.SERVER, number)
        for protocol, script in SCRIPTS.items()
        for number, said in enumerate(script()[: data.get(protocol)])
        if number and script()[number + 1 : number + 2] and script()[number + 1].back is not said.back
    ]


@pytest.mark.parametrize(("protocol", "at", "number"), steps())
def test_what_a_capture_lost_is_no_loss_of_the_path(protocol: str, at: At, number: int, tmp_path: Path) -> None:
    whole = examined(protocol, tmp_path)
    found = examined(protocol, tmp_path, without=(at, number))
    assert whole.joined
    assert found.joined
    assert [(o.id, o.outcome) for o in found.observations] == [(o.id, o.outcome) for o in whole.observations]
    assert whole.note == ""
    assert LOST in found.note
    assert f"The {at}'s capture lacks 1 packet" in found.note


@pytest.mark.parametrize("protocol", SCRIPTS)
def test_what_came_before_a_capture_began_it_has_not_lost(protocol: str, tmp_path: Path) -> None:
    found = examined(protocol, tmp_path, before=1)
    assert found.note == ""
    assert not [one for one in found.observations if one.outcome is Outcome.BLOCKED]
