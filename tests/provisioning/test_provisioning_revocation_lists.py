"""Revocation lists: what is built is read back, OpenSSL's library agrees, and nothing but DecodeError comes of other bytes."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.errors import DecodeError
from vpnprobe.provisioning.certificates import Issuer, KeyAlgorithm, make_key
from vpnprobe.provisioning.revocation_lists import Reason, Revoked, build_revocation_list, read_revocation_list

NOW = datetime(2026, 3, 1, tzinfo=UTC)
END = NOW + timedelta(days=3650)
ISSUER = Issuer("authority", make_key(KeyAlgorithm.EC_P256))
ENTRIES = st.builds(Revoked, serial=st.integers(1, 2**159 - 1), at=st.just(NOW) | st.just(END), reason=st.sampled_from(Reason))


def built(entries: list[Revoked], number: int = 1, issuer: Issuer = ISSUER) -> bytes:
    return build_revocation_list(entries, issuer, number=number, this_update=NOW, next_update=END)


@given(st.lists(ENTRIES, max_size=5, unique_by=lambda entry: entry.serial), st.integers(1, 2**64))
def test_what_is_built_is_read_back(entries: list[Revoked], number: int) -> None:
    found = read_revocation_list(built(entries, number))
    assert sorted(found.entries) == sorted(entries)
    assert (found.number, found.next_update) == (number, END)


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.EC_P256, KeyAlgorithm.RSA_2048, KeyAlgorithm.ED25519])
def test_it_is_signed(algorithm: KeyAlgorithm) -> None:
    issuer = Issuer("authority", make_key(algorithm))
    found = x509.load_pem_x509_crl(built([Revoked(serial=5, at=NOW)], issuer=issuer))
    assert found.is_signature_valid(issuer.key.public_key())
    assert found.issuer.rfc4514_string() == "CN=authority"


def test_the_key_that_signed_is_named_as_its_certificate_names_it() -> None:
    found = x509.load_pem_x509_crl(built([], issuer=Issuer("authority", ISSUER.key, b"its own")))
    assert found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == b"its own"


def test_a_hold_is_no_hold_here() -> None:
    builder = x509.RevokedCertificateBuilder().serial_number(5).revocation_date(NOW)
    held = builder.add_extension(x509.CRLReason(x509.ReasonFlags.certificate_hold), critical=False).build()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
    made = x509.CertificateRevocationListBuilder().issuer_name(name).last_update(NOW).next_update(END).add_revoked_certificate(held)
    from cryptography.hazmat.primitives import hashes, serialization

    found = read_revocation_list(made.sign(ISSUER.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    assert found.entries == (Revoked(serial=5, at=NOW),)
    assert found.number == 0


@given(
    st.binary(max_size=60) | st.binary(max_size=60).map(lambda data: b"-----BEGIN X509 CRL-----\n" + data + b"\n-----END X509 CRL-----\n")
)
def test_other_bytes(data: bytes) -> None:
    with pytest.raises(DecodeError, match="CRL at offset 0: cannot be read"):
        read_revocation_list(data)
