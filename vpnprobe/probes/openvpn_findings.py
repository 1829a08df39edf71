"""Names for what a session with an existing OpenVPN server shows: of its data, of the client's certificate, of a wrap that fits."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from vpnprobe.conversations.openvpn_ends import Client
from vpnprobe.conversations.openvpn_failures import Failure, FailureCode
from vpnprobe.conversations.openvpn_session import Stage, Wrapping
from vpnprobe.profiles.model import Profile
from vpnprobe.profiles.verification import old_certificates
from vpnprobe.wire.openvpn_keys import KeyDirection
from vpnprobe.wire.openvpn_wrap import Wrap

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

CLOSED_AT: Final = {
    Stage.ANSWERED: FailureCode.TLS_SILENT,
    Stage.TLS_BEGUN: FailureCode.TLS_STALLED,
    Stage.TLS_UP: FailureCode.KEYS_UNANSWERED,
    Stage.KEYS: FailureCode.NO_PUSH_REPLY,
}
"""What a server did not answer that closed the connection instead."""
LEAST_LARGE: Final = 4
"""Packets above some size that must all be missing before their size is blamed."""
LEAST_AFTER: Final = 10
"""Packets that must all be missing behind the last that was answered before the session is called cut."""


@dataclass(frozen=True, slots=True)
class DataFailure:
    """What a session shows whose echo requests were not all answered."""

    code: str
    """data-dead, data-large-dead, data-cut, closed-by-peer."""
    detail: str


def data_failure(client: Client) -> DataFailure | None:
    """By name, what of the data did not come back; None: enough did, or there was nobody to ask."""
    requests = [client.run.requests[number] for number in sorted(client.run.requests)]
    answered = [request.answered_at is not None for request in requests]
    if not requests or (all(answered) and (client.run.all_sent or not client.peer_closed)):
        return None
    if client.peer_closed:
        return DataFailure(FailureCode.CLOSED_BY_PEER, f"after {sum(answered)} echo requests were answered")
    if not any(answered):
        alive = ", though the server's own keep-alive comes" if client.pings_received else ""
        return DataFailure("data-dead", f"none of {len(requests)} echo requests to {client.gateway} was answered{alive}")
    largest = max(r.outer_bytes for r, came in zip(requests, answered, strict=True) if came)
    above = [r.outer_bytes for r in requests if r.outer_bytes > largest]
    last = max(number for number, came in enumerate(answered) if came)
    ends = sum(1 for r in requests[last + 1 :] if r.outer_bytes <= largest) >= LEAST_AFTER
    if len(above) >= LEAST_LARGE and not ends and (not client.stream or _all_below(client, largest)):
        return DataFailure("data-large-dead", f"packets of {min(above)} bytes and more vanish, {largest} bytes pass")
    if ends and client.stream and requests[last + 1].outer_bytes > largest:
        return DataFailure("data-large-dead", f"a packet of {requests[last + 1].outer_bytes} bytes stops the connection, {largest} pass")
    if ends:
        return DataFailure("data-cut", f"{last + 1} echo requests were answered, and none of the {len(requests) - last - 1} that followed")
    return None


def _all_below(client: Client, largest: int) -> bool:
    """Whether all that is not larger came back."""
    return all(r.answered_at is not None for r in client.run.requests.values() if r.outer_bytes <= largest)


def client_certificate_failure(profile: Profile) -> Failure | None:
    """What is visibly wrong with the profile's own certificate, for which a server falls silent; None: nothing, or there is none."""
    from cryptography import x509

    if profile.tls.cert is None:
        return None
    try:
        with old_certificates():
            certificate = x509.load_pem_x509_certificate(profile.tls.cert)
            authorities = x509.load_pem_x509_certificates(profile.tls.ca) if profile.tls.ca else []
            between = [x509.load_pem_x509_certificates(pem) for pem in (profile.tls.extra_certs, profile.tls.cert) if pem]
    except ValueError as error:
        return Failure(FailureCode.CLIENT_CERTIFICATE_REFUSED, f"it cannot be read: {error}")
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc < now:
        return Failure(FailureCode.CLIENT_CERTIFICATE_EXPIRED, f"it expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if certificate.not_valid_before_utc > now:
        return Failure(FailureCode.CLIENT_CERTIFICATE_REFUSED, f"it is valid from {certificate.not_valid_before_utc:%Y-%m-%d} on only")
    intermediates = [one for chain in between for one in chain if one != certificate]
    if authorities and not any(_issued(certificate, authority) for authority in (*authorities, *intermediates)):
        return Failure(
            FailureCode.CLIENT_CERTIFICATE_REFUSED,
            "the server says nothing, and the certificate was not issued by the authority in the profile",
        )
    return None


def _issued(certificate: "Certificate", authority: "Certificate") -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # Whatever a foreign certificate makes the library raise: it does not fit.
        return False
    return True


def told_of(wrapping: Wrapping) -> str:
    """How a server answers, in the words of a profile."""
    if wrapping.kind is Wrap.NONE:
        return "the server answers without tls-auth: take tls-auth out of the profile"
    direction = {KeyDirection.NORMAL: "key-direction 0", KeyDirection.INVERSE: "key-direction 1"}.get(
        wrapping.direction, "no key-direction"
    )
    return f"the server answers with {direction} and auth {wrapping.digest}: write that into the profile"
