"""The pairing token: made by the server, found by the client, kept from others; one line for everything that is wrong with it."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.agents.token import (
    Token,
    client_token,
    default_token_path,
    pem_path_of,
    proof,
    proves,
    read_token,
    server_token,
)
from vpnprobe.errors import CannotRun, ExitStatus, UsageError

TOKEN = Token(bytes(range(32)), "ab" * 32)
tokens = st.builds(Token, st.binary(min_size=17, max_size=64), st.text(alphabet="0123456789abcdef", min_size=64, max_size=64))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def put(path: Path, text: str, permissions: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(permissions)
    return path


def one_line(exc: BaseException) -> str:
    assert "\n" not in str(exc)
    return str(exc)


@given(tokens)
def test_the_round_trip_is_a_law(token: Token) -> None:
    assert Token.decode(token.encode() + "\n", place="here") == token


@given(st.text())
def test_any_text_is_a_token_or_a_usage_error(text: str) -> None:
    problem = None
    try:
        Token.decode(text, place="FILE")
    except UsageError as exc:
        problem = exc
    assert problem is None or (problem.status is ExitStatus.UNREADABLE and one_line(problem).startswith("FILE "))


def test_the_secret_is_not_in_the_representation() -> None:
    assert TOKEN.encode().split(":")[1] not in repr(TOKEN)
    assert repr(TOKEN.secret) not in repr(TOKEN)


def test_a_proof_holds_for_its_secret_certificate_and_nonce_only() -> None:
    nonce = bytes(32)
    given_proof = proof(TOKEN.secret, TOKEN.fingerprint, nonce)
    assert len(given_proof) == 32
    assert proves(TOKEN, nonce, given_proof)
    assert not proves(TOKEN, b"\1" + nonce[1:], given_proof)
    assert not proves(Token(b"x" * 32, TOKEN.fingerprint), nonce, given_proof)
    assert not proves(Token(TOKEN.secret, "cd" * 32), nonce, given_proof)
    assert not proves(TOKEN, nonce, given_proof[:-1])


def test_a_server_makes_its_token_once(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "token"
    first, pem_path = server_token(path)
    assert pem_path == path.with_name("token.server.pem")
    assert (mode(path), mode(pem_path), mode(path.parent), mode(path.parent.parent)) == (0o600, 0o600, 0o700, 0o700)
    assert path.read_text() == first.encode() + "\n"
    assert server_token(path) == (first, pem_path)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["token", "token.server.pem"]
    assert len(first.secret) == 32
    assert server_token(tmp_path / "other")[0].secret != first.secret


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        _, pem_path = server_token(tmp_path / "new" / "token")
    finally:
        os.umask(before)
    assert (mode(tmp_path / "new"), mode(tmp_path / "new" / "token"), mode(pem_path)) == (0o700, 0o600, 0o600)


def test_a_start_cut_off_after_the_key_goes_on_from_there(tmp_path: Path) -> None:
    path = tmp_path / "token"
    first, pem_path = server_token(path)
    key = pem_path.read_bytes()
    path.unlink()
    second, _ = server_token(path)
    assert pem_path.read_bytes() == key
    assert second.fingerprint == first.fingerprint
    assert second.secret != first.secret


def test_a_clients_copy_is_no_servers_token(tmp_path: Path) -> None:
    path = put(tmp_path / "token", TOKEN.encode())
    with pytest.raises(UsageError, match="client's copy") as caught:
        server_token(path)
    assert "--token-file" in one_line(caught.value)
    assert path.read_text() == TOKEN.encode()
    assert not pem_path_of(path).exists()


def test_another_servers_token_over_ours_is_named(tmp_path: Path) -> None:
    path = tmp_path / "token"
    server_token(path)
    put(path, TOKEN.encode())
    with pytest.raises(UsageError, match="another server's token"):
        server_token(path)


@pytest.mark.parametrize("permissions", [0o640, 0o604, 0o644, 0o660, 0o620])
@pytest.mark.parametrize("name", ["token", "token.server.pem"])
def test_a_file_open_to_others_is_refused(tmp_path: Path, permissions: int, name: str) -> None:
    server_token(tmp_path / "token")
    (tmp_path / name).chmod(permissions)
    with pytest.raises(UsageError, match=f"chmod 600 {tmp_path / name}") as caught:
        server_token(tmp_path / "token")
    assert caught.value.status is ExitStatus.USAGE
    one_line(caught.value)


def test_a_clients_file_open_to_others_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "to ken", TOKEN.encode(), 0o644)
    with pytest.raises(UsageError, match=r"chmod 600 '.*/to ken'"):
        client_token(path, {}, "vpn.example")


@pytest.mark.parametrize("garbage", ["", "vpnprobe1:short:ab", "\0" * 100, "vpnprobe2:" + "A" * 43 + ":" + "ab" * 32])
def test_garbage_is_one_line_without_its_content(tmp_path: Path, garbage: str) -> None:
    path = put(tmp_path / "token", garbage)
    with pytest.raises(UsageError) as caught:
        client_token(path, {}, "vpn.example")
    assert caught.value.status is ExitStatus.UNREADABLE
    assert one_line(caught.value).startswith(f"{path} does not hold a token")


def test_a_damaged_certificate_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "token"
    server_token(path)
    put(pem_path_of(path), "garbage")
    with pytest.raises(UsageError, match="does not hold a certificate"):
        server_token(path)


def test_where_a_client_looks_and_in_which_order(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    folder = tmp_path / "vpnprobe"
    names = ["general", "specific", "environ", "option"]
    kinds = {name: Token(name.encode() * 5, f"{place:02x}" * 32) for place, name in enumerate(names)}
    with pytest.raises(CannotRun) as caught:
        client_token(None, environ, "vpn.example")
    assert caught.value.status is ExitStatus.NO_PEER
    assert f"scp -p vpn.example:.config/vpnprobe/token {folder}/token-vpn.example" in one_line(caught.value)
    put(folder / "token", kinds["general"].encode())
    assert client_token(None, environ, "vpn.example") == kinds["general"]
    put(folder / "token-vpn.example", kinds["specific"].encode())
    assert client_token(None, environ, "vpn.example") == kinds["specific"]
    assert client_token(None, environ, "other.example") == kinds["general"]
    environ["VPNPROBE_TOKEN"] = kinds["environ"].encode()
    assert client_token(None, environ, "vpn.example") == kinds["environ"]
    option = put(tmp_path / "option", kinds["option"].encode())
    assert client_token(option, environ, "vpn.example") == kinds["option"]


def test_a_named_file_that_is_missing_is_not_replaced_by_another(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "VPNPROBE_TOKEN": TOKEN.encode()}
    with pytest.raises(CannotRun, match="does not exist") as caught:
        client_token(tmp_path / "missing", environ, "2001:db8::1")
    assert "scp -p '[2001:db8::1]:.config/vpnprobe/token'" in one_line(caught.value)


def test_a_host_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "secret", TOKEN.encode())
    (tmp_path / "vpnprobe" / "token-").mkdir(parents=True)
    with pytest.raises(CannotRun, match="no token"):
        client_token(None, {"XDG_CONFIG_HOME": str(tmp_path)}, "/../../secret")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"XDG_CONFIG_HOME": "/c", "HOME": "/h"}, "/c/vpnprobe/token"),
        ({"HOME": "/h"}, "/h/.config/vpnprobe/token"),
        ({"XDG_CONFIG_HOME": "", "HOME": "/h"}, "/h/.config/vpnprobe/token"),
        ({"XDG_CONFIG_HOME": "relative", "HOME": "/h"}, "/h/.config/vpnprobe/token"),
    ],
)
def test_the_default_place(environ: dict[str, str], expected: str) -> None:
    assert default_token_path(environ) == Path(expected)


def test_a_place_that_cannot_be_written_or_read_is_one_line(tmp_path: Path) -> None:
    in_the_way = put(tmp_path / "file", "")
    with pytest.raises(CannotRun, match="cannot be") as caught:
        server_token(in_the_way / "token")
    one_line(caught.value)
    with pytest.raises(CannotRun, match="cannot be read: Is a directory"):
        read_token(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = os.open

    def open_full(path: Path, flags: int, permissions: int = 0o777) -> int:
        if str(path).endswith(".new"):
            os.close(real_open(path, flags, permissions))
            return real_open("/dev/full", os.O_WRONLY)
        return real_open(path, flags, permissions)

    monkeypatch.setattr(os, "open", open_full)
    with pytest.raises(CannotRun, match="No space left on device"):
        server_token(tmp_path / "token")
    assert list(tmp_path.iterdir()) == []
