"""How an OpenVPN session fails, by name: one closed list for probes, reports and tests. Where none can be begun has names of its own
(`vpnprobe.evidence.named_failures`), which all protocols share.

A failure is a fact of the conversation (what was said, or which step was not answered), never a guess at its reason: possible reasons are
for the rules.
"""

from dataclasses import dataclass
from enum import StrEnum


class FailureCode(StrEnum):
    """The step that failed, and how."""

    SILENT = "silent"
    """Nothing answers the client's reset."""
    CLOSED_AT_ONCE = "closed-at-once"
    """The TCP connection is closed without a byte."""
    NOT_OPENVPN = "not-openvpn"
    """What answers is no OpenVPN packet."""
    ANSWER_UNREADABLE = "answer-unreadable"
    """OpenVPN packets come, but their HMAC does not fit the key."""
    WRONG_WRAP = "wrong-wrap"
    """The server answers where the control channel is wrapped otherwise; the detail says how."""
    TLS_SILENT = "tls-silent"
    """The reset is answered, and then nothing is: the TLS handshake does not begin."""
    TLS_STALLED = "tls-stalled"
    """The TLS handshake begins and does not end."""
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_YET_VALID = "certificate-not-yet-valid"
    CERTIFICATE_WRONG_CA = "certificate-wrong-ca"
    CERTIFICATE_WRONG_NAME = "certificate-wrong-name"
    CERTIFICATE_WRONG_PURPOSE = "certificate-wrong-purpose"
    CERTIFICATE_WRONG_FINGERPRINT = "certificate-wrong-fingerprint"
    CERTIFICATE_REVOKED = "certificate-revoked"
    CERTIFICATE_WEAK = "certificate-weak"
    CERTIFICATE_REJECTED = "certificate-rejected"
    """Another check of the server's certificate failed; the detail has the library's words."""
    CLIENT_CERTIFICATE_EXPIRED = "client-certificate-expired"
    """The server says so, by an alert; one that falls silent is KEYS_UNANSWERED."""
    CLIENT_CERTIFICATE_REFUSED = "client-certificate-refused"
    """The same."""
    TLS_VERSION = "tls-version"
    TLS_NO_COMMON_CIPHER = "tls-no-common-cipher"
    TLS_BROKEN = "tls-broken"
    """Another TLS error or alert; the detail has the library's words."""
    KEYS_UNREADABLE = "keys-unreadable"
    """What comes inside TLS is no key method 2 message."""
    CREDENTIALS_WANTED = "credentials-wanted"
    CREDENTIALS_REFUSED = "credentials-refused"
    LOGIN_PUT_OFF = "login-put-off"
    """The server refuses for now, and says that a later attempt may succeed (AUTH_FAILED,TEMP)."""
    CHALLENGE_WANTED = "challenge-wanted"
    """A second factor, or a sign-in in a browser."""
    NO_COMMON_DATA_CIPHER = "no-common-data-cipher"
    SESSION_REFUSED = "session-refused"
    """The server refuses the client after the keys, and no user name was sent: it is not the password."""
    HANDSHAKE_LARGE_LOST = "handshake-large-lost"
    """Small packets of the TLS handshake arrive and large ones do not; the detail has the sizes."""
    NOT_SUPPORTED = "not-supported"
    """The session has come to what vpnprobe cannot do and OpenVPN can; nothing follows for the server."""
    PUSH_REFUSED = "push-refused"
    """The server pushes what a client with this profile refuses; the detail names the option."""
    SETTINGS_DIFFER = "settings-differ"
    """Both ends say what has to be the same at both, and say it differently, and no data passes; the detail says which end has what."""
    KEYS_UNANSWERED = "keys-unanswered"
    """TLS is up, and the server does not answer the client's key message; the detail may have a suspicion."""
    NO_PUSH_REPLY = "no-push-reply"
    RESTART_ASKED = "restart-asked"
    HALTED = "halted"
    CLOSED_BY_PEER = "closed-by-peer"
    """The server ended the session, or the connection, in the middle."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure."""

    code: FailureCode
    detail: str = ""
    """What was said, in the words of the peer or of the library; empty: the code says it all."""
