"""OpenVPN's key files: those that OpenVPN 2.6 wrote, our own, and every way in which one can be broken."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError, UsageError
from vpnprobe.wire.openvpn_keys import (
    CLIENT_LABEL,
    METADATA_TIMESTAMP,
    METADATA_USER,
    SERVER_LABEL,
    STATIC_LABEL,
    ClientKeyV2,
    KeyDirection,
    ServerKeyV2,
    StaticKey,
)

# Written by OpenVPN 2.6.14 (--genkey tls-auth, tls-crypt-v2-server, tls-crypt-v2-client).
STATIC_FILE = """\
-----BEGIN OpenVPN Static key V1-----
977ef65271950412c0b8d54135ffcb5d
2a28c84352739c7374b77aaa88e20b63
ee9c43385cf827483b3d92a567cf0b1f
9b0d4ea76a4f6b8de13bf39d94367cfa
a62255608118a1bc6390dc1ff0e65018
b6add90ffa933ed7ee24b912e9f0093f
40be2e14064e9e67faf5af70234c334a
83aa8bc98f3227f43515c109182b2def
3beb60dd0b862843edd9d556e51c4fca
5fd1f3d089b6964de024ce24118b4db4
1b83a5299ed0835f6855247abc2e9b62
62134766f221206b2ab56ace6c096d54
b2ed74a3968f51cba46d4b4234692bc2
5c8fa04dacf137626640fff393a48440
d143a1b0246e7fe7f9df33ee656b5cc5
96d07abee8c0f809e3d9bf03311c3770
-----END OpenVPN Static key V1-----
"""
SERVER_FILE = """\
-----BEGIN OpenVPN tls-crypt-v2 server key-----
jFGzjwkF0PhC8k19XkEDXsusyezDMe9HOgBMNc5kfzrEAt4uogmIuQ3IR1rcZZ7U
JImZyoSni62HzIuJ7GXHRMS0O6JEUi/Q+vvCqvHBFcgWzviKA+8OXJuBNIQvOBKf
KJrRzVXCf3d0V1eh3sqWr8NSP9fOVZAtF4aqK1K9tbQ=
-----END OpenVPN tls-crypt-v2 server key-----
"""
CLIENT_FILE = """\
-----BEGIN OpenVPN tls-crypt-v2 client key-----
oT7/yOWeesi+uAM2lBZwvY7Dc7mnYUOzjoiO4pZDtWCU0wp0q/YNS+/IElGVPfVQ
PWGPlrhfo/hl9sOd1gw996TTSdNHxANYed/lQZigYZBteq+Yz/F0D3zSFzlv1Ne5
cqb17j6WTJXueKUkB4YavWLI/9zwyJ+RYkOGiZVsrMYrkZJ+Fp1hHJdQgsGKX0/7
njgcBOnB3enI5TGM7dZmPdHyCrmaXYJDKdmXrEdOv4i9VpnLxVU9UQ9GBuX3iyvP
lIjvEEgiBwy0L9yrj+5osbCNfNkJKiy3GaQ2hfbgeCG00Djjz6IciPMxUlzgxT5C
PfMJ9jsPxxeBVm+ih/9sBaE2q6ymuqCNArLwMeM9RA34PdoTxTJE+mC/QlYjgfM7
/dYqjniaETAMHnjLY5F9WxSk3Wf/tGTql/tQp8qZIcqAdFstx0HBRlFwnZ4hFbUh
51eKPSxMPgvf+gaLPMCI6fC8Brc+64TJooE/Ycjp+7c94zvo+b9g9u9h0HS0rIwm
Kxkb1xVBRrIla0Ifnp6nAwIlFL/diaQlYfv4mNydNrwPBoHQ9VCurtLbC2VPz8eD
4LbA/bkk9RKBHl2I5/SRHdSNhhGV+UQCH/x1J4LzLtJNnt1GQCNFNDL3cqK16fWz
vjKyB4nvbycwVxIWXQTGUgQp9X3H9o8FYD77/thI9/9JRxd5cTr8egE7c6px5X1x
HtUjxseufyjR/N9HzXJ4zluyX/B9P9j+kgEr
-----END OpenVPN tls-crypt-v2 client key-----
"""
MADE_AT = 0x6B02F48A
"""Unix time at which OpenVPN made the client's key."""
NUMBERED = StaticKey(bytes(range(256)))
SERVER = ServerKeyV2(bytes(range(128)))
STATIC = st.binary(min_size=256, max_size=256).map(StaticKey)


def test_a_static_key_file_of_openvpn() -> None:
    key = StaticKey.decode(STATIC_FILE)
    assert key.data[:4].hex() == "977ef652"
    assert key.encode() == STATIC_FILE
    assert StaticKey.decode("# 2048 bit OpenVPN static key\n#\n" + STATIC_FILE.replace("\n", "\r\n") + "\nmore\n") == key
    assert StaticKey.decode(STATIC_FILE.upper().replace("STATIC KEY", "Static key").replace("OPENVPN", "OpenVPN")) == key


def test_lines_may_have_any_length() -> None:
    halves = [line[start : start + 16] for line in NUMBERED.encode().split("\n")[1:-2] for start in (0, 16)]
    assert StaticKey.decode("\n".join([f"-----BEGIN {STATIC_LABEL}-----", *halves, f"-----END {STATIC_LABEL}-----"])) == NUMBERED


def test_slots_are_cipher_and_hmac_in_turn() -> None:
    assert [NUMBERED.cipher_key(0)[0], NUMBERED.hmac_key(0)[0], NUMBERED.cipher_key(1)[0], NUMBERED.hmac_key(1)[0]] == [0, 64, 128, 192]
    assert {len(part) for slot in (0, 1) for part in (NUMBERED.cipher_key(slot), NUMBERED.hmac_key(slot))} == {64}


def test_what_one_end_sends_with_the_other_receives_with() -> None:
    slots = {direction: (direction.out_slot, direction.in_slot) for direction in KeyDirection}
    assert slots == {KeyDirection.BIDIRECTIONAL: (0, 0), KeyDirection.NORMAL: (0, 1), KeyDirection.INVERSE: (1, 0)}
    assert [KeyDirection(option) for option in (None, 0, 1)] == list(KeyDirection)


def without_line(text: str, number: int) -> str:
    return "\n".join(line for at, line in enumerate(text.split("\n"), start=1) if at != number)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("", 0, "has no line -----BEGIN OpenVPN Static key V1-----"),
        ("no key", 0, "has no line -----BEGIN OpenVPN Static key V1-----"),
        (without_line(STATIC_FILE, 18), 1, "has no line -----END OpenVPN Static key V1----- after it"),
        (without_line(STATIC_FILE, 5), 16, "has 15 lines of key, not 16"),
        (STATIC_FILE.replace("-----END", "00112233445566778899aabbccddeeff\n-----END"), 18, "has 17 lines of key, not 16"),
        (f"-----BEGIN {STATIC_LABEL}-----\n-----END {STATIC_LABEL}-----\n", 0, "has 0 lines of key, not 16"),
        (NUMBERED.encode().replace("00010203", "0001020x"), 2, "is not hexadecimal"),
        (NUMBERED.encode().replace("00010203", "0001020³"), 2, "is not hexadecimal"),
        (NUMBERED.encode().replace("20212223", "202122"), 4, "has 30 digits on a line, not 32"),
    ],
)
def test_a_broken_static_key_says_where(text: str, line: int, problem: str) -> None:
    with pytest.raises(DecodeError) as caught:
        StaticKey.decode(text)
    assert (caught.value.field, caught.value.offset, caught.value.problem) == (STATIC_LABEL, line, problem)


def test_a_key_has_one_length_only() -> None:
    with pytest.raises(DecodeError, match="OpenVPN Static key V1 at offset 0: is 255 bytes, not 256"):
        StaticKey(bytes(255))
    with pytest.raises(DecodeError, match="server key at offset 0: is 120 bytes, not 128"):
        ServerKeyV2(bytes(120))


def test_a_client_key_of_openvpn_opens_with_its_server_key() -> None:
    server, client = ServerKeyV2.decode(SERVER_FILE), ClientKeyV2.decode(CLIENT_FILE)
    assert server.unwrap(client.wrapped) == (client.key, METADATA_TIMESTAMP + MADE_AT.to_bytes(8, "big"))
    assert (server.encode(), client.encode()) == (SERVER_FILE, CLIENT_FILE)


def test_the_same_key_and_metadata_are_wrapped_as_openvpn_wraps_them() -> None:
    client = ClientKeyV2.decode(CLIENT_FILE)
    assert ServerKeyV2.decode(SERVER_FILE).wrap(client.key, METADATA_TIMESTAMP + MADE_AT.to_bytes(8, "big")) == client


def test_a_wrapped_key_fits_one_server_and_only_unchanged() -> None:
    wrapped = SERVER.wrap(NUMBERED, METADATA_USER + b"host 1").wrapped
    assert SERVER.unwrap(wrapped) == (NUMBERED, b"\0host 1")
    for server, data in ((ServerKeyV2(bytes(128)), wrapped), (SERVER, wrapped[:40] + bytes([wrapped[40] ^ 1]) + wrapped[41:])):
        with pytest.raises(DecodeError, match="WKc at offset 0: was not wrapped with this server key"):
            server.unwrap(data)


@pytest.mark.parametrize(
    ("wrapped", "problem"),
    [
        (b"", "has a wrapped key of 0 bytes, not 290 to 1024"),
        (bytes(289), "has a wrapped key of 289 bytes, not 290 to 1024"),
        (bytes(1025), "has a wrapped key of 1025 bytes, not 290 to 1024"),
        (bytes(288) + b"\1\x23", "has a wrapped key of 290 bytes, which says 291"),
    ],
)
def test_a_wrapped_key_is_as_long_as_it_says(wrapped: bytes, problem: str) -> None:
    with pytest.raises(DecodeError) as caught:
        SERVER.unwrap(wrapped)
    assert caught.value.problem == problem


def test_metadata_has_room_for_734_bytes() -> None:
    assert len(SERVER.wrap(NUMBERED, bytes(734)).wrapped) == 1024
    with pytest.raises(UsageError, match="735 bytes, at most 734 fit"):
        SERVER.wrap(NUMBERED, bytes(735))


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("", 0, f"has no line -----BEGIN {CLIENT_LABEL}-----"),
        (SERVER_FILE, 0, f"has no line -----BEGIN {CLIENT_LABEL}-----"),
        (SERVER_FILE.replace("server", "client"), 0, "is 128 bytes, not at least 546"),
        (CLIENT_FILE.replace("PxxeBVm", "Pxx*BVm"), 7, "is not base64"),
        (CLIENT_FILE.replace("gEr\n", "gE\n"), 13, "is not base64"),
        (CLIENT_FILE.replace("kgEr", "kgEü"), 13, "is not base64"),
        (CLIENT_FILE.replace("gEr\n", "gEv\n"), 0, "has a wrapped key of 299 bytes, which says 303"),
    ],
)
def test_a_broken_client_key_says_where(text: str, line: int, problem: str) -> None:
    with pytest.raises(DecodeError) as caught:
        ClientKeyV2.decode(text)
    assert (caught.value.field, caught.value.offset, caught.value.problem) == (CLIENT_LABEL, line, problem)


def test_a_broken_server_key_says_where() -> None:
    text = SERVER_FILE.replace("\n", "\n\n")
    assert ServerKeyV2.decode(text) == ServerKeyV2.decode(SERVER_FILE)
    with pytest.raises(DecodeError, match=f"{SERVER_LABEL} at offset 0: is 80 bytes, not 128"):
        ServerKeyV2.decode(without_line(SERVER_FILE, 3))
    with pytest.raises(DecodeError, match=f"{SERVER_LABEL} at offset 0: is 0 bytes, not 128"):
        ServerKeyV2.decode(f"-----BEGIN {SERVER_LABEL}-----\n-----END {SERVER_LABEL}-----")


@pytest.fixture
def genkey(requires: Callable[..., None], tmp_path: Path) -> Callable[..., str]:
    """Runs `openvpn --genkey`, and gives the text of what it wrote."""
    openvpn = shutil.which("openvpn", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if openvpn is None:
        requires("openvpn", why="it is not installed: sudo apt install openvpn")
    assert openvpn is not None

    def run(kind: str, *arguments: str) -> str:
        out = tmp_path / f"{kind}.key"
        done = subprocess.run([openvpn, *arguments, "--genkey", kind, str(out)], capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, done.stdout + done.stderr
        return out.read_text()

    return run


def test_keys_that_openvpn_makes_now(genkey: Callable[..., str], tmp_path: Path) -> None:
    text = genkey("tls-auth")
    assert text.endswith(StaticKey.decode(text).encode())
    server = ServerKeyV2.decode(genkey("tls-crypt-v2-server"))
    client = ClientKeyV2.decode(genkey("tls-crypt-v2-client", "--tls-crypt-v2", str(tmp_path / "tls-crypt-v2-server.key")))
    assert server.unwrap(client.wrapped)[0] == client.key


def test_openvpn_takes_a_server_key_of_ours(genkey: Callable[..., str], tmp_path: Path) -> None:
    ours = tmp_path / "ours.key"
    ours.write_text(SERVER.encode())
    client = ClientKeyV2.decode(genkey("tls-crypt-v2-client", "--tls-crypt-v2", str(ours)))
    assert SERVER.unwrap(client.wrapped)[0] == client.key


@given(STATIC)
def test_a_static_key_is_decoded_again(key: StaticKey) -> None:
    assert StaticKey.decode(key.encode()) == key


@given(STATIC, st.binary(min_size=128, max_size=128).map(ServerKeyV2), st.binary(max_size=734))
def test_a_client_key_is_decoded_and_unwrapped_again(key: StaticKey, server: ServerKeyV2, metadata: bytes) -> None:
    client = server.wrap(key, metadata)
    assert ClientKeyV2.decode(client.encode()) == client
    assert ServerKeyV2.decode(server.encode()).unwrap(client.wrapped) == (key, metadata)


@given(st.sampled_from([STATIC_LABEL, CLIENT_LABEL, SERVER_LABEL]), st.text(), st.booleans())
def test_any_text_gives_a_key_or_a_decode_error(label: str, body: str, framed: bool) -> None:
    text = f"-----BEGIN {label}-----\n{body}\n-----END {label}-----" if framed else body
    for kind in (StaticKey, ClientKeyV2, ServerKeyV2):
        try:
            assert kind.decode(text).encode()
        except DecodeError as error:
            assert 0 <= error.offset <= text.count("\n") + 1


@given(st.binary(max_size=1100))
def test_any_bytes_unwrap_or_are_a_decode_error(wrapped: bytes) -> None:
    with pytest.raises(DecodeError):
        SERVER.unwrap(wrapped)
