"""`vpnprobe provision apply`, `confirm`, `rollback` and `status`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from vpnprobe.cli.provision import need_absolute, root_option, tell
from vpnprobe.cli.provision_options import seconds_of
from vpnprobe.errors import UsageError

if TYPE_CHECKING:
    from vpnprobe.deployment.apply import Applied
    from vpnprobe.deployment.transactions import Status, TransactionStatus

DEFAULT_WITHIN_S: Final = 120.0
SETTLES_S: Final = 60.0
"""Until when a server has to listen whose plan needs no confirmation by a person."""


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--confirm-within", "within", metavar="TIME", help="Everything goes back unless it is confirmed by then [default: 120s].")
@click.option("--no-confirm", is_flag=True, help="It stays without a confirmation.")
@click.option("--here", is_flag=True, help="A plan that was made elsewhere is for this server, though it names another address.")
@root_option
def apply(folder: Path, within: str | None, no_confirm: bool, here: bool, root: Path) -> int:
    """Takes the steps of the plan in DIR: each is journalled before it is taken, with what takes it back.

    Without a confirmation in time, after a crash, a power cut or a lost connection everything returns to what it was.
    """
    from vpnprobe.deployment.apply import apply_plan
    from vpnprobe.deployment.encoding import read_plan
    from vpnprobe.deployment.host import is_own
    from vpnprobe.deployment.listening import require_listening
    from vpnprobe.deployment.planning import completed, preconditions
    from vpnprobe.deployment.settings import decode_settings
    from vpnprobe.deployment.transactions import confirm as kept
    from vpnprobe.deployment.words import difference

    if within is not None and no_confirm:
        raise UsageError("--confirm-within and --no-confirm exclude each other: give one of them")
    seconds = SETTLES_S if no_confirm else seconds_of(within) if within is not None else DEFAULT_WITHIN_S
    root, plan = need_absolute(root), read_plan(folder)
    if not plan.compared:
        host = decode_settings(plan.settings).host
        if not (here or is_own(host)):
            raise UsageError(f"the plan is for {host}, which is no address of this machine: give --here if it is this one")
        plan = completed(plan, root)
        for line in difference(plan, root).splitlines():
            tell(line)
    settings = decode_settings(plan.settings)
    applied = apply_plan(plan, root=root, confirm_within_s=seconds, tell=tell, preconditions=preconditions(plan, root))
    if applied.transaction is not None:
        require_listening(settings, root, tell, applied.transaction)
    if no_confirm and applied.waits_s is not None:
        kept(root, tell)
    click.echo(_done(applied, plan.summary, waits=not no_confirm))
    return 0


def _done(applied: "Applied", summary: str, *, waits: bool) -> str:
    lines = [f"Nothing to do: {summary} is applied already." if applied.transaction is None else f"Applied: {summary}"]
    if waits and applied.waits_s is not None:
        lines += [
            f"It goes back by itself in {applied.waits_s:.0f} s. Prove it from a client, then keep it:",
            "  vpnprobe provision client add NAME -o NAME.ovpn        (here)",
            "  vpnprobe provision verify --profile NAME.ovpn          (on the client)",
            "  vpnprobe provision confirm                             (here)",
        ]
    return "\n".join(lines)


@click.command()
@root_option
def confirm(root: Path) -> int:
    """Keeps what was applied last."""
    from vpnprobe.deployment.transactions import confirm as kept

    click.echo(f"Kept: {kept(need_absolute(root), tell)}")
    return 0


@click.command()
@click.option("--leave", is_flag=True, help="Give up what cannot be put back, and end the rest.")
@root_option
def rollback(leave: bool, root: Path) -> int:
    """Puts back what is not confirmed; where all is confirmed, everything as it was before the first plan."""
    from vpnprobe.deployment.transactions import roll_back

    taken_back = roll_back(need_absolute(root), tell, leave=leave)
    for summary in taken_back:
        click.echo(f"Put back: {summary}")
    if not taken_back:
        click.echo("Nothing is applied.")
    return 0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON on standard output.")
@root_option
def status(as_json: bool, root: Path) -> int:
    """Says what is applied, whether it waits for a confirmation, what runs and what expires."""
    from vpnprobe.deployment.transactions import status as state_of

    root = need_absolute(root)
    found = state_of(root)
    expiring = _expiring(root, found)
    if as_json:
        click.echo(json.dumps(_as_json(found, expiring), indent=2))
        return 0
    for line in _lines(found, expiring):
        click.echo(line)
    sys.stdout.flush()
    return 0


def _expiring(root: Path, found: "Status") -> list[dict[str, Any]]:
    """Certificates by the day on which they end, the next one first; empty: nothing is applied."""
    from vpnprobe.cli.finishing import now
    from vpnprobe.deployment.expiry import endings
    from vpnprobe.deployment.pki import read_authority

    authority = read_authority(root) if found.plan is not None else None
    if authority is None:
        return []
    return [
        {"what": one.what, "not_after": one.not_after.isoformat(), "state": one.state.value, "mend": one.mend}
        for one in endings(authority, now=now())
    ]


def _as_json(found: "Status", expiring: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schema": "vpnprobe.provision-status/1",
        "applied": found.plan is not None,
        "waits_s": found.waits_s,
        "summary": found.plan["summary"] if found.plan is not None else None,
        "settings": found.plan["settings"] if found.plan is not None else None,
        "transactions": [
            {"number": one.number, "summary": one.summary, "at": one.at, "state": one.state.value, "left_s": one.left_s}
            for one in found.transactions
        ],
        "daemons": dict(found.daemons),
        "units": dict(found.units),
        "certificates": expiring,
    }


def _lines(found: "Status", expiring: list[dict[str, Any]]) -> list[str]:
    if not found.transactions:
        return ["Nothing is applied."]
    lines = [_transaction(one) for one in found.transactions]
    running = {**found.daemons, **found.units}
    lines += [f"{'runs' if up else 'DOES NOT RUN'}: {name}" for name, up in running.items()]
    return lines + [f"{one['what']} ends on {one['not_after'][:10]}{_mend(one)}" for one in expiring]


def _mend(ending: dict[str, Any]) -> str:
    """What is to be done, where something is."""
    return "" if ending["state"] == "good" else f": {ending['state']}: {ending['mend']}"


def _transaction(one: "TransactionStatus") -> str:
    left = f", {one.left_s:.0f} s left" if one.left_s is not None else ""
    return f"{one.number}. {one.at} {one.state.value}{left}: {one.summary}"
