"""Certificates: each field of the content is the extension that it should be, nothing else is in them, and OpenSSL takes the chains."""

import hashlib
import random
import re
import ssl
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from vpnprobe.conversations.openvpn_session_keys import make_session_keys
from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.provisioning.certificates import (
    BasicConstraints,
    CertificateContent,
    Issuer,
    KeyAlgorithm,
    KeyPurpose,
    KeyUse,
    RawExtension,
    build_certificate,
    certificate_pem,
    key_pem,
    make_key,
)

if TYPE_CHECKING:
    from vpnprobe.provisioning.certificates import PrivateKey

NOW = datetime.now(UTC)
CONTENT = CertificateContent(subject="somebody", not_before=NOW - timedelta(hours=1), not_after=NOW + timedelta(days=1))
AUTHORITY = replace(
    CONTENT,
    subject="authority",
    constraints=BasicConstraints(authority=True),
    key_uses=frozenset((KeyUse.KEY_CERT_SIGN, KeyUse.CRL_SIGN)),
    subject_key_identifier=True,
)
SERVER = replace(
    CONTENT,
    subject="server",
    constraints=BasicConstraints(authority=False),
    key_uses=frozenset((KeyUse.DIGITAL_SIGNATURE,)),
    purposes=(KeyPurpose.SERVER_AUTH,),
    dns_names=("vpn.example",),
    subject_key_identifier=True,
    authority_key_identifier=True,
)
COMMENT = "2.16.840.1.113730.1.13"


@cache
def key_of(name: str, algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256) -> "PrivateKey":
    return make_key(algorithm)


def extensions(content: CertificateContent, issuer: Issuer | None = None) -> list[x509.Extension[Any]]:
    return list(parsed(build_certificate(content, key_of("somebody"), issuer=issuer)).extensions)


def parsed(certificate: x509.Certificate) -> x509.Certificate:
    """As whoever is shown it reads it."""
    return x509.load_pem_x509_certificate(certificate_pem(certificate))


def usage(*uses: KeyUse) -> x509.KeyUsage:
    return x509.KeyUsage(**{use.value: use in uses for use in KeyUse})


@pytest.mark.parametrize("algorithm", KeyAlgorithm)
def test_a_self_signed_certificate_is_signed_with_its_own_key(algorithm: KeyAlgorithm) -> None:
    key = key_of("somebody", algorithm)
    made = parsed(build_certificate(CONTENT, key))
    made.verify_directly_issued_by(made)
    assert load_pem_private_key(key_pem(key), None).public_key() == made.public_key() == key.public_key()
    assert made.version is x509.Version.v3
    assert made.subject == made.issuer
    assert made.subject.rfc4514_string() == "CN=somebody"
    digest = made.signature_hash_algorithm
    assert (digest.name if digest is not None else None) == (None if algorithm is KeyAlgorithm.ED25519 else "sha256")


def test_keys_are_of_the_algorithm_that_was_asked_for() -> None:
    on_curve, modular, longer, edwards = (make_key(algorithm) for algorithm in KeyAlgorithm)
    assert isinstance(on_curve, ec.EllipticCurvePrivateKey)
    assert on_curve.curve.name == "secp256r1"
    assert isinstance(modular, rsa.RSAPrivateKey)
    assert (modular.key_size, modular.public_key().public_numbers().e) == (2048, 65537)
    assert isinstance(longer, rsa.RSAPrivateKey)
    assert longer.key_size == 3072
    assert isinstance(edwards, ed25519.Ed25519PrivateKey)


def test_what_is_not_asked_for_is_not_there() -> None:
    assert extensions(CONTENT) == []


@pytest.mark.parametrize(
    ("content", "value", "critical"),
    [
        (replace(CONTENT, constraints=BasicConstraints(authority=True)), x509.BasicConstraints(ca=True, path_length=None), True),
        (
            replace(CONTENT, constraints=BasicConstraints(authority=True, path_length=0)),
            x509.BasicConstraints(True, 0),
            True,
        ),
        (replace(CONTENT, constraints=BasicConstraints(authority=False)), x509.BasicConstraints(ca=False, path_length=None), True),
        (
            replace(CONTENT, purposes=(KeyPurpose.CLIENT_AUTH, KeyPurpose.SERVER_AUTH)),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
            False,
        ),
        (
            replace(CONTENT, dns_names=("a.example", "*.b.example"), addresses=(IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1"))),
            x509.SubjectAlternativeName(
                [
                    x509.DNSName("a.example"),
                    x509.DNSName("*.b.example"),
                    x509.IPAddress(IPv4Address("192.0.2.1")),
                    x509.IPAddress(IPv6Address("2001:db8::1")),
                ]
            ),
            False,
        ),
        (
            replace(CONTENT, raw_extensions=(RawExtension(oid=COMMENT, value=b"\x16\x02hi"),)),
            x509.UnrecognizedExtension(x509.ObjectIdentifier(COMMENT), b"\x16\x02hi"),
            False,
        ),
        (
            replace(CONTENT, raw_extensions=(RawExtension(oid="1.2.3.4", value=b"", critical=True),)),
            x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b""),
            True,
        ),
    ],
    ids=["authority", "path length", "no authority", "purposes", "names", "comment", "critical"],
)
def test_an_extension_is_what_was_asked_for(content: CertificateContent, value: x509.ExtensionType, critical: bool) -> None:
    [extension] = extensions(content)
    assert extension.value == value
    assert extension.critical is critical


@pytest.mark.parametrize("use", KeyUse)
def test_each_bit_of_the_key_usage(use: KeyUse) -> None:
    uses = {use, KeyUse.KEY_AGREEMENT} if use in (KeyUse.ENCIPHER_ONLY, KeyUse.DECIPHER_ONLY) else {use}
    [extension] = extensions(replace(CONTENT, key_uses=frozenset(uses)))
    assert extension.value == usage(*uses)
    assert extension.critical


def test_key_identifiers_are_of_the_subject_s_and_of_the_signer_s_key() -> None:
    content = replace(CONTENT, subject_key_identifier=True, authority_key_identifier=True)
    own = x509.SubjectKeyIdentifier.from_public_key(key_of("somebody").public_key())
    signer = key_of("authority")
    for issuer, signing in ((None, key_of("somebody")), (Issuer("authority", signer), signer)):
        subject, authority = extensions(content, issuer)
        assert (subject.value, subject.critical) == (own, False)
        assert authority.value == x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key())
        assert not authority.critical


def test_names_may_have_more_than_a_common_name() -> None:
    named = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "O"), x509.NameAttribute(x509.NameOID.COMMON_NAME, "C")])
    issued = build_certificate(replace(CONTENT, subject=named), key_of("somebody"), issuer=Issuer(named, key_of("authority")))
    assert (parsed(issued).subject, parsed(issued).issuer) == (named, named)


def test_times_are_those_given_to_the_second() -> None:
    made = parsed(build_certificate(CONTENT, key_of("somebody")))
    assert made.not_valid_before_utc == CONTENT.not_before.replace(microsecond=0)
    assert made.not_valid_after_utc == CONTENT.not_after.replace(microsecond=0)


def test_a_serial_number_is_the_one_given_or_a_fresh_one() -> None:
    assert parsed(build_certificate(replace(CONTENT, serial=5), key_of("somebody"))).serial_number == 5
    fresh = {build_certificate(CONTENT, key_of("somebody")).serial_number for _ in range(20)}
    assert len(fresh) == 20
    assert all(0 < number < 1 << 159 for number in fresh)


@pytest.mark.parametrize(
    "content",
    [
        replace(CONTENT, serial=0),
        replace(CONTENT, serial=-1),
        replace(CONTENT, serial=1 << 160),
        replace(CONTENT, not_before=CONTENT.not_after, not_after=CONTENT.not_before),
        replace(CONTENT, constraints=BasicConstraints(authority=False, path_length=1)),
        replace(CONTENT, key_uses=frozenset((KeyUse.ENCIPHER_ONLY,))),
        replace(CONTENT, raw_extensions=(RawExtension(oid=COMMENT, value=b"1"), RawExtension(oid=COMMENT, value=b"2"))),
        replace(CONTENT, purposes=(KeyPurpose.SERVER_AUTH,), raw_extensions=(RawExtension(oid="2.5.29.37", value=b"0\0"),)),
    ],
    ids=["serial 0", "negative", "too large", "times", "path length", "encipher only", "twice", "typed and raw"],
)
def test_what_cannot_stand_in_a_certificate(content: CertificateContent) -> None:
    with pytest.raises(ValueError, match=r".+"):
        build_certificate(content, key_of("somebody"))


class TestEd25519:
    def test_the_same_bytes_make_the_same_certificate(self) -> None:
        content = replace(CONTENT, serial=7, raw_extensions=(RawExtension(oid=COMMENT, value=bytes(100)),))
        one, two = (build_certificate(content, make_key(KeyAlgorithm.ED25519, seed=bytes(range(32)))) for _ in range(2))
        assert certificate_pem(one) == certificate_pem(two)

    def test_the_certificates_of_a_simulated_run_never_change(self) -> None:
        """The order in which entropy is taken is a part of it: a simulated run of today repeats itself tomorrow."""
        made = make_session_keys(random.Random(1).randbytes)
        assert [hashlib.sha256(one.certificate_pem).hexdigest() for one in (made.identity, made.server.identity)] == [
            "31ef9e00b09af97fec352eab9e4250ad086cab2604fffe3e0f05d042f86e2a86",
            "1542058fb3d9577b0672476d84b1e194a6c92476ac2d90bb18bf35111b72f1f8",
        ]

    @pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33)])
    def test_a_seed_has_32_bytes(self, seed: bytes) -> None:
        with pytest.raises(ValueError, match=f"not made of {len(seed)} given bytes"):
            make_key(KeyAlgorithm.ED25519, seed=seed)

    @pytest.mark.parametrize("algorithm", [KeyAlgorithm.EC_P256, KeyAlgorithm.RSA_2048])
    def test_other_keys_take_none(self, algorithm: KeyAlgorithm) -> None:
        with pytest.raises(ValueError, match=f"a key of {algorithm} is not made of 32 given bytes"):
            make_key(algorithm, seed=bytes(32))


def connected(server: CertificateContent, *, trusts: str = "authority", signer: str = "authority", folder: Path) -> str:
    """What a TLS client in memory that trusts one authority and wants the name vpn.example says of this server; empty: nothing."""
    for name in ("authority", "other"):
        made = build_certificate(replace(AUTHORITY, subject=name), key_of(name))
        (folder / f"{name}.pem").write_bytes(certificate_pem(made))
    leaf = build_certificate(server, key_of("server"), issuer=Issuer(signer, key_of(signer)))
    (folder / "server.pem").write_bytes(key_pem(key_of("server")) + certificate_pem(leaf))
    accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    accepting.load_cert_chain(folder / "server.pem")
    connecting = ssl.create_default_context(cafile=str(folder / f"{trusts}.pem"))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = connecting.wrap_bio(to_client, to_server, server_hostname="vpn.example")
    side = accepting.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (client, side):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as refused:
                return refused.verify_message
    assert client.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(certificate_pem(leaf).decode())
    return ""


@pytest.mark.parametrize(
    ("server", "more", "said"),
    [
        (SERVER, {}, ""),
        (SERVER, {"signer": "other"}, "unable to get local issuer certificate"),
        (SERVER, {"trusts": "other"}, "unable to get local issuer certificate"),
        (replace(SERVER, purposes=(KeyPurpose.CLIENT_AUTH,)), {}, "unsuitable certificate purpose"),
        (replace(SERVER, dns_names=("other.example",)), {}, "Hostname mismatch"),
        (replace(SERVER, not_before=NOW - timedelta(days=2), not_after=NOW - timedelta(days=1)), {}, "certificate has expired"),
        (replace(SERVER, not_before=NOW + timedelta(days=1), not_after=NOW + timedelta(days=2)), {}, "certificate is not yet valid"),
    ],
    ids=["good", "other signer", "other trust", "purpose", "name", "expired", "early"],
)
def test_a_tls_client_takes_and_refuses_what_it_should(server: CertificateContent, more: dict[str, str], said: str, tmp_path: Path) -> None:
    answer = connected(server, folder=tmp_path, **more)
    assert answer.startswith(said) if said else not answer


@pytest.mark.requires("openssl")
@pytest.mark.parametrize(("path_length", "good"), [(None, True), (1, True), (0, False)])
@pytest.mark.parametrize("algorithm", KeyAlgorithm)
def test_openssl_verifies_a_chain_of_three(algorithm: KeyAlgorithm, path_length: int | None, good: bool, tmp_path: Path) -> None:
    root, middle, leaf = (key_of(name, algorithm) for name in ("root", "middle", "leaf"))
    constraints = BasicConstraints(authority=True, path_length=path_length)
    below = replace(AUTHORITY, subject="middle", authority_key_identifier=True)
    chain = {
        "root": build_certificate(replace(AUTHORITY, subject="root", constraints=constraints), root),
        "middle": build_certificate(below, middle, issuer=Issuer("root", root)),
        "leaf": build_certificate(SERVER, leaf, issuer=Issuer("middle", middle)),
    }
    for name, certificate in chain.items():
        (tmp_path / name).write_bytes(certificate_pem(certificate))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "root", "-untrusted", "middle", "leaf"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == good, done.stdout + done.stderr
    assert good or "path length constraint exceeded" in done.stderr


def test_where_cryptography_is_missing_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    with pytest.raises(CannotRun, match="pip install cryptography") as caught:
        make_key(KeyAlgorithm.EC_P256)
    assert caught.value.status is ExitStatus.MISSING


def test_certificates_are_built_in_one_file_alone(package_root: Path) -> None:
    builds = re.compile(r"\bCertificateBuilder\b")
    root = package_root.parent
    files = [path for folder in ("vpnprobe", "tests", "benchmarks", "fuzz") for path in (root / folder).rglob("*.py")]
    assert len(files) > 300
    found = [path for path in files if path.name != Path(__file__).name and builds.search(path.read_text("utf-8"))]
    assert found == [package_root / "provisioning" / "certificates.py"]
