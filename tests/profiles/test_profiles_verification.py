"""What a profile asks of TLS: each check of the server's certificate by a certificate made for it, and the context to connect with."""

import hashlib
import shutil
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from profile_support import made, parsed

from vpnprobe.conversations.openvpn_failures import FailureCode
from vpnprobe.errors import ExitStatus
from vpnprobe.profiles.errors import ProfileError
from vpnprobe.profiles.model import NameType, Profile, ServerChecks, TlsMaterial
from vpnprobe.profiles.verification import certificate_check, subject_of, tls_context
from vpnprobe.provisioning.certificates import CertificateContent, KeyAlgorithm, RawExtension, build_certificate, make_key

CN, O, C = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.COUNTRY_NAME  # noqa: E741
SUBJECT = ((C, "KG"), (NameOID.STATE_OR_PROVINCE_NAME, "NA"), (NameOID.LOCALITY_NAME, "BISHKEK"), (CN, "Server-1"))
NS_CERT_TYPE = x509.ObjectIdentifier("2.16.840.1.113730.1.1")
SERVER_BIT, CLIENT_BIT = b"\x03\x02\x06\x40", b"\x03\x02\x07\x80"
SERVER_OID, CLIENT_OID = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"
PEM = serialization.Encoding.PEM
BITS = (
    ("digital_signature", 0x80),
    ("content_commitment", 0x40),
    ("key_encipherment", 0x20),
    ("data_encipherment", 0x10),
    ("key_agreement", 0x08),
    ("key_cert_sign", 0x04),
    ("crl_sign", 0x02),
)
AUTHORITY = x509.BasicConstraints(ca=True, path_length=None)

Attribute = tuple[x509.ObjectIdentifier, str]
Part = Attribute | list[Attribute]
"""A list: a part of several values."""


@cache
def key() -> ec.EllipticCurvePrivateKey:
    return make_key(KeyAlgorithm.EC_P256)


def name_of(parts: Sequence[Part]) -> x509.Name:
    several = [part if isinstance(part, list) else [part] for part in parts]
    return x509.Name([x509.RelativeDistinguishedName([x509.NameAttribute(*value) for value in values]) for values in several])


def certificate(parts: Sequence[Part] = SUBJECT, *extensions: x509.ExtensionType) -> x509.Certificate:
    now = datetime.now(UTC)
    content = CertificateContent(
        subject=name_of(parts),
        not_before=now - timedelta(hours=1),
        not_after=now + timedelta(days=1),
        serial=7,
        raw_extensions=tuple(RawExtension(oid=extension.oid.dotted_string, value=extension.public_bytes()) for extension in extensions),
    )
    return build_certificate(content, key())


def der(parts: Sequence[Part] = SUBJECT, *extensions: x509.ExtensionType) -> bytes:
    return certificate(parts, *extensions).public_bytes(serialization.Encoding.DER)


def code_of(data: bytes, checks: ServerChecks) -> FailureCode | None:
    failure = certificate_check(checks)(data)
    return failure.code if failure is not None else None


def usage(*names: str) -> x509.KeyUsage:
    assert set(names) <= {name for name, _ in BITS}
    return x509.KeyUsage(**{name: name in names for name, _ in BITS}, encipher_only=False, decipher_only=False)


class TestNames:
    @pytest.mark.parametrize(
        ("wanted", "kind", "fits"),
        [
            ("C=KG, ST=NA, L=BISHKEK, CN=Server-1", NameType.SUBJECT, True),
            ("CN=Server-1", NameType.SUBJECT, False),
            ("Server-1", NameType.SUBJECT, False),
            ("Server-1", NameType.NAME, True),
            ("Server-", NameType.NAME, False),
            ("server-1", NameType.NAME, False),
            ("Server-", NameType.NAME_PREFIX, True),
            ("Server-1", NameType.NAME_PREFIX, True),
            ("erver", NameType.NAME_PREFIX, False),
        ],
    )
    def test_verify_x509_name(self, wanted: str, kind: NameType, fits: bool) -> None:
        expected = None if fits else FailureCode.CERTIFICATE_WRONG_NAME
        assert code_of(der(), ServerChecks(x509_name=wanted, x509_name_type=kind)) is expected

    @pytest.mark.parametrize(("kind", "shown"), [(NameType.NAME, "Server-1"), (NameType.SUBJECT, "C=KG, ST=NA, L=BISHKEK, CN=Server-1")])
    def test_what_the_certificate_says_is_told(self, kind: NameType, shown: str) -> None:
        failure = certificate_check(ServerChecks(x509_name="Other", x509_name_type=kind))(der())
        assert failure is not None
        assert failure.detail == f"the profile wants Other, the certificate says {shown}"

    @pytest.mark.parametrize(
        ("wanted", "fits"), [("C=KG, ST=NA, L=BISHKEK, CN=Server-1", True), ("Server", True), ("C=KG", False), ("Other", False)]
    )
    def test_tls_remote_is_a_subject_or_the_beginning_of_a_common_name(self, wanted: str, fits: bool) -> None:
        assert code_of(der(), ServerChecks(tls_remote=wanted)) is (None if fits else FailureCode.CERTIFICATE_WRONG_NAME)

    @pytest.mark.parametrize("text", ["Example, Inc.", "a + b", "CN=inside"])
    def test_what_parts_a_subject_may_stand_in_a_common_name(self, text: str) -> None:
        assert code_of(der([(CN, text)]), ServerChecks(x509_name=text, x509_name_type=NameType.NAME)) is None

    def test_of_several_common_names_the_last_counts(self) -> None:
        data = der([(CN, "first"), (O, "between"), (CN, "last")])
        assert code_of(data, ServerChecks(x509_name="last", x509_name_type=NameType.NAME)) is None
        assert code_of(data, ServerChecks(x509_name="first", x509_name_type=NameType.NAME)) is FailureCode.CERTIFICATE_WRONG_NAME

    def test_no_common_name_fits_no_name(self) -> None:
        assert (
            code_of(der([(O, "alone")]), ServerChecks(x509_name="alone", x509_name_type=NameType.NAME))
            is FailureCode.CERTIFICATE_WRONG_NAME
        )

    @pytest.mark.parametrize(
        "parts",
        [
            SUBJECT,
            [(C, "KG"), (O, "Foo, Bar"), [(NameOID.SERIAL_NUMBER, "77"), (CN, "Sérv+er")], (NameOID.EMAIL_ADDRESS, "a@b.example")],
            [(NameOID.DOMAIN_COMPONENT, "example"), (NameOID.USER_ID, "u"), (NameOID.GIVEN_NAME, "g"), (NameOID.SURNAME, "s")],
            [(NameOID.TITLE, "t"), (NameOID.STREET_ADDRESS, "st"), (NameOID.POSTAL_CODE, "1"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "ou")],
            [(x509.ObjectIdentifier("2.5.4.41"), "EasyRSA"), (x509.ObjectIdentifier("1.2.3.4"), "x")],
            [(CN, "two\nlines\t\x7f and a \\")],
        ],
    )
    def test_subjects_are_written_as_openssl_writes_them_for_openvpn(self, parts: Sequence[Part], tmp_path: Path) -> None:
        """OpenVPN's flags: XN_FLAG_SEP_CPLUS_SPC, XN_FLAG_FN_SN, ASN1_STRFLGS_UTF8_CONVERT, ASN1_STRFLGS_ESC_CTRL."""
        if shutil.which("openssl") is None:
            pytest.skip("needs openssl")
        found, file = certificate(parts), tmp_path / "c.pem"
        file.write_bytes(found.public_bytes(PEM))
        flags = ("-nameopt", "utf8,esc_ctrl,sname,sep_comma_plus_space")
        done = subprocess.run(["openssl", "x509", "-in", file, "-noout", "-subject", *flags], capture_output=True, text=True, check=True)
        assert subject_of(found.subject) == done.stdout.removeprefix("subject=").removesuffix("\n")


class TestPurposes:
    @pytest.mark.parametrize("side", ["server", "client"])
    @pytest.mark.parametrize("wanted", ["server", "client"])
    def test_remote_cert_tls(self, side: str, wanted: str) -> None:
        oid = ExtendedKeyUsageOID.SERVER_AUTH if side == "server" else ExtendedKeyUsageOID.CLIENT_AUTH
        data = der(SUBJECT, x509.ExtendedKeyUsage([oid]), usage("digital_signature"))
        assert code_of(data, ServerChecks(certificate_type=wanted)) is (None if side == wanted else FailureCode.CERTIFICATE_WRONG_PURPOSE)

    @pytest.mark.parametrize(
        "extensions", [[], [usage("digital_signature")], [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])]], ids=len
    )
    def test_remote_cert_tls_wants_both_extensions(self, extensions: Sequence[x509.ExtensionType]) -> None:
        assert code_of(der(SUBJECT, *extensions), ServerChecks(certificate_type="server")) is FailureCode.CERTIFICATE_WRONG_PURPOSE

    @pytest.mark.parametrize("wanted", [SERVER_OID, "TLS Web Server Authentication", "serverAuth"])
    def test_remote_cert_eku_by_oid_and_by_name(self, wanted: str) -> None:
        fitting = der(SUBJECT, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]))
        other = der(SUBJECT, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]))
        assert code_of(fitting, ServerChecks(extended_key_usage=wanted)) is None
        failure = certificate_check(ServerChecks(extended_key_usage=wanted))(other)
        assert failure is not None
        assert failure.detail == f"the profile wants the extended key usage {SERVER_OID}, the certificate has {CLIENT_OID}"

    def test_an_extended_key_usage_that_is_missing(self) -> None:
        failure = certificate_check(ServerChecks(extended_key_usage=SERVER_OID))(der())
        assert failure is not None
        assert failure.detail.endswith("the certificate has none")

    @pytest.mark.parametrize(
        ("masks", "fits"), [((0xA0,), True), ((0x80,), True), ((0xA8,), False), ((0xA8, 0x20), True), ((0x88, 0x08), False), ((), True)]
    )
    def test_remote_cert_ku_wants_one_mask_wholly(self, masks: tuple[int, ...], fits: bool) -> None:
        data = der(SUBJECT, usage("digital_signature", "key_encipherment"))
        assert code_of(data, ServerChecks(key_usages=masks)) is (None if fits else FailureCode.CERTIFICATE_WRONG_PURPOSE)

    @pytest.mark.parametrize("masks", [(), (0x80,)])
    def test_remote_cert_ku_wants_the_extension(self, masks: tuple[int, ...]) -> None:
        failure = certificate_check(ServerChecks(key_usages=masks))(der())
        assert failure is not None
        assert failure.detail == "the key usage in the certificate is none"

    def test_a_key_usage_that_does_not_fit_is_told_in_hexadecimal(self) -> None:
        failure = certificate_check(ServerChecks(key_usages=(0x88,)))(der(SUBJECT, usage("digital_signature", "key_encipherment")))
        assert failure is not None
        assert failure.detail == "the key usage in the certificate is a0"

    @pytest.mark.parametrize(("name", "bit"), BITS)
    def test_each_bit(self, name: str, bit: int) -> None:
        data = der(SUBJECT, usage(name))
        assert code_of(data, ServerChecks(key_usages=(bit,))) is None
        assert code_of(data, ServerChecks(key_usages=(0xFE ^ bit,))) is FailureCode.CERTIFICATE_WRONG_PURPOSE

    @pytest.mark.parametrize(
        ("value", "wanted", "fits"),
        [
            (b"\x03\x02\x06\x40", "server", True),
            (b"\x03\x02\x07\x80", "client", True),
            (b"\x03\x02\x06\xc0", "server", True),
            (b"\x03\x02\x07\x80", "server", False),
            (b"\x03\x01\x00", "server", False),
            (b"", "server", False),
        ],
    )
    def test_ns_cert_type(self, value: bytes, wanted: str, fits: bool) -> None:
        data = der(SUBJECT, x509.UnrecognizedExtension(NS_CERT_TYPE, value))
        assert code_of(data, ServerChecks(ns_cert_type=wanted)) is (None if fits else FailureCode.CERTIFICATE_WRONG_PURPOSE)

    def test_no_ns_cert_type_at_all(self) -> None:
        """OpenVPN 2.6.14: VERIFY OK: nsCertType=SERVER."""
        assert code_of(der(), ServerChecks(ns_cert_type="server")) is None

    @pytest.mark.parametrize(
        ("extensions", "wanted", "fits"),
        [
            ([x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])], "server", True),
            ([x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])], "server", False),
            ([x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])], "client", False),
            ([x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.16.840.1.113730.4.1")])], "server", True),
            (
                [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), x509.UnrecognizedExtension(NS_CERT_TYPE, CLIENT_BIT)],
                "server",
                False,
            ),
            (
                [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), x509.UnrecognizedExtension(NS_CERT_TYPE, SERVER_BIT)],
                "server",
                True,
            ),
            ([usage("key_encipherment")], "server", True),
            ([usage("key_encipherment")], "client", False),
            ([usage("data_encipherment")], "server", False),
        ],
    )
    def test_ns_cert_type_beside_other_extensions(self, extensions: list[x509.ExtensionType], wanted: str, fits: bool) -> None:
        found = code_of(der(SUBJECT, *extensions), ServerChecks(ns_cert_type=wanted))
        assert found is (None if fits else FailureCode.CERTIFICATE_WRONG_PURPOSE)

    def test_nothing_asked_nothing_wrong(self) -> None:
        assert code_of(der(), ServerChecks()) is None


class TestFingerprints:
    def test_one_of_several_is_enough(self) -> None:
        data = der()
        assert code_of(data, ServerChecks(fingerprints=(bytes(32), hashlib.sha256(data).digest()))) is None

    def test_another_certificate_is_told_by_its_own(self) -> None:
        data = der()
        failure = certificate_check(ServerChecks(fingerprints=(bytes(32),)))(data)
        assert failure is not None
        assert failure.code is FailureCode.CERTIFICATE_WRONG_FINGERPRINT
        assert failure.detail.removeprefix("it is ").replace(":", "") == hashlib.sha256(data).hexdigest()

    def test_the_name_is_asked_for_as_well(self) -> None:
        data = der()
        wrong = ServerChecks(fingerprints=(hashlib.sha256(data).digest(),), x509_name="Other", x509_name_type=NameType.NAME)
        assert code_of(data, wrong) is FailureCode.CERTIFICATE_WRONG_NAME


def twice_the_same_extension() -> bytes:
    data = der(
        SUBJECT,
        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00"),
        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.6"), b"\x05\x00"),
    )
    return data.replace(b"\x2a\x03\x04\x06", b"\x2a\x03\x04\x05")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no certificate",
        der()[:-20],
        der().replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05"),
        twice_the_same_extension(),
    ],
    ids=["empty", "garbage", "cut", "version", "extension-twice"],
)
def test_a_certificate_that_cannot_be_read_is_rejected(data: bytes) -> None:
    assert code_of(data, ServerChecks(certificate_type="server")) is FailureCode.CERTIFICATE_REJECTED


def with_tls(material: TlsMaterial) -> Profile:
    """A profile with this instead of its own keys."""
    return replace(parsed(), tls=material)


CA = made().ca.encode()
LOCKED = TlsMaterial(CA, made().cert.encode(), made().encrypted_key.encode(), key_is_encrypted=True)
BUNDLE = TlsMaterial(CA, pkcs12=made().pkcs12)


def unusable(profile: Profile, passphrase: str | None = None) -> str:
    """What is said of a profile that cannot be used: one line, and the status of an unreadable file."""
    with pytest.raises(ProfileError) as caught:
        tls_context(profile, passphrase=passphrase)
    assert caught.value.status is ExitStatus.UNREADABLE
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestContexts:
    def test_of_certificate_and_key(self) -> None:
        context = tls_context(parsed())
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert not context.check_hostname
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.cert_store_stats()["x509"] == 1

    @pytest.mark.parametrize("key", [made().encrypted_key, made().old_encrypted_key], ids=["pkcs8", "traditional"])
    def test_the_right_passphrase_opens_the_key(self, key: str) -> None:
        locked = replace(LOCKED, key=key.encode())
        assert tls_context(with_tls(locked), passphrase="sesame").verify_mode is ssl.CERT_REQUIRED
        assert tls_context(with_tls(replace(locked, passphrase="sesame"))).verify_mode is ssl.CERT_REQUIRED

    @pytest.mark.parametrize("passphrase", [None, "", "open", "sesamé", "x" * 5000], ids=lambda text: str(text)[:8])
    def test_any_other_does_not(self, passphrase: str | None) -> None:
        """And none is asked for on a terminal."""
        assert "the passphrase does not fit the private key" in unusable(with_tls(LOCKED), passphrase)

    def test_a_given_passphrase_goes_before_the_files(self) -> None:
        assert tls_context(with_tls(replace(LOCKED, passphrase="wrong")), passphrase="sesame")

    def test_a_key_of_another_certificate(self) -> None:
        other = key().private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        assert "certificate or key cannot be used" in unusable(with_tls(TlsMaterial(CA, made().cert.encode(), other)))

    @pytest.mark.parametrize(
        "material",
        [
            TlsMaterial(CA, b"no certificate", b"no key"),
            TlsMaterial(CA, b"", b""),
            TlsMaterial(b"no authority"),
            TlsMaterial(b""),
            TlsMaterial(b"\xff"),
        ],
    )
    def test_garbage(self, material: TlsMaterial) -> None:
        assert "cannot be used" in unusable(with_tls(material))

    def test_text_around_the_authority_may_be_in_any_tongue(self) -> None:
        """`openssl x509 -text` writes names as they are."""
        context = tls_context(with_tls(TlsMaterial("Subject: O = Café\n".encode() + CA + b"\xe9\n")))
        assert context.cert_store_stats()["x509"] == 1

    def test_without_a_certificate_of_its_own(self) -> None:
        """User name and password alone."""
        assert tls_context(with_tls(TlsMaterial(CA))).verify_mode is ssl.CERT_REQUIRED

    def test_with_fingerprints_alone_no_authority_is_asked(self) -> None:
        used = with_tls(TlsMaterial())
        pinned = replace(used, checks=replace(used.checks, fingerprints=(bytes(32),)))
        assert tls_context(pinned).verify_mode is ssl.CERT_NONE

    def test_a_server_that_nothing_tells_apart_from_others_is_not_tried(self) -> None:
        """Whoever poses as it would be told the password."""
        with pytest.raises(ProfileError, match="nothing by which the server can be known"):
            tls_context(with_tls(TlsMaterial()))

    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
    @pytest.mark.parametrize(
        ("least", "most", "expected"),
        [
            ("1.2", "", (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.MAXIMUM_SUPPORTED)),
            ("1.3", "", (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.MAXIMUM_SUPPORTED)),
            ("1.2", "1.2", (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)),
            ("1.0", "1.1", (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)),
        ],
    )
    def test_limits_of_the_version(self, least: str, most: str, expected: tuple[ssl.TLSVersion, ssl.TLSVersion]) -> None:
        profile = replace(parsed(), checks=ServerChecks(tls_version_min=least, tls_version_max=most))
        context = tls_context(profile)
        assert (context.minimum_version, context.maximum_version) == expected

    @pytest.mark.parametrize(("profile", "level"), [("", 1), ("insecure", 0), ("legacy", 1), ("preferred", 2), ("suiteb", 3)])
    def test_tls_cert_profile_is_a_security_level(self, profile: str, level: int) -> None:
        context = tls_context(replace(parsed(), checks=ServerChecks(tls_cert_profile=profile)))
        assert context.security_level == level


class TestPkcs12:
    def test_the_right_passphrase_opens_it(self) -> None:
        assert tls_context(with_tls(BUNDLE), passphrase="sesame").verify_mode is ssl.CERT_REQUIRED
        assert tls_context(with_tls(replace(BUNDLE, passphrase="sesame"))).verify_mode is ssl.CERT_REQUIRED

    @pytest.mark.parametrize("passphrase", [None, "", "open"])
    def test_any_other_does_not(self, passphrase: str | None) -> None:
        assert "pkcs12 cannot be opened" in unusable(with_tls(BUNDLE), passphrase)

    @pytest.mark.parametrize("data", [b"", b"no pkcs12", made().pkcs12[:-9]], ids=["empty", "garbage", "cut"])
    def test_garbage(self, data: bytes) -> None:
        assert "pkcs12 cannot be opened" in unusable(with_tls(TlsMaterial(CA, pkcs12=data)), "sesame")

    @pytest.mark.parametrize("ca", [None, certificate([(CN, "the profile's")], AUTHORITY).public_bytes(PEM)], ids=["without", "with"])
    def test_one_without_passphrase_brings_an_authority_for_profiles_that_have_none(self, ca: bytes | None) -> None:
        own = certificate([(CN, "the bundle's")], AUTHORITY)
        bundle = pkcs12.serialize_key_and_certificates(b"c", key(), own, [own], serialization.NoEncryption())
        context = tls_context(with_tls(TlsMaterial(ca, pkcs12=bundle)))
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.get_ca_certs(binary_form=True) == [ssl.PEM_cert_to_DER_cert((ca or own.public_bytes(PEM)).decode())]

    def test_one_without_a_key(self) -> None:
        bundle = pkcs12.serialize_key_and_certificates(b"c", None, None, [certificate()], serialization.NoEncryption())
        assert "holds no key with its certificate" in unusable(with_tls(TlsMaterial(CA, pkcs12=bundle)))
