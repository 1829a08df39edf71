"""Names of ciphers and digests that OpenVPN 2.6 starts with: those that OpenSSL 3 has, in modes that OpenVPN takes.

From `openssl list -cipher-algorithms -digest-algorithms` of OpenSSL 3.5 and `openvpn --show-ciphers` of 2.6.14. Case does not matter, and
OIDs are names too. What a build may leave out (IDEA, MDC2) is in the sets: nothing is said of it.
"""

import re
from collections.abc import Iterable, Set
from typing import Final

_MODES: Final = ("CBC", "CFB", "CFB1", "CFB8", "OFB")
_SIZES: Final = (128, 192, 256)
_FAMILIES: Final = ("AES", "ARIA", "CAMELLIA")
_OTHERS: Final = """
    CHACHA20-POLY1305 DES3 DES-EDE-CBC DES-EDE-CFB DES-EDE-OFB DES-EDE3-CBC DES-EDE3-CFB DES-EDE3-CFB1 DES-EDE3-CFB8 DES-EDE3-OFB
    ID-AES128-GCM ID-AES192-GCM ID-AES256-GCM SM4 SM4-CBC SM4-CFB SM4-CFB128 SM4-OFB SM4-OFB128
"""
CIPHERS: Final = frozenset(
    {
        "NONE",
        *(f"{family}-{size}-{mode}" for family in _FAMILIES for size in _SIZES for mode in _MODES),
        *(f"{family}-{size}-GCM" for family in ("AES", "ARIA") for size in _SIZES),
        *(f"{family}{size}" for family in _FAMILIES for size in _SIZES),
        *_OTHERS.split(),
    }
)
_LEGACY_CIPHERS: Final = """
    BF BLOWFISH BF-CBC BF-CFB BF-OFB CAST CAST-CBC CAST5-CBC CAST5-CFB CAST5-OFB DES DES-CBC DES-CFB DES-CFB1 DES-CFB8 DES-OFB DESX DESX-CBC
    IDEA IDEA-CBC IDEA-CFB IDEA-CFB64 IDEA-OFB IDEA-OFB64 RC2 RC2-128 RC2-CBC RC2-CFB RC2-OFB RC2-40 RC2-40-CBC RC2-64 RC2-64-CBC SEED
    SEED-CBC SEED-CFB SEED-CFB128 SEED-OFB SEED-OFB128
"""
LEGACY_CIPHERS: Final = frozenset(_LEGACY_CIPHERS.split())
"""OpenSSL 3 has them in its provider `legacy` alone."""
_DIGESTS: Final = """
    NONE BLAKE2B-512 BLAKE2B512 BLAKE2S-256 BLAKE2S256 KECCAK-KMAC-128 KECCAK-KMAC128 KECCAK-KMAC-256 KECCAK-KMAC256 MD5 MD5-SHA1 NULL
    RIPEMD RIPEMD-160 RIPEMD160 RMD160 SHA-1 SHA1 SHA-224 SHA-256 SHA-384 SHA-512 SHA-512/224 SHA-512/256 SHA2-224 SHA2-256 SHA2-384
    SHA2-512 SHA2-512/224 SHA2-512/256 SHA224 SHA256 SHA384 SHA512 SHA512-224 SHA512-256 SHA3-224 SHA3-256 SHA3-384 SHA3-512 SHAKE-128
    SHAKE-256 SHAKE128 SHAKE256 SM3 SSL3-MD5 SSL3-SHA1
"""
DIGESTS: Final = frozenset(_DIGESTS.split())
LEGACY_DIGESTS: Final = frozenset({"MD4", "MDC2", "WHIRLPOOL"})
PROVIDERS: Final = frozenset({"default", "legacy"})
"""Of OpenSSL itself; what another one has is not known."""
_OID: Final = re.compile(r"\d+(\.\d+)+", re.ASCII)


def lacking(names: Iterable[str], known: Set[str]) -> list[str]:
    """Those that are not among the known, as they are written."""
    return [name for name in names if name.upper() not in known and not _OID.fullmatch(name)]
