"""Names for what a session with an existing server shows: of its data, of the client's own certificate, of a wrap that fits."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from vpnprobe.conversations.openvpn_ends import Client, ClientOffer
from vpnprobe.conversations.openvpn_session import Wrapping
from vpnprobe.conversations.openvpn_tls import client_context
from vpnprobe.conversations.tunnel_echo import Request
from vpnprobe.probes.openvpn_findings import certificate_suspicion, data_failure, suspicion_of_silence, told_of
from vpnprobe.probes.tunnel_findings import LEAST_AFTER, LEAST_LARGE
from vpnprobe.profiles.model import Profile, TlsMaterial
from vpnprobe.profiles.model import Wrapping as ProfileWrapping
from vpnprobe.provisioning.certificates import (
    CertificateContent,
    Issuer,
    KeyAlgorithm,
    KeyPurpose,
    build_certificate,
    certificate_pem,
    make_key,
)
from vpnprobe.wire.openvpn_data import Compression
from vpnprobe.wire.openvpn_keys import KeyDirection
from vpnprobe.wire.openvpn_messages import PushReply
from vpnprobe.wire.openvpn_wrap import Wrap

Echoes = Sequence[tuple[int, bool]]
"""Outer bytes, and whether it was answered."""


def client(echoes: Echoes, *, stream: bool = False) -> Client:
    """A client whose echo requests went so."""
    made = Client(
        session_id=b"clientid",
        stream=stream,
        wrapping=Wrapping(),
        context=client_context(ca_pem=None, identity=None),
        entropy=random.Random(1).randbytes,
        unix_time_at_zero=0.0,
        offer=ClientOffer(echoes=len(echoes)),
    )
    made.push = PushReply(("route-gateway 10.8.0.1",))
    for number, (size, answered) in enumerate(echoes):
        made.run.requests[number] = Request(size, float(number), number, number + 0.5 if answered else None)
    return made


def of(*runs: tuple[int, int, bool]) -> list[tuple[int, bool]]:
    """So many requests of this size, answered or not, one run after another."""
    return [(size, answered) for count, size, answered in runs for _ in range(count)]


def failed(echoes: Echoes, *, stream: bool = False) -> tuple[str, str] | None:
    found = data_failure(client(echoes, stream=stream))
    return (found.code, found.detail) if found is not None else None


class TestData:
    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("echoes", [[], of((20, 128, True)), of((1, 1492, True))])
    def test_nobody_to_ask_or_all_answered(self, echoes: Echoes, stream: bool) -> None:
        assert failed(echoes, stream=stream) is None

    @pytest.mark.parametrize("stream", [False, True])
    def test_dead(self, stream: bool) -> None:
        assert failed(of((12, 128, False)), stream=stream) == ("data-dead", "none of 12 echo requests to 10.8.0.1 was answered")

    def test_dead_though_the_keep_alive_comes(self) -> None:
        one = client(of((12, 128, False)))
        one.pings_received = 1
        found = data_failure(one)
        assert found is not None
        assert found.detail == "none of 12 echo requests to 10.8.0.1 was answered, though the server's own keep-alive comes"

    @pytest.mark.parametrize(
        ("seen", "code"),
        [
            (None, "settings-differ"),
            ((Compression.LZO_NO, False), "settings-differ"),
            ((Compression.STUB_V2, False), "data-unanswered"),
            ((Compression.NONE, False), "data-unanswered"),
        ],
    )
    def test_a_server_whose_framing_shows_is_not_judged_by_its_words(self, seen: tuple[Compression, bool] | None, code: str) -> None:
        """`compress stub-v2` says comp-lzo in the options string, and leaves IPv4 packets as they are."""
        one = client(of((12, 128, False)))
        one.server_options = {"dev-type": "tun", "comp-lzo": ""}
        one.framing_seen, one.options_replies = seen, 1
        found = data_failure(one)
        assert found is not None
        assert found.code == code

    def test_another_difference_stands_though_the_framing_is_alike(self) -> None:
        one = client(of((12, 128, False)))
        one.server_options = {"dev-type": "tap", "comp-lzo": ""}
        one.framing_seen, one.options_replies = (Compression.NONE, False), 1
        found = data_failure(one)
        assert found is not None
        assert found.detail == "the profile has `dev tun` and the server `dev tap`"

    def test_closed_by_the_peer(self) -> None:
        one = client(of((3, 128, True), (4, 128, False)), stream=True)
        one.peer_closed = True
        found = data_failure(one)
        assert found is not None
        assert (found.code, found.detail) == ("closed-by-peer", "after 3 echo requests were answered")

    def test_one_that_closes_when_all_was_answered_did_no_harm(self) -> None:
        one = client(of((3, 128, True)), stream=True)
        one.peer_closed = True
        assert data_failure(one) is None

    def test_closed_between_two_echoes(self) -> None:
        one = client(of((3, 128, True)), stream=True)
        one.run.count, one.peer_closed = 10, True
        found = data_failure(one)
        assert found is not None
        assert (found.code, found.detail) == ("closed-by-peer", "after 3 echo requests were answered")

    def test_large_ones_vanish(self) -> None:
        turns = [(size, size <= 1200) for size in (128, 576, 1200, 1400, 1492)] * 4
        assert failed(turns) == ("data-large-dead", "packets of 1400 bytes and more vanish, 1200 bytes pass")

    @pytest.mark.parametrize(("missing", "blamed"), [(LEAST_LARGE - 1, False), (LEAST_LARGE, True)])
    def test_a_few_large_ones_are_no_size(self, missing: int, blamed: bool) -> None:
        found = failed([*of((9, 128, True)), *of((missing, 1400, False)), (128, True)])
        assert (found is not None and found[0] == "data-large-dead") is blamed

    def test_one_large_one_that_came_shows_that_size_is_not_it(self) -> None:
        assert failed([(1492, True), *of((6, 1400, False)), *of((3, 128, True))]) is None

    def test_small_ones_that_are_lost_by_chance_leave_the_size_blamed_over_udp(self) -> None:
        turns = [(size, size <= 1200) for size in (128, 576, 1200, 1400, 1492)] * 4
        turns[0] = (128, False)
        assert failed(turns) == ("data-large-dead", "packets of 1400 bytes and more vanish, 1200 bytes pass")

    def test_over_tcp_a_large_one_that_is_lost_stops_all_behind_it(self) -> None:
        found = failed([*of((2, 128, True)), (1400, False), *of((12, 128, False)), *of((4, 1400, False))], stream=True)
        assert found == ("data-large-dead", "a packet of 1400 bytes stops the connection, 128 pass")

    def test_over_tcp_large_ones_alone_may_be_what_an_end_does_not_answer(self) -> None:
        turns = [(size, size < 1400) for size in (128, 576, 1400)] * 4
        assert failed(turns, stream=True) == ("data-large-dead", "packets of 1400 bytes and more vanish, 576 bytes pass")

    @pytest.mark.parametrize("stream", [False, True])
    def test_cut(self, stream: bool) -> None:
        found = failed(of((30, 128, True), (LEAST_AFTER, 128, False)), stream=stream)
        assert found == ("data-cut", f"30 echo requests were answered, and none of the {LEAST_AFTER} that followed")

    def test_a_cut_between_sizes(self) -> None:
        turns = [(size, number < 17) for number, size in enumerate((128, 576, 1200, 1400) * 10)]
        assert failed(turns) == ("data-cut", "17 echo requests were answered, and none of the 23 that followed")

    def test_a_cut_before_a_large_one_ever_came_is_no_matter_of_size(self) -> None:
        """Small ones of a size that passes are missing as well, to the end."""
        turns = [(size, number < 3) for number, size in enumerate((128, 576, 1200, 1400, 1492) * 8)]
        assert failed(turns) == ("data-cut", "3 echo requests were answered, and none of the 37 that followed")

    @pytest.mark.parametrize(
        "echoes",
        [
            of((30, 128, True), (LEAST_AFTER - 1, 128, False)),
            of((10, 128, True), (1, 128, False), (10, 128, True), (2, 1492, False)),
            of((5, 128, False), (1, 128, True)),
            of((20, 128, False), (20, 128, True)),
        ],
        ids=["last", "some", "first", "half"],
    )
    def test_a_few_lost_are_nothing(self, echoes: Echoes) -> None:
        assert failed(echoes) is None

    def test_requests_are_taken_in_the_order_of_their_numbers(self) -> None:
        one = client(of((30, 128, True), (LEAST_AFTER, 128, False)))
        one.run.requests = dict(reversed(list(one.run.requests.items())))
        found = data_failure(one)
        assert found is not None
        assert found.code == "data-cut"


KEYS = {name: make_key(KeyAlgorithm.EC_P256) for name in ("authority", "other", "client")}


def certificate(
    name: str, *, issuer: str, signer: str | None = None, days: tuple[int, int] = (-1, 30), purposes: tuple[KeyPurpose, ...] = ()
) -> bytes:
    """PEM; valid from and until so many days from now. `signer`: whose key signs, the issuer's by default."""
    start, end = (datetime.now(UTC) + timedelta(days=count) for count in days)
    content = CertificateContent(subject=name, not_before=start, not_after=end, serial=5, purposes=purposes)
    return certificate_pem(build_certificate(content, KEYS[name], issuer=Issuer(issuer, KEYS[signer or issuer])))


AUTHORITY, OTHER = certificate("authority", issuer="authority"), certificate("other", issuer="other")


def used(cert: bytes | None, ca: bytes | None = AUTHORITY) -> Profile:
    return Profile("some.ovpn", (), TlsMaterial(ca=ca, cert=cert), ProfileWrapping())


def suspicion(cert: bytes | None, ca: bytes | None = AUTHORITY) -> str | None:
    return certificate_suspicion(used(cert, ca))


class TestClientCertificates:
    def test_none_at_all(self) -> None:
        assert suspicion(None) == "the profile has no certificate for the client"
        assert certificate_suspicion(Profile("some.ovpn", (), TlsMaterial(pkcs12=b"opened elsewhere"), ProfileWrapping())) is None

    @pytest.mark.parametrize(
        ("cert", "took_certificate", "signs_in", "told"),
        [
            (None, False, True, "the profile has no certificate for the client: a server that minds falls silent"),
            (None, True, True, "the server took TLS to its end: what checks the user name and password there may hang"),
            (None, True, False, ""),
            (b"nothing", True, True, "the server took TLS to its end: what checks the user name and password there may hang"),
        ],
    )
    def test_what_a_silence_may_mean(self, cert: bytes | None, took_certificate: bool, signs_in: bool, told: str) -> None:
        assert suspicion_of_silence(used(cert), took_certificate=took_certificate, signs_in=signs_in) == told

    def test_a_good_certificate_is_not_suspected(self) -> None:
        good = certificate("client", issuer="authority")
        assert suspicion_of_silence(used(good), took_certificate=False, signs_in=True) == ""

    @pytest.mark.parametrize(
        ("purposes", "made_for"),
        [
            ((KeyPurpose.SERVER_AUTH,), "servers"),
            ((KeyPurpose.CLIENT_AUTH,), None),
            ((KeyPurpose.SERVER_AUTH, KeyPurpose.CLIENT_AUTH), None),
        ],
    )
    def test_one_for_another_purpose(self, purposes: tuple[KeyPurpose, ...], made_for: str | None) -> None:
        words = f"the client's certificate is not made for clients but for {made_for}"
        found = suspicion(certificate("client", issuer="authority", purposes=purposes))
        assert found == (words if made_for is not None else None)

    @pytest.mark.parametrize("ca", [AUTHORITY, OTHER + AUTHORITY, None, b""])
    def test_a_good_one(self, ca: bytes | None) -> None:
        assert suspicion(certificate("client", issuer="authority"), ca) is None

    def test_an_expired_one(self) -> None:
        found = suspicion(certificate("client", issuer="authority", days=(-30, -2)))
        assert found == f"the client's certificate expired on {datetime.now(UTC) - timedelta(days=2):%Y-%m-%d}"

    def test_one_of_tomorrow(self) -> None:
        found = suspicion(certificate("client", issuer="authority", days=(1, 30)))
        assert found == f"the client's certificate is valid from {datetime.now(UTC) + timedelta(days=1):%Y-%m-%d} on only"

    @pytest.mark.parametrize(
        "cert",
        [
            certificate("client", issuer="other"),
            certificate("client", issuer="authority", signer="other"),
            certificate("client", issuer="client"),
        ],
        ids=["another-issuer", "another-key", "itself"],
    )
    def test_one_that_the_authority_did_not_issue(self, cert: bytes) -> None:
        assert suspicion(cert) == "the client's certificate was not issued by the authority in the profile"

    @pytest.mark.parametrize(
        ("cert", "ca"),
        [
            (b"", AUTHORITY),
            (b"no certificate", AUTHORITY),
            (OTHER.replace(b"MII", b"AAA"), AUTHORITY),
            (OTHER, b"no authority"),
        ],
    )
    def test_what_cannot_be_read(self, cert: bytes, ca: bytes) -> None:
        found = suspicion(cert, ca)
        assert found is not None
        assert found.startswith("the client's certificate cannot be read (")


@pytest.mark.parametrize(
    ("direction", "digest", "told"),
    [
        (KeyDirection.NORMAL, "SHA1", "the server answers with key-direction 0 and auth SHA1: write that into the profile"),
        (KeyDirection.INVERSE, "SHA256", "the server answers with key-direction 1 and auth SHA256: write that into the profile"),
        (KeyDirection.BIDIRECTIONAL, "SHA512", "the server answers with no key-direction and auth SHA512: write that into the profile"),
    ],
)
def test_a_wrap_that_fits_in_the_words_of_a_profile(direction: KeyDirection, digest: str, told: str) -> None:
    wrapping = Wrapping(Wrap.TLS_AUTH, direction=direction, digest=digest)
    assert told_of(wrapping, Wrap.TLS_AUTH) == told
    assert told_of(replace(wrapping, kind=Wrap.NONE), Wrap.TLS_CRYPT) == (
        "the server answers without tls-crypt: take tls-crypt out of the profile"
    )
