"""`vpnprobe lab`: scenarios as real network namespaces (Linux, root), and campaigns over random ones in virtual time.

What is up is known from the names of the namespaces alone, so `down` works after a crash as after `up`.
"""

import os
import sys
from pathlib import Path

import click

from vpnprobe.cli.lab_campaign import campaign
from vpnprobe.errors import UsageError
from vpnprobe.lab import namespaces
from vpnprobe.lab.scenario import load, names
from vpnprobe.transports.topology import SERVER, Topology

prefix_option = click.option(
    "--prefix", default=namespaces.DEFAULT_PREFIX, show_default=True, help="What the names of the namespaces begin with."
)


@click.group()
def lab() -> None:
    """Builds scenarios out of real network namespaces (Linux, root), or measures random ones in virtual time."""


lab.add_command(campaign)


@lab.command("list")
def list_scenarios() -> None:
    """Lists the built-in scenarios."""
    width = max(map(len, names()))
    for name in names():
        click.echo(f"{name:{width}}  {load(name).description}")


@lab.command("up")
@click.argument("scenario", metavar="NAME_OR_FILE")
@prefix_option
def bring_up(scenario: str, prefix: str) -> None:
    """Builds a scenario: a built-in one by its name, or a TOML file."""
    topology = load(scenario).topology
    if topology.stalls or any(planted.timed for planted in topology.filters):
        what = "programs of {} stand still at times" if topology.stalls else "filters of {} come and go"
        raise UsageError(f"{what.format(scenario)}, which a lab that stays up cannot show: vpnprobe demo --scenario {scenario}")
    namespaces.up(topology, prefix)
    click.echo(instructions(topology, prefix))


@lab.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@prefix_option
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(prefix: str, host: str, command: tuple[str, ...]) -> None:
    """Runs COMMAND on HOST (client, r1 to rN, server) of the lab that is up."""
    namespaces.require_tools()
    there = namespaces.hosts(prefix)
    if not there:
        raise UsageError(f"no lab with the prefix {prefix!r} is up: 'vpnprobe lab up NAME' builds one")
    if host not in there:
        raise UsageError(f"there is no host {host!r} in this lab, only {', '.join(there)}")
    words = [*namespaces.exec_prefix(host, prefix), *command]
    os.execvp(words[0], words)


@lab.command("down")
@prefix_option
def take_down(prefix: str) -> None:
    """Ends what runs in the lab and removes it."""
    removed = namespaces.down(prefix)
    click.echo(f"removed {', '.join(removed)}" if removed else f"no lab with the prefix {prefix!r} is up")


def instructions(topology: Topology, prefix: str) -> str:
    """How the lab that is up is used."""
    program = sys.argv[0] if Path(sys.argv[0]).name == "vpnprobe" else "vpnprobe"
    option = "" if prefix == namespaces.DEFAULT_PREFIX else f" --prefix {prefix}"
    execute_on = f"{program} lab exec{option}"
    return "\n".join(
        [
            f"up: {' - '.join(topology.names())}",
            f"the client is {topology.client_address}, the server {topology.public_address(SERVER)}",
            f"  {execute_on} server {program} serve",
            f"  {execute_on} client {program} run --peer {topology.public_address(SERVER)}",
            f"  {program} lab down{option}",
        ]
    )
