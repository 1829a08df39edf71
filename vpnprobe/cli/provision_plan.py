"""`vpnprobe provision plan`: everything that would be done, before anything is."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from vpnprobe.cli.options import together
from vpnprobe.cli.provision import asked_passphrase, need_absolute, root_option, tell
from vpnprobe.cli.provision_options import listener_of, pools_of, resolvers_of, routes_of
from vpnprobe.errors import UsageError

if TYPE_CHECKING:
    from vpnprobe.deployment.choosing import Wishes
    from vpnprobe.deployment.planning import Made


NOT_COMPARED: Final = (
    "Not compared: this is not the server of the result (--here if it is one behind a NAT). What only the server can tell (its\n"
    "firewall, its services) is added, and all is compared, when the plan is applied there. by-hand/ has rules for a server whose\n"
    "firewall is PF (OpenBSD, FreeBSD, macOS).\n"
)
_DAYS: Final = click.IntRange(1, 36500)
_wishes_options = together(
    click.option("--host", metavar="NAME", help="Name or address that clients connect to [default: the result's]."),
    click.option(
        "--listen",
        "listeners",
        multiple=True,
        metavar="TRANSPORT:PORT[:WRAP]",
        help="A listener instead of the recommended one (repeatable).",
    ),
    click.option("--pool", "pools", multiple=True, metavar="NETWORK", help="Clients' addresses in the tunnel, IPv4 or IPv6, by listener."),
    click.option("--dns", "resolvers", multiple=True, metavar="ADDRESS", help="A resolver that clients are told (repeatable)."),
    click.option("--route", "routes", multiple=True, metavar="NETWORK", help="Only these networks go through the tunnel (repeatable)."),
    click.option("--full-tunnel/--split-tunnel", "full", default=None, help="Whether all traffic does [default: unless --route is given]."),
    click.option("--key-type", type=click.Choice(["ec", "rsa"]), default="ec", show_default=True, help="Of new keys."),
    click.option("--client-days", type=_DAYS, default=825, show_default=True, help="How long clients' certificates are good."),
    click.option("--server-days", type=_DAYS, default=825, show_default=True, help="The same of the server's."),
    click.option("--ca-days", type=_DAYS, default=3650, show_default=True, help="The same of the authority's."),
    click.option("--oldest-client", metavar="VERSION", default="2.5", show_default=True, help="The oldest OpenVPN that has to connect."),
)


@click.command()
@click.argument("result", metavar="RESULT", type=click.Path(path_type=Path))
@click.option("-o", "--output", "folder", metavar="DIR", type=click.Path(path_type=Path), required=True, help="Where the plan is written.")
@_wishes_options
@click.option("--client", "clients", multiple=True, metavar="NAME", help="A client to make a profile for (repeatable).")
@click.option("--adopt", "pki", metavar="FOLDER", help="Take over the authority in easy-rsa's pki folder, on the server.")
@click.option("--ca-passphrase", is_flag=True, help="Ask for the passphrase of that authority's key.")
@click.option("--here", is_flag=True, help="This is the server, though the result names another address of it (behind a NAT).")
@root_option
def plan(
    result: Path,
    folder: Path,
    clients: tuple[str, ...],
    pki: str | None,
    ca_passphrase: bool,
    here: bool,
    root: Path,
    **wanted: Any,  # noqa: ANN401
) -> int:
    """Writes the plan for a server from RESULT, a result folder or its result.json. Changes nothing.

    DIR gets plan.json (every step, its reason, what it replaces), the files as they would be, and clients' profiles. Run it on the server.
    """
    from vpnprobe.deployment.encoding import json_text, write_plan
    from vpnprobe.deployment.hooks import Stage, hooks_of
    from vpnprobe.deployment.planning import write_profiles

    wishes, root = _wishes(**wanted), need_absolute(root)
    made = _made(result, wishes, root, clients=clients, pki=pki, ca_passphrase=ca_passphrase, here=here)
    hooks, text = hooks_of(root), json_text(made.plan)
    hooks.ask(Stage.PRE_PLAN, text, tell)
    write_plan(made.plan, folder, clients=clients, by_hand=made.by_hand)
    write_profiles(made.profiles, folder)
    hooks.ask(Stage.POST_PLAN, text, tell)
    _say(made, folder, root)
    return 0


def _wishes(
    *,
    host: str | None,
    listeners: tuple[str, ...],
    pools: tuple[str, ...],
    resolvers: tuple[str, ...],
    routes: tuple[str, ...],
    full: bool | None,
    key_type: str,
    client_days: int,
    server_days: int,
    ca_days: int,
    oldest_client: str,
) -> "Wishes":
    """Raises UsageError."""
    from vpnprobe.deployment.choosing import Wishes
    from vpnprobe.deployment.settings import Lifetimes
    from vpnprobe.provisioning.certificates import KeyAlgorithm

    if full is False and not routes:
        raise UsageError("--split-tunnel leaves nothing to the tunnel: name the networks that go through it (--route)")
    fours, sixes = pools_of(pools)
    return Wishes(
        host=host,
        listeners=tuple(map(listener_of, listeners)),
        pools=fours,
        pools6=sixes,
        dns=resolvers_of(resolvers),
        routes=routes_of(routes),
        full_tunnel=full,
        key_algorithm=KeyAlgorithm.EC_P256 if key_type == "ec" else KeyAlgorithm.RSA_3072,
        lifetimes=Lifetimes(authority=ca_days, server=server_days, client=client_days),
        oldest_client=oldest_client,
    )


def _made(
    result: Path, wishes: "Wishes", root: Path, *, clients: tuple[str, ...], pki: str | None, ca_passphrase: bool, here: bool
) -> "Made":
    from vpnprobe.cli.finishing import now
    from vpnprobe.deployment.host import is_server_of
    from vpnprobe.deployment.planning import Adopted, make_plan, make_plan_elsewhere
    from vpnprobe.observations import document

    measured = document.read(result)
    if here or is_server_of(measured):
        adopted = None if pki is None else Adopted(folder=pki, passphrase=asked_passphrase() if ca_passphrase else None)
        return make_plan(measured, wishes, root=root, clients=clients, now=now(), adopted=adopted)
    if pki is not None:
        raise UsageError("--adopt takes over what lies on the server: plan there (or give --here)")
    return make_plan_elsewhere(measured, wishes, clients=clients, now=now())


def _say(made: "Made", folder: Path, root: Path) -> None:
    """What would change, and how to go on."""
    from vpnprobe.deployment.encoding import CLIENTS
    from vpnprobe.deployment.pki import read_authority
    from vpnprobe.deployment.words import difference

    click.echo(difference(made.plan, root) if made.plan.compared else NOT_COMPARED, nl=False)
    if made.profiles and made.plan.compared and read_authority(root) is not None:
        click.echo(f"Profiles in {folder / CLIENTS} let in from now on, as the authority is in use: destroy them if this is not applied.")
    click.echo(f"Plan: {folder / 'plan.json'}: {made.plan.summary}. Nothing is changed yet; do it with:")
    click.echo(f"  vpnprobe provision apply {folder} --confirm-within 120s")
