"""Names for what a session with an existing OpenVPN server shows: of its data, of a wrap that fits; and what its silence may mean."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from vpnprobe.conversations.openvpn_ends import FRAMING_WORDS, Client, differences
from vpnprobe.conversations.openvpn_failures import Failure, FailureCode
from vpnprobe.conversations.openvpn_session import Stage, Wrapping
from vpnprobe.evidence.named_failures import DATA_UNANSWERED
from vpnprobe.probes.tunnel_findings import DataFailure, echo_failure
from vpnprobe.profiles.model import Profile, Remote
from vpnprobe.profiles.verification import old_certificates
from vpnprobe.wire.openvpn_data import Compression
from vpnprobe.wire.openvpn_keys import ClientKeyV2, KeyDirection, StaticKey
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


def data_failure(client: Client) -> DataFailure | None:
    """By name, what of the data did not come back; None: enough did, or there was nobody to ask."""
    requests = client.run.requests.values()
    answered = sum(request.answered_at is not None for request in requests)
    if client.peer_closed and requests and not (client.run.all_sent and answered == len(requests)):
        return DataFailure(FailureCode.CLOSED_BY_PEER, f"after {answered} echo requests were answered")
    if requests and not answered and (why := disagreement(client)) is not None:
        return DataFailure(FailureCode.SETTINGS_DIFFER, why)
    if requests and not answered and client.options_replies:
        none = f"none of {len(requests)} echo requests to {client.gateway} was answered"
        return DataFailure(DATA_UNANSWERED, f"the server answers OpenVPN's own messages, and {none}")
    alive = ", though the server's own keep-alive comes" if client.pings_received else ""
    return echo_failure(client.run, str(client.gateway), stream=client.stream, alive=alive)


def disagreement(client: Client) -> str | None:
    """Which settings that have to be the same are not, by the server's own words or by how its data is framed; None: nothing shows any."""
    seen, own = client.framing_seen, (client.framing.compression, client.framing.fragment is not None)
    # An options string says the same of every framing of compression, of `compress stub-v2` too, which leaves IP packets as they are.
    same = seen is not None and _alike(seen[0], own[0])
    differing = [one.text for one in differences(client.tunnel, client.server_options) if not (same and one.is_compression)]
    if not differing and seen is not None and seen != own and not _alike(seen[0], own[0]):
        said = client.tunnel.said
        differing = [f"the profile says `{said}`, and the server frames its packets {FRAMING_WORDS[seen[0]]}"]
    return "; ".join(differing) or None


def _alike(seen: Compression, own: Compression) -> bool:
    """What `compress stub-v2` frames shows as no framing."""
    return seen is own or {seen, own} == {Compression.NONE, Compression.STUB_V2}


def suspicion_of_silence(profile: Profile, *, took_certificate: bool, signs_in: bool) -> str:
    """What a server that does not answer the client's keys may have against it, told as a suspicion; empty: nothing is visible.

    `took_certificate`: it acknowledged all of the client's side of the TLS handshake, which one that refuses a certificate does not.
    """
    if took_certificate:
        return "the server took TLS to its end: what checks the user name and password there may hang" if signs_in else ""
    wrong = certificate_suspicion(profile)
    return f"{wrong}: a server that minds falls silent" if wrong is not None else ""


def certificate_suspicion(profile: Profile) -> str | None:
    """What is visibly wrong with the profile's own certificate, so that most servers refuse it; None: nothing, as far as can be told."""
    from cryptography import x509

    if profile.tls.cert is None:
        return "the profile has no certificate for the client" if profile.tls.pkcs12 is None else None
    try:
        with old_certificates():
            certificate = x509.load_pem_x509_certificate(profile.tls.cert)
            authorities = x509.load_pem_x509_certificates(profile.tls.ca) if profile.tls.ca else []
            between = [x509.load_pem_x509_certificates(pem) for pem in (profile.tls.extra_certs, profile.tls.cert) if pem]
    except ValueError as error:
        return f"the client's certificate cannot be read ({error})"
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc < now:
        return f"the client's certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if certificate.not_valid_before_utc > now:
        return f"the client's certificate is valid from {certificate.not_valid_before_utc:%Y-%m-%d} on only"
    if (made_for := _other_purposes(certificate)) is not None:
        return f"the client's certificate is not made for clients but for {made_for}"
    intermediates = [one for chain in between for one in chain if one != certificate]
    if authorities and not any(_issued(certificate, authority) for authority in (*authorities, *intermediates)):
        return "the client's certificate was not issued by the authority in the profile"
    return None


def _other_purposes(certificate: "Certificate") -> str | None:
    """What a certificate is made for that is not made for clients, by its extended key usage; None: it is, or says nothing."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose

    try:
        purposes = list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except (x509.ExtensionNotFound, ValueError):
        return None
    fits = {Purpose.CLIENT_AUTH, Purpose.ANY_EXTENDED_KEY_USAGE} & set(purposes)
    return None if fits else ", ".join("servers" if one == Purpose.SERVER_AUTH else one.dotted_string for one in purposes)


def _issued(certificate: "Certificate", authority: "Certificate") -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # Whatever a foreign certificate makes the library raise: it does not fit.
        return False
    return True


def hello_unanswered(client: Client, failure: Failure) -> Failure:
    """The failure of a TLS hello that nothing answers, with what shows that it came to the server."""
    if client.hello_acknowledged:
        hello = f"the server acknowledges our TLS hello of {client.largest_control_bytes} bytes"
        said = f"{hello}; its answer, in packets of up to 1250 bytes, does not come"
        return replace(failure, detail=said)
    return failure


def wrapping_of(remote: Remote, profile: Profile) -> Wrapping:
    """How the control channel of a profile's remote is wrapped."""
    key = remote.wrapping.key
    return Wrapping(
        remote.wrapping.kind,
        key=key if isinstance(key, StaticKey) else None,
        direction=remote.wrapping.direction,
        digest=profile.auth,
        client_key=key if isinstance(key, ClientKeyV2) else None,
    )


def told_of(wrapping: Wrapping, own: Wrap) -> str:
    """How a server answers, in the words of a profile that wraps its control channel as `own` says."""
    if wrapping.kind is Wrap.NONE:
        return f"the server answers without {own}: take {own} out of the profile"
    direction = {KeyDirection.NORMAL: "key-direction 0", KeyDirection.INVERSE: "key-direction 1"}.get(
        wrapping.direction, "no key-direction"
    )
    return f"the server answers with {direction} and auth {wrapping.digest}: write that into the profile"
