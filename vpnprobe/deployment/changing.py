"""A change of keys on a server that runs: as a plan of its own, journalled and taken back with all the rest; then sessions are cut."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from vpnprobe import __version__
from vpnprobe.deployment.apply import apply_plan
from vpnprobe.deployment.hooks import Hooks
from vpnprobe.deployment.host import HostFacts, inspect_host
from vpnprobe.deployment.management import cut_off
from vpnprobe.deployment.openvpn_server import management_socket
from vpnprobe.deployment.planning import service_steps
from vpnprobe.deployment.settings import Settings
from vpnprobe.deployment.site import Outcome, file_steps, folder_steps
from vpnprobe.deployment.steps import AnyStep, Plan
from vpnprobe.errors import CannotRun


def carry_out(outcome: Outcome, root: Path, summary: str, tell: Callable[[str], None]) -> None:
    """Raises UsageError (REFUSED) and CannotRun as `apply_plan` does. Hooks are for plans of a whole server, and are not run."""
    facts = inspect_host(root)
    plan = Plan(
        made_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        summary=summary,
        host=facts.identity,
        settings={},
        steps=list(_steps(outcome, facts)),
        compared=True,
        vpnprobe=__version__,
    )
    apply_plan(plan, root=root, confirm_within_s=None, hooks=Hooks(()), tell=tell, joins=True)
    _cut(outcome.cut, outcome.site.settings, facts, tell)


def _steps(outcome: Outcome, facts: HostFacts) -> Iterator[AnyStep]:
    yield from folder_steps()
    yield from file_steps(outcome.files, facts.root)
    if outcome.restart:
        yield from service_steps(outcome.site.settings, facts)


def _cut(names: tuple[str, ...], settings: Settings, facts: HostFacts, tell: Callable[[str], None]) -> None:
    """Sessions that are open; new ones are refused by the revocation list."""
    if not names:
        return
    for listener in settings.listeners:
        try:
            cut = cut_off(management_socket(listener, systemd=facts.systemd, root=facts.root), names)
        except (CannotRun, OSError) as problem:
            tell(f"{listener.name}: sessions that are open could not be cut ({problem}): they end at their next handshake, within an hour")
            continue
        if cut:
            tell(f"{listener.name}: {cut} session{'' if cut == 1 else 's'} cut")
