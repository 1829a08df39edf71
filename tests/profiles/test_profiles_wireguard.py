"""WireGuard profiles as wg-quick and the providers' files have them, and what is told where one is wrong."""

import sys
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.observations.schema import Transport
from vpnprobe.profiles.errors import ProfileError
from vpnprobe.profiles.wireguard import check_keys, is_wireguard, parse_wireguard, read_wireguard
from vpnprobe.profiles.wireguard_model import WireguardProfile
from vpnprobe.wire.wireguard_noise import key_text, public_key

OWN, THEIRS, SHARED = bytes(range(32)), public_key(bytes(range(1, 33))), bytes(range(2, 34))


INTERFACE = f"[Interface]\nPrivateKey = {key_text(OWN)}\n"
PEER = f"[Peer]\nPublicKey = {key_text(THEIRS)}\nEndpoint = vpn.example.net:51820\n"

PROVIDER = f"""\ufeff# Device: Mild Otter
[Interface]
# Key for the device
PrivateKey = {key_text(OWN)}   # not told to anybody
Address = 10.66.12.7/32,fc00:bbbb:bbbb:bb01::3:c06/128
DNS = 10.64.0.1, corp.example.net

[Peer]
PublicKey = {key_text(THEIRS)}
AllowedIPs = 0.0.0.0/0,::0/0
Endpoint = 192.0.2.7:51820
"""
WG_QUICK = f"""[interface]
privatekey={key_text(OWN)}
Address = 10.8.0.2/24
ADDRESS = fd00:8::2/64
ListenPort = 51821
FwMark = 0x1234
MTU = 1380
Table = off
SaveConfig = false
PreUp = iptables -F
PostUp = iptables -A FORWARD -i %i -j ACCEPT; iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE

[PEER]
PublicKey = {key_text(THEIRS)}
PresharedKey = {key_text(SHARED)}
AllowedIPs = 10.8.0.1/24
AllowedIPs = 192.168.1.0/24, 10.9.0.1,
Endpoint = [2001:db8::7]:443
PersistentKeepalive = 25
[Peer]
PublicKey = {key_text(SHARED)}
PersistentKeepalive = off
AllowedIPs =
[Peer]
PublicKey = {key_text(SHARED)}
Endpoint = second.example.net:53
PersistentKeepalive = off
"""


def parsed(text: str) -> WireguardProfile:
    return parse_wireguard(text, file="wg0.conf")


def refused(text: str) -> ProfileError:
    with pytest.raises(ProfileError) as caught:
        parsed(text)
    assert caught.value.status is ExitStatus.UNREADABLE
    assert "\n" not in str(caught.value)
    return caught.value


class TestWhatIsRead:
    def test_of_a_provider(self, tmp_path: Path) -> None:
        file = tmp_path / "otter.conf"
        file.write_text(PROVIDER.replace("\n", "\r\n"), "utf-8")
        found = read_wireguard(file)
        assert (found.private_key, found.mtu) == (OWN, None)
        assert found.addresses == (ip_interface("10.66.12.7/32"), ip_interface("fc00:bbbb:bbbb:bb01::3:c06/128"))
        assert found.dns == (ip_address("10.64.0.1"),)
        (peer,) = found.peers
        assert (peer.public_key, peer.preshared_key, peer.keepalive_s) == (THEIRS, None, None)
        assert (peer.host, peer.port, peer.family, peer.transport) == ("192.0.2.7", 51820, "4", Transport.UDP)
        assert peer.allowed_ips == (ip_network("0.0.0.0/0"), ip_network("::/0"))
        assert (found.notes, found.unknown, found.obfuscation) == ((), (), ())

    def test_all_that_wg_quick_takes(self) -> None:
        found = parsed(WG_QUICK)
        assert found.addresses == (ip_interface("10.8.0.2/24"), ip_interface("fd00:8::2/64"))
        assert found.mtu == 1380
        first, second = found.peers
        assert (first.preshared_key, first.keepalive_s) == (SHARED, 25)
        assert (first.host, first.port, first.family) == ("2001:db8::7", 443, "6")
        assert first.allowed_ips == tuple(map(ip_network, ("10.8.0.0/24", "192.168.1.0/24", "10.9.0.1/32")))
        assert (second.host, second.port, second.family, second.keepalive_s) == ("second.example.net", 53, "", 0)
        assert not found.unknown
        assert [text.split()[0] for _, text in found.notes] == ["ListenPort", "PreUp", "PostUp", "this"]
        assert "none is run" in found.notes[1].text
        assert "no Endpoint" in found.notes[3].text

    def test_what_is_secret_is_not_shown(self) -> None:
        shown = repr(parsed(WG_QUICK))
        assert key_text(OWN) not in shown
        assert repr(OWN) not in shown
        assert repr(SHARED) not in shown.replace(f"public_key={SHARED!r}", "")

    def test_the_last_of_several_counts(self) -> None:
        assert parsed(INTERFACE + "MTU = 1500\nMTU = 1300\n" + PEER).mtu == 1300

    def test_keys_that_nobody_knows_are_listed(self) -> None:
        (unknown,) = parsed(INTERFACE + "Colour = blue\n" + PEER).unknown
        assert (unknown.line, unknown.option) == (3, "Colour")
        assert "blue" not in unknown.text


class TestAmneziaWg:
    def test_a_key_on_a_line_of_its_own_is_listed_without_it(self) -> None:
        (unknown,) = parsed(INTERFACE + f"{key_text(OWN)}\n" + PEER).unknown
        assert (unknown.option, unknown.text) == ("...", "... = ...")

    def test_many_peers_are_read_in_one_pass(self) -> None:
        assert len(parsed(INTERFACE + PEER * 20_000).peers) == 20_000

    def test_keys_that_change_the_messages(self) -> None:
        found = parsed(INTERFACE + "Jc = 4\nJmin = 40\nJmax = 70\nS1 = 86\nS2 = 0\nH1 = 1\nH2 = 1234567\nI1 = <b 0xf1>\n" + PEER)
        assert found.obfuscation == ("S1", "H2")
        assert not found.unknown
        told = {text.split()[0]: text for _, text in found.notes}
        assert set(told) == {"Jc", "Jmin", "Jmax", "S1", "H2", "I1"}
        assert "not supported" in told["S1"]
        assert "not supported" in told["Jc"]

    def test_their_defaults_change_nothing(self) -> None:
        found = parsed(INTERFACE + "S1 = 0\nS2 = 0\nH1 = 1\nH2 = 2\nH3 = 3\nH4 = 4\n" + PEER)
        assert (found.obfuscation, found.notes) == ((), ())


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("text", "line", "problem"),
        [
            ("", 0, "has no [Interface] section"),
            (PEER, 0, "has no [Interface] section"),
            (INTERFACE, 0, "has no [Peer] section"),
            (INTERFACE + f"[Peer]\nPublicKey = {key_text(THEIRS)}\n", 0, "no peer has an Endpoint"),
            ("[Interface]\n" + PEER, 0, "has no PrivateKey"),
            (INTERFACE + "[Peer]\nEndpoint = a:1\n", 3, "has no PublicKey"),
            ("PrivateKey = x\n" + INTERFACE + PEER, 1, "stands before any section"),
            (INTERFACE + "[connection]\n" + PEER, 3, "[connection] is no section"),
            (INTERFACE + "whatever this is\n" + PEER, 3, "'whatever' is no line of the form Key = Value"),
            (INTERFACE + "Endpoint = a:1\n" + PEER, 3, "Endpoint belongs into [Peer]"),
            (INTERFACE + PEER + "MTU = 1400\n", 6, "MTU belongs into [Interface]"),
            (INTERFACE + "MTU = large\n" + PEER, 3, "MTU 'large' is no number"),
            (INTERFACE + "MTU = 70000\n" + PEER, 3, "MTU '70000' is no number"),
            (INTERFACE + "Address = 10.8.0.2/99\n" + PEER, 3, "Address '10.8.0.2/99' is no address"),
            (INTERFACE + PEER + "AllowedIPs = 10.0.0.0/8, everything\n", 6, "AllowedIPs 'everything' is no network"),
            (INTERFACE + PEER + "PersistentKeepalive = often\n", 6, "PersistentKeepalive 'often' is no number"),
            (INTERFACE + PEER + "PublicKey = \n", 6, "PublicKey is no base64"),
            (INTERFACE + PEER + f"PublicKey = {key_text(THEIRS)[:-1]}\n", 6, "PublicKey is no base64"),
            (INTERFACE + PEER + f"PublicKey = {'A' * 42}B=\n", 6, "PublicKey is no base64"),  # wg takes no bits behind the last byte.
            (INTERFACE + PEER + f"PublicKey = {key_text(THEIRS[:-2])}\n", 6, "PublicKey is 30 bytes, not 32"),
            (INTERFACE + PEER + f"PresharedKey = {key_text(THEIRS + b'!')}\n", 6, "PresharedKey is 33 bytes, not 32"),
            (INTERFACE + "\0\n" + PEER, 3, "NUL byte"),
            *(
                (INTERFACE + PEER + f"Endpoint = {wrong}\n", 6, f"Endpoint {wrong!r} is no HOST:PORT")
                for wrong in ("", "host", ":51820", "host:0", "host:65536", "host:port", "2001:db8::1:51820", "[host]:51820", "[]:1")
            ),
        ],
    )
    def test_one_line_says_where_and_what(self, text: str, line: int, problem: str) -> None:
        error = refused(text)
        assert (error.line, problem in error.problem) == (line, True)

    def test_a_private_key_is_never_shown(self) -> None:
        secret = key_text(OWN)[:-4]
        assert secret not in str(refused(f"[Interface]\nPrivateKey = {secret}\n" + PEER))
        assert secret not in str(refused(f"[Interface]\nPrivateKey {secret}\n" + PEER))

    @pytest.mark.parametrize(
        "text",
        [
            key_text(OWN) + "\n" + INTERFACE + PEER,
            INTERFACE + PEER + f"Endpoint = {key_text(OWN)}\n",
            INTERFACE + PEER + f"AllowedIPs = {key_text(OWN)}\n",
            INTERFACE + f"Address = {key_text(OWN)}\n" + PEER,
            INTERFACE + f"MTU = 1420 PrivateKey = {key_text(OWN)}\n" + PEER,
            INTERFACE + f"[{key_text(OWN)}]\n" + PEER,
            INTERFACE + f"{key_text(OWN)[:-1]}\n" + PEER,
        ],
        ids=["first line", "endpoint", "networks", "address", "joined lines", "section", "no value"],
    )
    def test_a_key_where_none_belongs_is_not_shown(self, text: str) -> None:
        error = str(refused(text))
        assert key_text(OWN)[:12] not in error
        assert "..." in error

    def test_what_is_wrong_is_shown_up_to_a_length(self) -> None:
        assert len(str(refused(INTERFACE + PEER + f"Endpoint = {'a.' * 100_000}\n"))) < 400

    def test_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(ProfileError, match="cannot be read"):
            read_wireguard(tmp_path / "none.conf")

    def test_keys_that_no_handshake_can_begin_with(self) -> None:
        own, nothing = (
            INTERFACE + PEER.replace(key_text(THEIRS), key_text(public_key(OWN))),
            PEER.replace(key_text(THEIRS), key_text(bytes(32))),
        )
        with pytest.raises(ProfileError, match=r"line 3: PublicKey is this profile's own"):
            check_keys(parsed(own))
        with pytest.raises(ProfileError, match=r"line 3: PublicKey is no key that a secret can be agreed with"):
            check_keys(parsed(INTERFACE + nothing))
        check_keys(parsed(INTERFACE + PEER))


class TestWhatItIs:
    @pytest.mark.parametrize("text", [PROVIDER, WG_QUICK, INTERFACE, "\n\n  [ Interface ] \n", "[connection]\n"])
    def test_sections_are_of_wireguard(self, text: str) -> None:
        assert is_wireguard(text.removeprefix("\ufeff"))

    @pytest.mark.parametrize("text", ["", "# [Interface]\n", "client\nremote a 1194\n[Interface]\n", "<ca>\n", "remote [::1] 1194\n"])
    def test_others_are_not(self, text: str) -> None:
        assert not is_wireguard(text)


PARTS = st.sampled_from(
    [*INTERFACE.splitlines(), *PEER.splitlines(), *WG_QUICK.splitlines(), "[", "=", "[Peer", "Jc", "S1=1", "\0", "\udc80"]
)


@given(st.lists(st.one_of(PARTS, st.text(max_size=40)), max_size=25))
def test_any_text_gives_a_profile_or_one_line(lines: list[str]) -> None:
    try:
        found = parsed("\n".join(lines))
    except ProfileError as error:
        assert "\n" not in str(error)
        str(error).encode("utf-8")
    else:
        assert found.peers
        assert all(0 < peer.port < 65536 and peer.host for peer in found.peers)


def test_what_a_handshake_or_a_cookie_takes_is_asked_for_before_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = parse_wireguard(INTERFACE + PEER, file="wg0.conf")
    check_keys(profile)
    for module in ("Crypto.Cipher.ChaCha20_Poly1305", "Cryptodome.Cipher.ChaCha20_Poly1305"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(CannotRun, match="pip install pycryptodome") as caught:
        check_keys(profile)
    assert caught.value.status is ExitStatus.MISSING
