"""`vpnprobe provision plan`: everything that would be done, before anything is."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from vpnprobe.cli.provision import asked_passphrase, need_absolute, root_option, tell
from vpnprobe.cli.provision_options import listener_of, pools_of, resolvers_of, routes_of
from vpnprobe.errors import ExitStatus, UsageError

if TYPE_CHECKING:
    from vpnprobe.deployment.hooks import Stage


NOT_COMPARED: Final = (
    "Not compared: this is not the server of the result (--here if it is one behind a NAT). What only the server can tell (its\n"
    "firewall, its services) is added, and all is compared, when the plan is applied there. by-hand/ has rules for a server whose\n"
    "firewall is PF (OpenBSD, FreeBSD, macOS).\n"
)


def _ask_hooks(root: Path, stage: "Stage", plan: str) -> None:
    """Raises UsageError (REFUSED) where one says no."""
    from vpnprobe.deployment.hooks import HookFailed, hooks_of

    try:
        hooks_of(root).run(stage, plan, tell)
    except HookFailed as problem:
        raise UsageError(f"{problem}; nothing was changed", status=ExitStatus.REFUSED) from None


@click.command()
@click.argument("result", metavar="RESULT", type=click.Path(path_type=Path))
@click.option("-o", "--output", "folder", metavar="DIR", type=click.Path(path_type=Path), required=True, help="Where the plan is written.")
@click.option("--host", metavar="NAME", help="Name or address that clients connect to [default: the result's].")
@click.option(
    "--listen", "listeners", multiple=True, metavar="TRANSPORT:PORT[:WRAP]", help="A listener instead of the recommended one (repeatable)."
)
@click.option("--pool", "pools", multiple=True, metavar="NETWORK", help="Clients' addresses in the tunnel, IPv4 or IPv6, by listener.")
@click.option("--dns", "resolvers", multiple=True, metavar="ADDRESS", help="A resolver that clients are told (repeatable).")
@click.option("--route", "routes", multiple=True, metavar="NETWORK", help="Only these networks go through the tunnel (repeatable).")
@click.option("--full-tunnel/--split-tunnel", "full", default=None, help="Whether all traffic does [default: unless --route is given].")
@click.option("--client", "clients", multiple=True, metavar="NAME", help="A client to make a profile for (repeatable).")
@click.option("--key-type", type=click.Choice(["ec", "rsa"]), default="ec", show_default=True, help="Of new keys.")
@click.option("--client-days", type=click.IntRange(1, 36500), help="How long clients' certificates are good [default: 825].")
@click.option("--server-days", type=click.IntRange(1, 36500), help="The same of the server's [default: 825].")
@click.option("--ca-days", type=click.IntRange(1, 36500), help="The same of the authority's [default: 3650].")
@click.option("--oldest-client", metavar="VERSION", help="The oldest OpenVPN that has to connect [default: 2.5].")
@click.option("--adopt", "pki", metavar="FOLDER", help="Take over the authority in easy-rsa's pki folder, on the server.")
@click.option("--ca-passphrase", is_flag=True, help="Ask for the passphrase of that authority's key.")
@click.option("--here", is_flag=True, help="This is the server, though the result names another address of it (behind a NAT).")
@root_option
def plan(
    result: Path,
    folder: Path,
    host: str | None,
    listeners: tuple[str, ...],
    pools: tuple[str, ...],
    resolvers: tuple[str, ...],
    routes: tuple[str, ...],
    full: bool | None,
    clients: tuple[str, ...],
    key_type: str,
    client_days: int | None,
    server_days: int | None,
    ca_days: int | None,
    oldest_client: str | None,
    pki: str | None,
    ca_passphrase: bool,
    here: bool,
    root: Path,
) -> int:
    """Writes the plan for a server from RESULT, a result folder or its result.json. Changes nothing.

    DIR gets plan.json (every step, its reason, what it replaces), the files as they would be, and clients' profiles. Run it on the server.
    """
    from vpnprobe.cli.finishing import now
    from vpnprobe.deployment.choosing import Wishes
    from vpnprobe.deployment.encoding import CLIENTS, json_text, write_plan
    from vpnprobe.deployment.hooks import Stage
    from vpnprobe.deployment.host import is_server_of
    from vpnprobe.deployment.pki import read_authority
    from vpnprobe.deployment.planning import Adopted, make_plan, make_plan_elsewhere, write_profiles
    from vpnprobe.deployment.settings import Lifetimes
    from vpnprobe.deployment.words import difference
    from vpnprobe.observations import document
    from vpnprobe.provisioning.certificates import KeyAlgorithm

    if full is False and not routes:
        raise UsageError("--split-tunnel leaves nothing to the tunnel: name the networks that go through it (--route)")
    fours, sixes = pools_of(pools)
    lifetimes = {
        name: days for name, days in (("client", client_days), ("server", server_days), ("authority", ca_days)) if days is not None
    }
    wishes = Wishes(
        host=host,
        listeners=tuple(map(listener_of, listeners)),
        pools=fours,
        pools6=sixes,
        dns=resolvers_of(resolvers),
        routes=routes_of(routes),
        full_tunnel=full,
        key_algorithm=KeyAlgorithm.EC_P256 if key_type == "ec" else KeyAlgorithm.RSA_3072,
        lifetimes=Lifetimes(**{name: days for name, days in lifetimes.items() if days is not None}),
        oldest_client=oldest_client,
    )
    root, measured = need_absolute(root), document.read(result)
    if here or is_server_of(measured):
        adopted = None if pki is None else Adopted(folder=pki, passphrase=asked_passphrase() if ca_passphrase else None)
        made = make_plan(measured, wishes, root=root, clients=clients, now=now(), adopted=adopted)
    elif pki is not None:
        raise UsageError("--adopt takes over what lies on the server: plan there (or give --here)")
    else:
        made = make_plan_elsewhere(measured, wishes, clients=clients, now=now())
    _ask_hooks(root, Stage.PRE_PLAN, json_text(made.plan))
    write_plan(made.plan, folder, clients=clients, by_hand=made.by_hand)
    write_profiles(made.profiles, folder)
    _ask_hooks(root, Stage.POST_PLAN, json_text(made.plan))
    click.echo(difference(made.plan, root) if made.plan.compared else NOT_COMPARED, nl=False)
    if made.profiles and made.plan.compared and read_authority(root) is not None:
        click.echo(f"Profiles in {folder / CLIENTS} let in from now on, as the authority is in use: destroy them if this is not applied.")
    click.echo(f"Plan: {folder / 'plan.json'}: {made.plan.summary}. Nothing is changed yet; do it with:")
    click.echo(f"  vpnprobe provision apply {folder} --confirm-within 120s")
    return 0
