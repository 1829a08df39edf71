"""The real client at our own server's end: in every wrap over UDP and TCP it comes up and data goes both ways; it says why it may not."""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, product
from pathlib import Path

import pytest
from openvpn_responding import PORT, Responder, echoes_answered, server_wrapping

from vpnprobe.conversations.openvpn_ends import CIPHERS, CLIENT_TUNNEL, SERVER_TUNNEL, Server
from vpnprobe.conversations.openvpn_failures import FailureCode
from vpnprobe.conversations.openvpn_session import Stage
from vpnprobe.conversations.openvpn_tls import Identity, server_context
from vpnprobe.errors import CannotRun
from vpnprobe.lab.daemons import _require
from vpnprobe.lab.namespaces import Lab, require_tools
from vpnprobe.lab.openvpn_pki import Algorithm, Authority, Flaw, WrapKeys
from vpnprobe.lab.openvpn_servers import COMPLETED, RunningClient, ServerConfig, Wrapping, client_profile, openvpn_client
from vpnprobe.observations.schema import Transport
from vpnprobe.transports.topology import CLIENT, SERVER, Topology
from vpnprobe.wire.ciphers import Cipher
from vpnprobe.wire.openvpn import ControlWkcV1

pytestmark = [pytest.mark.root, pytest.mark.real, pytest.mark.requires("namespaces")]
PATIENCE_S = 15.0
AT_ONCE = 6
ECHOES = 20
FORMS = (*((wrapping, False) for wrapping in Wrapping if wrapping is not Wrapping.TLS_CRYPT_V2_COOKIE), (Wrapping.TLS_CRYPT_V2, True))


@dataclass(frozen=True)
class Case:
    """How our server takes its clients."""

    transport: Transport
    wrapping: Wrapping
    again: bool = False
    """Whether it asks for the wrapped key again."""
    cipher: Cipher = Cipher.AES_256_GCM
    """The only one that it has."""
    trusts_clients: bool = True
    client_ciphers: str = ":".join(CIPHERS)

    @property
    def name(self) -> str:
        return f"{self.transport}-{self.wrapping}{'-again' if self.again else ''}"


CIPHER_IN_TURN = cycle(CIPHERS)
WELCOME = {
    case.name: case
    for transport, (wrapping, again) in product((Transport.UDP, Transport.TCP), FORMS)
    for case in [Case(transport, wrapping, again, next(CIPHER_IN_TURN))]
}
REFUSED = {
    f"{transport}-{name}": case
    for transport in (Transport.UDP, Transport.TCP)
    for name, case in (
        ("certificate", Case(transport, Wrapping.PLAIN, trusts_clients=False)),
        ("cipher", Case(transport, Wrapping.TLS_CRYPT, cipher=Cipher.AES_128_GCM, client_ciphers="AES-256-GCM")),
    )
}
SAYS = {"certificate": "SSL alert: unknown CA", "cipher": "AUTH_FAILED,Data channel cipher negotiation failed (no shared cipher)"}


@dataclass(frozen=True)
class Came:
    """What came of it, when the client had ended."""

    log: str
    address: str | None
    back: int
    """Echo requests of the client's that we answered, as its kernel saw it."""
    session: Server
    sessions: int


@dataclass(frozen=True)
class SessionKeys:
    authority: Authority
    keys: WrapKeys


def responder_of(case: Case, session_keys: SessionKeys) -> Responder:
    authority = session_keys.authority
    identity = authority.server(Flaw.NONE)
    trusted = authority.pem if case.trusts_clients else authority.other_pem
    return Responder(
        transport=case.transport,
        wrapping=server_wrapping(case.wrapping, session_keys.keys),
        context=server_context(Identity(identity.certificate_pem, identity.key_pem), clients_pem=trusted.decode()),
        ciphers=(case.cipher,),
        ask_for_key_again=case.again,
    )


def met(case: Case, says: str, session_keys: SessionKeys, folder: Path) -> Came:
    """A lab of its own, so that the tunnels of all clients can have one address; the client runs until it says this."""
    folder.mkdir()
    responder = responder_of(case, session_keys)
    with Lab(Topology(routers=1), f"vprl-resp-{os.getpid()}-{threading.get_native_id()}") as lab:
        endpoint = str(lab.topology.server_address), PORT
        config = ServerConfig(case.transport, PORT, case.wrapping)
        profile = client_profile(config, endpoint, session_keys.authority, session_keys.keys, **{"data-ciphers": case.client_ciphers})
        with responder.listening(lab), openvpn_client(lab, profile, folder=folder) as client:
            client.wait_for(says, deadline_s=PATIENCE_S)
            back = exchanged(lab, client, responder) if says == COMPLETED else 0
        assert lab.processes(CLIENT) == lab.processes(SERVER) == []
    return Came(client.log, client.address, back, responder.sessions[0], len(responder.sessions))


def exchanged(lab: Lab, client: RunningClient, responder: Responder) -> int:
    """Echoes of the client's kernel come back; ours go on until they are answered."""
    back = echoes_answered(lab, SERVER_TUNNEL, count=ECHOES, patience_s=PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    while not responder.sessions[0].run.all_answered and time.monotonic() < deadline and client.process.poll() is None:
        time.sleep(0.02)
    return back


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Future[Came]]]:
    """All cases, several at once."""
    try:
        require_tools()
        program = _require("openvpn")
    except CannotRun as lack:
        pytest.skip(str(lack))
    folder = tmp_path_factory.mktemp("responder")
    session_keys = SessionKeys(Authority.make(folder / "pki", Algorithm.EC), WrapKeys.make(program, folder / "keys"))
    wanted = {name: (case, COMPLETED) for name, case in WELCOME.items()}
    wanted |= {name: (case, SAYS[name.rpartition("-")[2]]) for name, case in REFUSED.items()}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(met, case, says, session_keys, folder / name) for name, (case, says) in wanted.items()}


@pytest.mark.parametrize("name", WELCOME)
def test_the_real_client_comes_up_and_data_goes_both_ways(outcomes: Mapping[str, Future[Came]], name: str) -> None:
    came, cipher = outcomes[name].result(), WELCOME[name].cipher
    session = came.session
    assert came.address == str(CLIENT_TUNNEL)
    assert f"Data Channel: cipher '{cipher}'" in came.log
    assert (session.failure, session.stage, session.cipher) == (None, Stage.DATA, cipher)
    assert came.back == ECHOES
    assert session.requests_answered >= ECHOES
    assert session.run.all_answered
    assert session.unreadable == 0
    assert came.sessions == 1
    assert session.client_info["IV_VER"].startswith("2.")


@pytest.mark.parametrize("name", [name for name, case in WELCOME.items() if case.again])
def test_the_wrapped_key_came_twice(outcomes: Mapping[str, Future[Came]], name: str) -> None:
    assert any(isinstance(step.message, ControlWkcV1) for step in outcomes[name].result().session.tracker.steps)


@pytest.mark.parametrize(
    ("kind", "code"), [("certificate", FailureCode.CLIENT_CERTIFICATE_REFUSED), ("cipher", FailureCode.NO_COMMON_DATA_CIPHER)]
)
@pytest.mark.parametrize("transport", [Transport.UDP, Transport.TCP])
def test_the_real_client_says_why_it_may_not_in(
    outcomes: Mapping[str, Future[Came]], transport: Transport, kind: str, code: FailureCode
) -> None:
    came = outcomes[f"{transport}-{kind}"].result()
    assert SAYS[kind] in came.log
    assert COMPLETED not in came.log
    assert came.session.failure is not None
    assert came.session.failure.code is code
