"""`vpnprobe provision client add|profile|revoke|renew|list` and `provision renew server|ca`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from vpnprobe.cli.provision import asked_passphrase, need_absolute, root_option, tell

if TYPE_CHECKING:
    from vpnprobe.deployment.site import Outcome, Site

TARGETS: Final = ("windows", "macos", "linux", "networkmanager", "ios", "android", "mikrotik")
_for = click.option("--for", "target", type=click.Choice(TARGETS), default="linux", show_default=True, help="Which system.")
_output = click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="The profile [default: NAME.ovpn].")
_passphrase = click.option("--passphrase", is_flag=True, help="Ask for a passphrase that encrypts the private key.")
_name = click.argument("name", metavar="NAME")
_authority = click.option("--ca-passphrase", is_flag=True, help="Ask for the passphrase of the authority's key.")


@click.group()
def client() -> None:
    """Adds, revokes, renews and lists clients of the server that is applied here, and writes their profiles again."""


@client.command()
@_name
@_output
@_for
@_passphrase
@_authority
@root_option
def add(name: str, output: Path | None, target: str, passphrase: bool, ca_passphrase: bool, root: Path) -> int:
    """Makes a certificate and a profile for a new client."""
    return _with_profile(name, output, target, passphrase, ca_passphrase, root, renew=False)


@client.command(name="renew")
@_name
@_output
@_for
@_passphrase
@_authority
@root_option
def renew_one(name: str, output: Path | None, target: str, passphrase: bool, ca_passphrase: bool, root: Path) -> int:
    """Gives a client a new certificate and profile; the old one stays good until its end."""
    return _with_profile(name, output, target, passphrase, ca_passphrase, root, renew=True)


def _with_profile(name: str, output: Path | None, target: str, passphrase: bool, ca_passphrase: bool, root: Path, *, renew: bool) -> int:
    from vpnprobe.cli.finishing import now
    from vpnprobe.deployment.client_profiles import Target, check_target
    from vpnprobe.deployment.clients import add_client, profile_after, renew_client
    from vpnprobe.deployment.profile_files import check_writable, write_profile

    root = need_absolute(root)
    site = _site(root, ask=ca_passphrase)
    wanted, file = check_target(Target(target)), output or Path(f"{name}.ovpn")
    secret = _asked() if passphrase else None
    make = renew_client if renew else add_client
    outcome = make(site, name, now=now(), passphrase=secret)
    check_writable(file)
    _carry_out(outcome, root, f"client {name} {'renewed' if renew else 'added'}")
    write_profile(file, profile_after(outcome, name, wanted))
    _say_secret(file, name)
    return 0


def _say_secret(file: Path, name: str) -> None:
    click.echo(f"{file}: the profile of {name}. It is a secret: whoever has it gets in.")


@client.command()
@_name
@_output
@_for
@root_option
def profile(name: str, output: Path | None, target: str, root: Path) -> int:
    """Writes the profile of a client again, with the certificate and key that it has: for another system, or a lost file."""
    from vpnprobe.deployment.client_profiles import Target
    from vpnprobe.deployment.clients import profile_of
    from vpnprobe.deployment.profile_files import write_profile

    root, file = need_absolute(root), output or Path(f"{name}.ovpn")
    write_profile(file, profile_of(_site(root), name, Target(target), root))
    _say_secret(file, name)
    return 0


@client.command()
@_name
@_authority
@root_option
def revoke(name: str, ca_passphrase: bool, root: Path) -> int:
    """Lets a client in no more, at once and for ever."""
    from vpnprobe.cli.finishing import now
    from vpnprobe.deployment.clients import revoke_client

    root = need_absolute(root)
    outcome = revoke_client(_site(root, ask=ca_passphrase), name, now=now())
    _carry_out(outcome, root, f"client {name} revoked")
    click.echo(f"{name} is revoked.")
    return 0


@client.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="As JSON on standard output.")
@root_option
def list_(as_json: bool, root: Path) -> int:
    """Lists all clients, with the state of their certificates."""
    from vpnprobe.cli.finishing import now
    from vpnprobe.deployment.clients import list_clients

    found = list_clients(_site(need_absolute(root)).authority, now=now())
    if as_json:
        rows = [
            {
                "name": one.name,
                "state": one.state.value,
                "serial": one.serial,
                "not_after": one.not_after.isoformat(),
                "revoked_at": one.revoked_at and one.revoked_at.isoformat(),
                "certificates": one.certificates,
            }
            for one in found
        ]
        click.echo(json.dumps({"schema": "vpnprobe.clients/1", "clients": rows}, indent=2))
        return 0
    for one in found:
        click.echo(f"{one.name}: {one.state.value}, until {one.not_after:%Y-%m-%d}")
    if not found:
        click.echo("There are no clients yet: vpnprobe provision client add NAME")
    return 0


@click.command()
@click.argument("what", type=click.Choice(["server", "ca"]))
@_authority
@root_option
def renew(what: str, ca_passphrase: bool, root: Path) -> int:
    """Renews the server's certificate, or the authority's."""
    from vpnprobe.cli.finishing import now
    from vpnprobe.deployment.clients import renew_authority, renew_server

    root = need_absolute(root)
    outcome = (renew_server if what == "server" else renew_authority)(_site(root, ask=ca_passphrase), now=now())
    _carry_out(outcome, root, f"{what} renewed")
    return 0


def _site(root: Path, *, ask: bool = False) -> "Site":
    """What is applied, with its keys. Raises UsageError (REFUSED) where nothing is."""
    from vpnprobe.deployment.planning import require_applied
    from vpnprobe.deployment.site import require_site

    settings = require_applied(root)
    return require_site(root, settings, passphrase=asked_passphrase() if ask else None)


def _carry_out(outcome: "Outcome", root: Path, summary: str) -> None:
    """Journalled like any other change; sessions are cut once the files are there."""
    from vpnprobe.deployment.changing import carry_out

    carry_out(outcome, root, summary, tell)
    for line in outcome.told:
        tell(line)


def _asked() -> bytes:
    text: str = click.prompt("Passphrase for the private key", hide_input=True, confirmation_prompt=True, err=True)
    return text.encode()
