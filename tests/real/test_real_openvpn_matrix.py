"""Our client against every real OpenVPN server of the matrix: a whole session, with the cipher that was offered, and data both ways."""

import pytest
from openvpn_matrix_support import Matrix, cell_id, cells
from openvpn_profile_tests import Tried, tried

from vpnprobe.observations.schema import Direction, Outcome

pytestmark = [pytest.mark.root, pytest.mark.real]
CELLS = {cell_id(cell): cell for cell in cells()}
ECHOES = 102


@pytest.fixture(scope="module")
def matrix_tried(openvpn_matrix: Matrix, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tried]:
    """All cells at once: it is their servers that take time to answer, not ours to ask."""
    profiles = {name: openvpn_matrix.servers[config].client_profile(**{"data-ciphers": cipher}) for name, (config, cipher) in CELLS.items()}
    return tried(openvpn_matrix.lab, profiles, tmp_path_factory.mktemp("matrix"))


@pytest.mark.parametrize("name", CELLS)
def test_a_whole_session(matrix_tried: dict[str, Tried], name: str) -> None:
    found = matrix_tried[name]
    assert found.failures == []
    assert found.row("reset").outcome is Outcome.PASS
    assert found.row("handshake").outcome is Outcome.PASS
    assert found.row("handshake").detail["cipher"] == CELLS[name][1]
    there, back = found.row("data", Direction.C2S), found.row("data", Direction.S2C)
    assert (there.outcome, back.outcome) == (Outcome.PASS, Outcome.PASS)
    assert there.sent is not None
    assert there.received is not None
    assert there.sent >= ECHOES
    assert there.received >= 0.99 * there.sent


def test_the_matrix_is_whole() -> None:
    assert len(CELLS) == 2 * 7 * 3 * 2 * 2
