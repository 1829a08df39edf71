"""Trials of existing OpenVPN servers with a profile: how far each gets, and the name of what stops it."""

import asyncio
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from profile_test_support import (
    PORT,
    ChoosyServer,
    Servers,
    Setting,
    SilentServer,
    TellingServer,
    nobody,
    profile,
    profile_wrapping,
    remote,
    server_over_tcp,
    server_over_udp,
    session_keys,
    tried,
)

from vpnprobe.conversations.openvpn_ends import Server
from vpnprobe.conversations.openvpn_session import Negotiation, Wrapping
from vpnprobe.conversations.openvpn_session_keys import make_session_keys
from vpnprobe.conversations.openvpn_tls import server_context
from vpnprobe.observations.schema import Transport
from vpnprobe.probes.existing_server import ECHOES, MOST_REMOTES, form_of
from vpnprobe.probes.openvpn_profile_test import ProfileTest
from vpnprobe.profiles.accounts import Told
from vpnprobe.profiles.errors import ProfileError
from vpnprobe.profiles.model import NameType, Note, Profile, ServerChecks
from vpnprobe.profiles.model import Wrapping as ProfileWrapping
from vpnprobe.transports.simulated import SimulatedNetwork
from vpnprobe.transports.stack import Datagram, TcpStream, UdpPort
from vpnprobe.transports.topology import Action, Filter, Topology
from vpnprobe.wire.openvpn import Opcode
from vpnprobe.wire.openvpn_keys import KeyDirection
from vpnprobe.wire.openvpn_messages import PushReply
from vpnprobe.wire.openvpn_wrap import Wrap

UDP, TCP = Transport.UDP, Transport.TCP
OVER = {UDP: server_over_udp, TCP: server_over_tcp}
UP = {
    "reset-profile-{}-both": "pass",
    "handshake-profile-{}-both": "pass",
    "data-profile-{}-c2s": "pass",
    "data-profile-{}-s2c": "pass",
}


def of(outcomes: dict[str, str], transport: Transport) -> dict[str, str]:
    return {name.format(f"{transport}-{PORT}"): outcome for name, outcome in outcomes.items()}


def server_wrapping(kind: Wrap) -> Wrapping:
    return session_keys().server.wrapping(kind)


class TestWholeSessions:
    @pytest.mark.parametrize("transport", [UDP, TCP])
    @pytest.mark.parametrize("wrap", list(Wrap))
    def test_in_each_wrap(self, transport: Transport, wrap: Wrap) -> None:
        used = profile(remote(transport, wrapping=profile_wrapping(wrap)))
        found = tried(OVER[transport], used, wrapping=server_wrapping(wrap))
        assert found.codes == []
        assert found.outcomes == of(UP, transport)
        assert found.begun == 1

    def test_what_was_agreed_on_is_told(self) -> None:
        (named,) = tried(server_over_udp).named
        assert named.check.name == "handshake"
        assert named.facts["cipher"] == "AES-256-GCM"
        assert named.facts["tls"] == "TLSv1.3"
        assert 0 < float(named.facts["first_data_ms"]) < 1000

    def test_rows_are_those_of_the_profile(self) -> None:
        rows = tried(server_over_udp).rows
        assert {row.detail["profile"] for row in rows.values()} == {True}
        assert rows["openvpn-handshake-profile-udp-1194-both"].detail["cipher"] == "AES-256-GCM"

    def test_the_whole_run_of_echoes(self) -> None:
        found = tried(server_over_udp, echoes=ECHOES)
        assert found.rows["openvpn-data-profile-udp-1194-c2s"].received == ECHOES
        assert found.seconds < 2

    def test_several_remotes_have_rows_of_their_own(self) -> None:
        async def both(_: SimulatedNetwork, servers: Servers) -> None:
            await servers.over_udp()
            await servers.over_tcp()

        found = tried(both, profile(remote(UDP), remote(TCP), remote(UDP, port=443)))
        assert found.codes == [("reset", "port-refused")]
        assert found.outcomes["data-profile-udp-1194-c2s"] == "pass"
        assert found.outcomes["data-profile-2-tcp-1194-c2s"] == "pass"
        assert found.outcomes["data-profile-3-udp-443-c2s"] == "skipped"
        assert {row.detail.get("remote") for row in found.rows.values()} == {None, "2", "3"}

    def test_no_more_than_so_many_remotes(self) -> None:
        found = tried(server_over_udp, profile(*[remote()] * (MOST_REMOTES + 3)), echoes=3)
        assert found.begun == MOST_REMOTES

    def test_forms_begin_without_a_number(self) -> None:
        assert [form_of(number) for number in range(3)] == ["profile", "profile-2", "profile-3"]

    def test_a_server_elsewhere_than_the_peer(self) -> None:
        """The first IPv4 address counts; nobody is there."""
        found = tried(server_over_udp, addresses=[IPv6Address("2001:db8::1"), IPv4Address("10.78.0.99")])
        assert found.codes == [("reset", "silent")]
        assert found.begun == 0


def test_secrets_are_not_shown() -> None:
    async def resolve(host: str, family: str) -> tuple[()]:
        return ()

    shown = repr(ProfileTest(profile(), resolve, "alice", "geheim", "passphrase-1"))
    assert "geheim" not in shown
    assert "passphrase-1" not in shown
    assert "PRIVATE KEY" not in shown


def test_a_profile_that_cannot_be_used_is_said_before_anything_is_sent() -> None:
    used = profile()
    with pytest.raises(ProfileError, match=r"^some\.ovpn: certificate or key cannot be used"):
        tried(server_over_udp, replace(used, tls=replace(used.tls, key=b"no key")))


class TestNames:
    def test_a_name_with_addresses_of_the_other_family_is_not_blamed(self) -> None:
        found = tried(nobody, addresses=[IPv6Address("2001:db8::1")])
        assert found.codes == []
        assert set(found.outcomes.values()) == {"skipped"}
        assert "IPv6 addresses only" in found.rows["openvpn-reset-profile-udp-1194-both"].detail["reason"]

    def test_a_name_without_an_address(self) -> None:
        found = tried(nobody, addresses=[])
        assert found.codes == [("reset", "name-not-resolved")]
        assert found.said == "vpn.example.net"
        assert set(found.outcomes.values()) == {"skipped"}
        assert len(found.outcomes) == 4
        row = found.rows["openvpn-reset-profile-udp-1194-both"]
        assert row.detail["reason"] == "the session did not get so far: name-not-resolved"
        assert row.detail["failure"] == "name-not-resolved"


def test_a_second_factor_is_named_and_no_login_is_tried() -> None:
    found = tried(server_over_udp, replace(profile(), unsupported=(Note(3, "static-challenge: no"),)))
    assert found.codes == [("reset", "not-supported")]
    assert set(found.outcomes.values()) == {"skipped"}
    assert found.rows["openvpn-reset-profile-udp-1194-both"].detail["said"] == "static-challenge: no"


class TestNobodyThere:
    @pytest.mark.parametrize("transport", [UDP, TCP])
    def test_the_port_is_refused(self, transport: Transport) -> None:
        found = tried(nobody, profile(remote(transport)))
        assert found.codes == [("reset", "port-refused")]
        row = found.rows[f"openvpn-reset-profile-{transport}-1194-both"]
        assert row.detail["failure"] == "port-refused"
        # Over TCP no reset was ever sent.
        assert row.outcome.value == ("refused" if transport is UDP else "skipped")

    def test_an_address_that_is_silent_is_not_told_for_one_that_refuses(self) -> None:
        """Of several, the last is told about."""
        found = tried(nobody, addresses=[Topology().server_address, IPv4Address("10.78.0.99")])
        assert found.codes == [("reset", "silent")]

    def test_nothing_is_answered(self) -> None:
        async def deaf(_: SimulatedNetwork, servers: Servers) -> None:
            await servers.stack.udp(lambda datagram: None, port=PORT)

        found = tried(deaf)
        assert found.codes == [("reset", "silent")]
        assert found.outcomes["reset-profile-udp-1194-both"] == "no-answer"
        assert found.outcomes["data-profile-udp-1194-s2c"] == "skipped"
        assert 4 <= found.seconds < 6

    def test_no_connection_comes_up(self) -> None:
        found = tried(server_over_tcp, profile(remote(TCP)), topology=Topology(filters=(Filter("r2", protocol=6),)))
        assert found.codes == [("reset", "unreachable")]

    def test_a_filter_that_rejects(self) -> None:
        found = tried(server_over_tcp, profile(remote(TCP)), topology=Topology(filters=(Filter("r2", Action.REJECT_RST, protocol=6),)))
        assert found.codes == [("reset", "port-refused")]

    def test_the_connection_is_closed_at_once(self) -> None:
        found = tried(_closing(b""), profile(remote(TCP)))
        assert found.codes == [("reset", "closed-at-once")]

    @pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n"])
    def test_what_answers_is_no_openvpn(self, said: bytes) -> None:
        found = tried(_closing(said), profile(remote(TCP)))
        assert found.codes == [("reset", "not-openvpn")]

    def test_what_answers_over_udp_is_none(self) -> None:
        async def dns(_: SimulatedNetwork, servers: Servers) -> None:
            def came(datagram: Datagram) -> None:
                port.send(b"\x00\x01\x81\x82" + bytes(8), datagram.source)

            port: UdpPort = await servers.stack.udp(came, port=PORT)

        assert tried(dns).codes == [("reset", "not-openvpn")]


def _closing(said: bytes) -> Setting:
    """A server that waits for the first bytes, says this, and closes."""

    async def setting(_: SimulatedNetwork, servers: Servers) -> None:
        async def serve(stream: TcpStream) -> None:
            await stream.receive()
            if said:
                await stream.send(said)
            await stream.close()

        def connected(stream: TcpStream) -> None:
            kept.append(asyncio.get_running_loop().create_task(serve(stream)))

        kept: list[asyncio.Task[None]] = []
        await servers.stack.listen(connected, port=PORT)

    return setting


def tls_auth(direction: KeyDirection = KeyDirection.BIDIRECTIONAL) -> ProfileWrapping:
    return ProfileWrapping(Wrap.TLS_AUTH, session_keys().server.tls_crypt, direction)


class TestCloserLooks:
    @pytest.mark.parametrize("transport", [UDP, TCP])
    @pytest.mark.parametrize(
        ("server", "said"),
        [
            ({}, "the server answers without tls-auth: take tls-auth out of the profile"),
            (
                {"direction": KeyDirection.NORMAL, "digest": "SHA256"},
                "the server answers with key-direction 1 and auth SHA256: write that into the profile",
            ),
            ({"digest": "SHA512"}, "the server answers with no key-direction and auth SHA512: write that into the profile"),
        ],
        ids=["plain", "direction-digest", "digest"],
    )
    def test_another_wrap_is_found(self, transport: Transport, server: dict[str, str | KeyDirection], said: str) -> None:
        base = server_wrapping(Wrap.TLS_AUTH if server else Wrap.NONE)
        found = tried(OVER[transport], profile(remote(transport, wrapping=tls_auth())), wrapping=_with(base, server))
        assert found.codes == [("reset", "wrong-wrap")]
        assert found.said == said

    @pytest.mark.parametrize("transport", [UDP, TCP])
    def test_a_server_that_wraps_nothing_is_found_whatever_the_profile_wraps_in(self, transport: Transport) -> None:
        used = profile(remote(transport, wrapping=ProfileWrapping(Wrap.TLS_CRYPT, session_keys().server.tls_crypt)))
        found = tried(OVER[transport], used)
        assert found.codes == [("reset", "wrong-wrap")]
        assert found.said == "the server answers without tls-crypt: take tls-crypt out of the profile"

    @pytest.mark.parametrize(("refused", "code"), [((), "not-supported"), ((Note(4, "no such digest"),), "profile-refused")])
    def test_a_digest_that_is_not_to_be_had(self, refused: tuple[Note, ...], code: str) -> None:
        found = tried(server_over_udp, replace(profile(remote(wrapping=tls_auth())), auth="SHA-3000", refused=refused))
        assert found.codes == [("reset", code)]
        assert found.begun == 0

    def test_a_key_that_does_not_fit_at_all_stays_silent(self) -> None:
        other = make_session_keys(lambda count: bytes(range(7, 7 + 1)) * count).server.tls_crypt
        used = profile(remote(wrapping=ProfileWrapping(Wrap.TLS_AUTH, other)))
        found = tried(server_over_udp, used, wrapping=server_wrapping(Wrap.TLS_AUTH))
        assert found.codes == [("reset", "silent")]

    def test_a_look_aside_counts_for_none_of_the_profiles_checks(self) -> None:
        found = tried(server_over_udp, profile(remote(wrapping=tls_auth())))
        row = found.rows["openvpn-reset-profile-udp-1194-both"]
        assert (row.outcome.value, row.received) == ("no-answer", None)

    def test_a_limit_of_the_tls_version_that_is_in_the_way(self) -> None:
        """Some servers say nothing of the versions that they refuse."""
        limited = replace(profile(), checks=ServerChecks(tls_version_max="1.2"))
        found = tried(server_over_udp, limited, loses=_answers_to_tls_1_2)
        assert found.codes == [("handshake", "tls-version")]
        assert found.said == "the profile allows TLS 1.2 at most, and without that limit it begins"

    def test_an_outage_of_a_moment_is_not_blamed_on_a_limit(self) -> None:
        """The first session's TLS is not answered, and that of the others is, the same limits or not."""
        limited = replace(profile(), checks=ServerChecks(tls_version_max="1.2"))
        clients: list[bytes] = []

        def away(data: bytes, inward: bool) -> bool:
            if inward and data[1:9] not in clients:
                clients.append(data[1:9])
            return inward and data[0] >> 3 == Opcode.CONTROL_V1 and data[1:9] == clients[0]

        found = tried(server_over_udp, limited, loses=away)
        assert found.codes == [("handshake", "tls-silent")]

    def test_no_limit_no_blame(self) -> None:
        found = tried(server_over_udp, loses=lambda data, inward: data[0] >> 3 == 4)
        assert found.codes == [("handshake", "tls-silent")]

    def test_a_limit_that_is_not_in_the_way(self) -> None:
        limited = replace(profile(), checks=ServerChecks(tls_version_max="1.2"))
        found = tried(server_over_udp, limited, loses=lambda data, inward: data[0] >> 3 == 4)
        assert found.codes == [("handshake", "tls-silent")]

    @pytest.mark.parametrize("aborts", [False, True])
    def test_a_server_that_closes_in_the_middle_did_not_answer_the_last_step(self, aborts: bool) -> None:
        found = tried(_closing_after_reset(aborts), profile(remote(TCP)))
        assert found.codes == [("handshake", "tls-silent")]
        assert found.said == "the server closed the connection"
        assert found.outcomes["reset-profile-tcp-1194-both"] == "pass"

    @pytest.mark.parametrize(
        ("transport", "username", "code"),
        [(UDP, "", "credentials-wanted"), (UDP, "alice", "keys-unanswered"), (TCP, "", "credentials-wanted")],
    )
    def test_keys_that_are_not_answered(self, transport: Transport, username: str, code: str) -> None:
        """The certificate is known to have been taken: its packets were acknowledged."""
        found = tried(OVER[transport], _issued_by_all(profile(remote(transport))), kind=SilentServer, username=username)
        assert found.codes == [("handshake", code)]

    def test_a_check_of_the_password_that_hangs_is_not_blamed_on_a_certificate(self) -> None:
        """`verify-client-cert none`, a name and password, and a plug-in that does not come back."""
        used = profile()
        used = replace(used, tls=replace(used.tls, cert=None, key=None))
        found = tried(server_over_udp, used, kind=HangingServer, username="alice")
        assert found.codes == [("handshake", "keys-unanswered")]
        assert found.said == "the server took TLS to its end: what checks the user name and password there may hang"

    @pytest.mark.parametrize("username", ["", "alice"])
    def test_a_certificate_of_another_authority_is_a_suspicion(self, username: str) -> None:
        """A server of 2.6 that refuses a certificate says nothing and acknowledges nothing, as one behind an outage."""
        found = tried(server_over_udp, username=username, loses=_loses_what_follows_the_hello)
        assert found.codes == [("handshake", "keys-unanswered")]
        words = "the client's certificate was not issued by the authority in the profile: a server that minds falls silent"
        assert found.said == words

    def test_a_certificate_that_was_taken_is_no_suspicion(self) -> None:
        found = tried(server_over_udp, kind=SilentServer, username="alice")
        assert found.codes == [("handshake", "keys-unanswered")]
        assert "certificate" not in found.said


class HangingServer(SilentServer):
    """A server that wants no certificate of clients, and never comes to an end with its check of the password."""

    def __init__(self, **given: Any) -> None:
        context = server_context(session_keys().server.identity, clients_pem=None)
        super().__init__(**{**given, "context": context})


def _loses_what_follows_the_hello(data: bytes, inward: bool) -> bool:
    """What the client says in TLS behind its first packet (P_CONTROL_V1, not wrapped)."""
    acks = data[9]
    place = 10 + (4 * acks + 8 if acks else 0)
    return inward and data[0] >> 3 == Opcode.CONTROL_V1 and int.from_bytes(data[place : place + 4]) > 1


def _issued_by_all(used: Profile) -> Profile:
    """The client's certificate, which it issued itself, is among its authorities."""
    assert used.tls.ca is not None
    assert used.tls.cert is not None
    return replace(used, tls=replace(used.tls, ca=used.tls.ca + used.tls.cert))


def _with(base: Wrapping, changes: dict[str, str | KeyDirection]) -> Wrapping:
    direction, digest = changes.get("direction", KeyDirection.BIDIRECTIONAL), changes.get("digest", "SHA1")
    assert isinstance(direction, KeyDirection)
    assert isinstance(digest, str)
    return replace(base, direction=direction, digest=digest)


def _closing_after_reset(aborts: bool) -> Setting:
    """A server that answers the reset alone, and then closes, or resets the connection."""

    async def setting(_: SimulatedNetwork, servers: Servers) -> None:
        async def serve(stream: TcpStream) -> None:
            server = servers.server(stream=True)
            server.receive(await stream.receive(), servers.stack.now())
            for data in server.data_to_send(servers.stack.now()):
                await stream.send(data)
            await stream.receive()
            if aborts:
                stream.abort()
            else:
                await stream.close()

        kept: list[asyncio.Task[None]] = []
        await servers.stack.listen(lambda stream: kept.append(asyncio.get_running_loop().create_task(serve(stream))), port=PORT)

    return setting


TLS_1_3_OFFERED = b"\x00\x2b\x00"
"""The extension supported_versions (RFC 8446 section 4.2.1), which a client of 1.2 at most does not send."""


def _answers_to_tls_1_2(data: bytes, inward: bool) -> bool:
    """What takes a ClientHello that does not offer TLS 1.3."""
    return inward and b"\x16\x03\x01" in data[:40] and TLS_1_3_OFFERED not in data


class TestRefusals:
    @pytest.mark.parametrize("transport", [UDP, TCP])
    @pytest.mark.parametrize(
        ("username", "password", "codes"),
        [
            ("alice", "sesame", []),
            ("alice", "open", [("handshake", "credentials-refused")]),
            ("", "", [("handshake", "session-refused")]),
        ],
    )
    def test_user_names_and_passwords(self, transport: Transport, username: str, password: str, codes: list[tuple[str, str]]) -> None:
        found = tried(OVER[transport], profile(remote(transport)), kind=ChoosyServer, username=username, password=password)
        assert found.codes == codes
        handshake = found.outcomes[f"handshake-profile-{transport}-1194-both"]
        assert handshake == ("refused" if codes else "pass")
        assert found.outcomes[f"data-profile-{transport}-1194-c2s"] == ("skipped" if codes else "pass")

    @pytest.mark.parametrize(("password", "said"), [("sesame street", "no alice / [left out]"), ("", "no [left out] / ")])
    def test_what_the_server_says_again_of_a_login_is_left_out(self, password: str, said: str) -> None:
        found = tried(server_over_udp, profile(), kind=TellingServer, username="alice", password=password)
        row = next(o for o in found.rows.values() if o.detail.get("failure") == "credentials-refused")
        assert row.detail["said"] == said

    @pytest.mark.parametrize(
        ("checks", "code"),
        [
            (ServerChecks(x509_name="Other", x509_name_type=NameType.NAME), "certificate-wrong-name"),
            (ServerChecks(certificate_type="server"), "certificate-wrong-purpose"),
            (ServerChecks(fingerprints=(bytes(32),)), "certificate-wrong-fingerprint"),
            (ServerChecks(x509_name="vpnprobe server", x509_name_type=NameType.NAME), ""),
        ],
    )
    def test_checks_of_the_servers_certificate(self, checks: ServerChecks, code: str) -> None:
        found = tried(server_over_udp, replace(profile(), checks=checks))
        assert found.codes == ([("handshake", code)] if code else [])

    def test_an_authority_that_did_not_issue_it(self) -> None:
        used = profile()
        found = tried(server_over_udp, replace(used, tls=replace(used.tls, ca=used.tls.cert)))
        assert found.codes == [("handshake", "certificate-wrong-ca")]

    def test_a_client_without_a_certificate(self) -> None:
        """In TLS 1.3 the server's refusal comes when the client is up already."""
        used = profile()
        found = tried(server_over_udp, replace(used, tls=replace(used.tls, cert=None, key=None)))
        ((check, code),) = found.codes
        assert (check, code) == ("handshake", "client-certificate-refused")


class PushingServer(Server):
    """A server that pushes what a client of 2.6 refuses."""

    def _push(self, negotiation: Negotiation) -> None:
        assert negotiation.tls is not None
        options = ("route-gateway 10.255.238.1", "ifconfig 10.255.238.2 255.255.255.0", f"cipher {self.cipher}", "comp-lzo yes")
        negotiation.tls.write(PushReply(options).encode())
        self._pushed = True


class TestOptions:
    def test_a_profile_that_openvpn_does_not_start_with_fails_though_the_server_works(self) -> None:
        found = tried(server_over_udp, replace(profile(), refused=(Note(4, "keysize was removed"),)))
        assert found.codes == [("reset", "profile-refused")]
        assert found.said == "line 4: keysize was removed"
        assert found.outcomes == of({**UP, "reset-profile-{}-both": "refused"}, UDP)

    def test_lists_of_which_the_library_knows_nothing(self) -> None:
        found = tried(server_over_udp, replace(profile(), checks=ServerChecks(tls_cipher=("FOO",))))
        assert found.codes == [("reset", "profile-refused")]
        assert found.begun == 0

    def test_a_framing_that_the_server_does_not_have(self) -> None:
        used = profile()
        found = tried(server_over_udp, replace(used, data=replace(used.data, framing="comp-lzo")))
        assert found.codes == [("data", "settings-differ")]
        assert found.said == "the profile has `comp-lzo` and the server has no compression"
        assert found.seconds < 6

    def test_a_push_that_the_client_refuses(self) -> None:
        found = tried(server_over_udp, kind=PushingServer)
        assert found.codes == [("handshake", "push-refused")]
        assert found.rows["openvpn-handshake-profile-udp-1194-both"].detail["by"] == "client"

    def test_a_certificate_that_is_refused_is_told_whole(self) -> None:
        found = tried(server_over_udp, replace(profile(), checks=ServerChecks(x509_name="other", x509_name_type=NameType.NAME)))
        row = found.rows["openvpn-handshake-profile-udp-1194-both"]
        assert (row.outcome, row.detail["by"], row.detail["certificate_name"]) == ("refused", "client", "CN=vpnprobe server")
        assert row.detail["certificate_from"] == "1970-01-02"

    def test_a_name_with_random_characters_in_front(self) -> None:
        assert tried(server_over_udp, replace(profile(), random_hostname=True)).codes == []

    def test_what_the_document_says_of_it(self) -> None:
        used = replace(profile(), told=(Told(5, "mssfix", "is about sizes"),), refused=(Note(0, "no"),), export="Pritunl")
        about = ProfileTest(used, resolve=nobody_resolves).about()
        assert about["not_applied"] == [{"line": 5, "option": "mssfix", "meaning": "is about sizes"}]
        assert (about["refused"], about["export"], about["notes"]) == (["no"], "Pritunl", [])


async def nobody_resolves(host: str, family: str) -> tuple[()]:
    return ()
