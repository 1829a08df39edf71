"""ESP header: round trip, totality, and scapy's reading of it."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError
from vpnprobe.wire.esp import FIRST_USABLE_SPI, EspPacket

U32 = st.integers(0, 2**32 - 1)


@given(st.builds(EspPacket, U32, U32, st.binary(max_size=64)))
def test_what_is_encoded_is_decoded_again(packet: EspPacket) -> None:
    assert EspPacket.decode(packet.encode()) == packet


@pytest.mark.parametrize("size", range(8))
def test_fewer_than_8_bytes_are_none(size: int) -> None:
    with pytest.raises(DecodeError, match="SPI" if size < 4 else "Sequence Number"):
        EspPacket.decode(bytes(size))


def test_which_spis_are_reserved() -> None:
    assert EspPacket(0, 1, b"").reserved
    assert EspPacket(FIRST_USABLE_SPI - 1, 1, b"").reserved
    assert not EspPacket(FIRST_USABLE_SPI, 1, b"").reserved


def test_scapy_reads_it_alike() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scapy.layers.ipsec import ESP
    theirs = ESP(EspPacket(0x01020304, 7, b"payload").encode())
    assert (theirs.spi, theirs.seq, bytes(theirs.data)) == (0x01020304, 7, b"payload")
