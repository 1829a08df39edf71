"""`vpnprobe run`: the client agent. Pairs with a server agent, or probes alone, and says which VPN works."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from vpnprobe.cli import words
from vpnprobe.cli.options import (
    Judging,
    Output,
    judging_of,
    judging_options,
    output_of,
    output_options,
    probes_for,
    probing_options,
    require_privilege,
)
from vpnprobe.cli.profiles import check_real_client, existing_server, real_client_option, real_client_trial, try_real_client
from vpnprobe.cli.serve import DEFAULT_CONTROL_PORT
from vpnprobe.errors import CannotRun, UsageError
from vpnprobe.evidence.statistics import ERROR_BOUND

if TYPE_CHECKING:
    from vpnprobe.agents.client import Measured
    from vpnprobe.agents.control import Connector
    from vpnprobe.deployment.real_client.trying import RealClientTrial
    from vpnprobe.observations.schema import Observation
    from vpnprobe.probes.settings import ExistingServer, Settings, WantedPort
    from vpnprobe.transports.stack import Address, NetworkStack, TcpStream

SSH: Final = "ssh://"
NMAP_DEADLINE_S: Final = 20.0
SURE: Final = "How likely at most a 'blocked' may be where the path blocks nothing."


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run is asked for."""

    peer: str
    control_port: int
    token_file: Path | None
    solo: bool
    quiet: bool
    alone: bool = False
    """There is nothing but a profile: its first remote is the peer."""
    error_bound: float = ERROR_BOUND
    """What a 'blocked' must reach."""

    def tell(self, text: str) -> None:
        from vpnprobe.report.words import visible

        if not self.quiet:
            click.echo(visible(text), err=True)


@click.command()
@click.option("--peer", metavar="HOST|ssh://[USER@]HOST", help="Where `vpnprobe serve` runs, or where ssh is to start it.")
@click.option("--solo", is_flag=True, help="Probe HOST with no server agent there: answers prove, silence says unknown.")
@click.option("--profile", metavar="FILE", type=click.Path(path_type=Path), help=words.PROFILE)
@click.option("--take-over", is_flag=True, help="Try the profile though this machine shows that its own tunnel is up, which it interrupts.")
@real_client_option
@click.option("--control-port", type=click.IntRange(1, 65535), default=DEFAULT_CONTROL_PORT, show_default=True)
# Whether it can be read shows when it is: what access(2) says beforehand leaves capabilities out.
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, readable=False),
    help="The server's token [default: VPNPROBE_TOKEN, then token-HOST, token].",
)
@probing_options
@click.option("--port", "ports", multiple=True, type=click.IntRange(1, 65535), help=words.PORT)
@click.option("--error-bound", type=click.FloatRange(1e-12, 0.1), default=ERROR_BOUND, show_default=True, help=SURE)
@output_options
@judging_options
def run(
    peer: str | None,
    solo: bool,
    profile: Path | None,
    take_over: bool,
    real_client: bool,
    control_port: int,
    token_file: Path | None,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    ports: tuple[int, ...],
    error_bound: float,
    folder: Path | None,
    as_json: bool,
    quiet: bool,
    no_color: bool,
    rules_file: Path | None,
    preset: str,
    prefer: tuple[str, ...],
    client_os: tuple[str, ...],
    consider: tuple[str, ...],
) -> int:
    """Probes the path to a peer and says which VPN works.

    Both ends record every probe packet, so what is lost is placed: in this direction, between these two routers. Needs the server's token
    (made by `vpnprobe serve`), or ssh. Run it as root where GRE and ESP are to be measured; without, the rest is still done.

    `vpnprobe run --solo --profile FILE` needs nothing else: it tries the servers of the profile and names what stops a session.
    """
    from vpnprobe.cli.finishing import rule_set

    if peer is None and not (solo and profile is not None):
        raise UsageError(words.NO_PEER)
    if solo and peer is not None and peer.startswith(SSH):
        raise UsageError("--solo needs no agent at the peer: give it a plain host name, or leave --solo out")
    if take_over and profile is None:
        raise UsageError("--take-over is about a profile's tunnel: give --profile FILE too, or leave it out")
    if real_client:
        check_real_client(profile=profile is not None)
    output = output_of(folder, as_json=as_json, quiet=quiet, no_color=no_color)
    judging = judging_of(rules_file, preset, prefer, client_os, consider)
    rule_set(judging)
    names, protocols = probes_for(only, skip)
    require_privilege(only)
    wanted = Wanted(peer or "", control_port, token_file, solo, quiet, error_bound=error_bound)
    existing = existing_server(profile, wanted.tell, take_over=take_over) if profile is not None else None
    beside = real_client_trial(existing, wanted.tell) if real_client and existing is not None else None
    if existing is not None and names:
        names |= {existing.probe}
    if peer is None and existing is not None:
        names, protocols = _of_profile(existing, names, protocols)
        wanted = replace(wanted, peer=existing.remotes[0].host, alone=True)
        # Whoever asks about nothing but a protocol's server has named the protocol.
        judging = replace(judging, consider=(*judging.consider, *existing.protocols))
    return asyncio.run(_run(wanted, names, protocols, ports, existing, beside, output, judging))


def _of_profile(existing: "ExistingServer", names: frozenset[str], protocols: Sequence[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    """The probes and protocols of a run that tries a profile and nothing else, unless more was asked for by name."""
    own = tuple(dict.fromkeys(existing.protocols))
    return names | {existing.probe}, tuple(dict.fromkeys((*own, *protocols))) if names else own


async def _run(
    wanted: Wanted,
    names: frozenset[str],
    protocols: Sequence[str],
    further: Sequence[int],
    existing: "ExistingServer | None",
    beside: "RealClientTrial | None",
    output: Output,
    judging: Judging,
) -> int:
    import cryptography.x509  # noqa: F401  (the keys of a run need it: it is loaded before the run's time begins)

    from vpnprobe.cli.finishing import decided, now, publish, result_of, rule_set, status_of
    from vpnprobe.cli.own_capture import explained, own_conversations
    from vpnprobe.conversations.registry import usual_ports
    from vpnprobe.errors import ExitStatus
    from vpnprobe.observations.schema import Mode
    from vpnprobe.probes.settings import Settings

    control_port = None if wanted.solo or wanted.peer.startswith(SSH) else wanted.control_port
    if taken := [port for port in further if _is_registered(port)]:
        raise UsageError(f"--port {taken[0]} is the port of another VPN protocol, which is tried there: name another one")
    of_profile = [remote.port for remote in existing.remotes] if existing is not None else []
    # What comes to the profile's port beside its own messages tells a filter from the rest.
    named = (*further, *(port for port in of_profile if port not in usual_ports() and not _is_registered(port)))
    ports = tuple(dict.fromkeys((*usual_ports(), *named)))
    started = now()
    settings = Settings(
        ports, names, existing, only_existing=wanted.alone, control_port=control_port, named_ports=named, error_bound=wanted.error_bound
    )
    measured, took = await _measured(wanted, settings)
    if beside is not None and measured.complete:
        measured = await _beside(measured, beside)
        took += beside.took_s
    ports = (*ports, control_port) if control_port is not None and control_port not in ports else ports
    ports = tuple(dict.fromkeys(of_profile if wanted.alone else (*of_profile, *ports)))
    rules = rule_set(judging)
    decision = decided(measured.observations, judging, rules, ports=ports, control_port=control_port, protocols=protocols)
    # No agent says what came to the server: what its answers, repeats and acknowledgments prove is in the client's own capture. What was
    # still under way when a run was interrupted stopped for that.
    seen = own_conversations(measured.captures, rules) if wanted.solo and measured.complete else ()
    if seen:
        decision = replace(decision, verdicts=explained(decision.verdicts, seen, rules))
    name = wanted.peer.removeprefix(SSH)
    result = result_of(
        decision,
        measured.observations,
        mode=Mode.SOLO if wanted.solo else Mode.PAIRED,
        started=started,
        duration_s=took,
        name=name,
        client={**measured.client, **({"profile": existing.about()} if existing is not None else {})},
        server=measured.server and {**measured.server, **({"control_port": control_port} if control_port else {})},
        complete=measured.complete,
    )
    result = replace(result, conversations=seen)
    publish(result, output, name=name, started=started, captures=measured.captures)
    if measured.complete:
        return status_of(result.verdicts)
    from vpnprobe.report.words import visible

    click.echo(f"error: the run is incomplete: {visible(measured.problem)}", err=True)
    return ExitStatus.NO_PEER if measured.peer_lost else ExitStatus.INTERRUPTED


def _is_registered(port: int) -> bool:
    """Whether a protocol has the port for itself, over UDP or TCP."""
    from vpnprobe.conversations.registry import registered_ports
    from vpnprobe.observations.schema import Transport

    return any(port in registered_ports(transport) for transport in (Transport.TCP, Transport.UDP))


async def _measured(wanted: Wanted, settings: "Settings") -> "tuple[Measured, float]":
    """Pairs and measures; Ctrl-C and SIGTERM end the measuring, not the run."""
    import os
    import signal

    from vpnprobe.agents.client import ClientRun
    from vpnprobe.agents.pairing import connector, credentials
    from vpnprobe.agents.token import client_token
    from vpnprobe.transports.stack import Endpoint
    from vpnprobe.transports.system import SystemStack

    stack = SystemStack()
    began = stack.now()
    if wanted.peer.startswith(SSH):
        address, connect = await _through_ssh(wanted)
        run = ClientRun(stack, address, settings, connect, wanted.tell, second_opinion=nmap_opinion(address))
    else:
        address = await first_address(settings.existing, stack) if wanted.alone and settings.existing else await resolve(wanted.peer)
        if wanted.alone:
            run = ClientRun(stack, address, settings, None, wanted.tell)
        elif wanted.solo:
            run = ClientRun(stack, address, settings, None, wanted.tell, second_opinion=nmap_opinion(address))
        else:
            token = client_token(wanted.token_file, os.environ, wanted.peer)
            connect_tls = connector(stack, Endpoint(address, wanted.control_port), token)
            run = ClientRun(stack, address, settings, connect_tls, wanted.tell, credentials(token), second_opinion=nmap_opinion(address))
    measuring = asyncio.get_running_loop().create_task(run.measure())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, measuring.cancel)
    try:
        return await measuring, stack.now() - began
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        stack.close()


async def _beside(measured: "Measured", trial: "RealClientTrial") -> "Measured":
    """With what the protocol's own program came to with the same profile. After our own try: two sessions of one identity clash."""
    whole = await try_real_client(trial, measured.observations)
    found = replace(
        measured,
        observations=(*measured.observations, *trial.observations()),
        client={**measured.client, "real_client": trial.document()},
    )
    return found if whole else replace(found, complete=False, problem="interrupted")


async def _through_ssh(wanted: Wanted) -> "tuple[Address, Connector]":
    """Starts the server agent through ssh; its pipe is the one control connection."""
    from vpnprobe.transports.ssh import SshTarget, start_agent

    target = SshTarget.parse(wanted.peer)
    wanted.tell(f"starting the server agent at {target} through ssh")
    agent = await start_agent(target)
    wanted.tell(f"server agent {agent.way} at {agent.address}")
    streams = [agent.stream]

    async def connect() -> "TcpStream":
        if not streams:
            raise CannotRun("the ssh connection to the peer is stalled or gone")
        return streams.pop()

    return agent.address, connect


async def first_address(existing: "ExistingServer", stack: "NetworkStack") -> "Address":
    """The first IPv4 address of a remote that there is a route to; the unspecified one where there is none: the trial says so by name."""
    from ipaddress import IPv4Address

    for remote in existing.remotes:
        for address in await existing.resolve(remote.host, remote.family):
            if address.version == 4:
                with contextlib.suppress(CannotRun, OSError):
                    stack.source_address(address)
                    return address
    return IPv4Address(0)


async def resolve(host: str) -> "Address":
    """The IPv4 address of a host. Raises CannotRun where there is none."""
    from vpnprobe.transports import resolving

    try:
        addresses = await resolving.resolve(host)
    except OSError as error:
        raise CannotRun(f"the host {host!r} is not known ({error.strerror}): check the name, or give its address") from None
    fours = [address for address in addresses if address.version == 4]
    if not fours:
        raise CannotRun(f"{host} has no IPv4 address, and probing over IPv6 is not built: give an IPv4 address of it")
    return fours[0]


def nmap_opinion(address: "Address") -> "Callable[[Sequence[WantedPort]], Coroutine[Any, Any, list[Observation]]]":
    """nmap's own word on the ports, as observations; empty where nmap is not installed."""

    async def ask(ports: "Sequence[WantedPort]") -> "list[Observation]":
        from vpnprobe.observations.schema import Direction, Observation, Outcome, Transport
        from vpnprobe.transports.nmap import scan

        by_transport = {t: [port.port for port in ports if port.transport is t] for t in (Transport.TCP, Transport.UDP)}
        found = await scan(str(address), by_transport[Transport.TCP], by_transport[Transport.UDP], deadline_s=NMAP_DEADLINE_S)
        outcomes = {"open": Outcome.PASS, "closed": Outcome.REFUSED}
        return [
            Observation(
                id=f"{port.transport}-nmap-{port.port}",
                probe=port.transport,
                check="nmap",
                direction=Direction.BOTH,
                transport=Transport(port.transport),
                port=port.port,
                outcome=outcomes.get(port.state, Outcome.NO_ANSWER),
                detail={"state": port.state, "reason": port.reason},
            )
            for port in found or ()
        ]

    return ask
