"""`vpnprobe demo`: both agents in a simulated network, for anybody, at once."""

from pathlib import Path

import click

from vpnprobe.cli.options import judging_of, judging_options, output_of, output_options


@click.command()
@click.option("--scenario", "name", default="seed", show_default=True, metavar="NAME", help="A built-in scenario, or a TOML file.")
@click.option("--seed", default=1, show_default=True, help="Of the network's chance: loss and the like.")
@output_options
@judging_options
def demo(
    name: str,
    seed: int,
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
    """Runs both agents in a simulated network.

    No peer and no privilege is needed. The default scenario is the one that vpnprobe began with: a router between client and server drops
    GRE, so PPTP's control connection comes up and its tunnel never does. `vpnprobe lab list` names the others.
    """
    from vpnprobe.agents.simulation import CONTROL_PORT, measure_simulated
    from vpnprobe.cli.finishing import decided, now, publish, result_of, rule_set, status_of
    from vpnprobe.conversations.registry import usual_ports
    from vpnprobe.lab.scenario import load
    from vpnprobe.observations.schema import Mode
    from vpnprobe.probes.settings import Settings

    output = output_of(folder, as_json=as_json, quiet=quiet, no_color=no_color)
    judging = judging_of(rules_file, preset, prefer, client_os, consider)
    rules = rule_set(judging)
    scenario = load(name)
    started = now()

    def tell(text: str) -> None:
        if not quiet:
            click.echo(text, err=True)

    tell(f"simulating: {scenario.description}")
    measured, took = measure_simulated(scenario.topology, seed=seed, settings=Settings(usual_ports(), control_port=CONTROL_PORT), tell=tell)
    decision = decided(measured.observations, judging, rules, ports=(*usual_ports(), CONTROL_PORT), control_port=CONTROL_PORT)
    result = result_of(
        decision,
        measured.observations,
        mode=Mode.SIMULATED,
        started=started,
        duration_s=took,
        name=f"demo-{scenario.name}",
        client=measured.client,
        server=measured.server,
        complete=measured.complete,
    )
    publish(result, output, name=f"demo-{scenario.name}", started=started, captures=measured.captures)
    return status_of(result.verdicts)
