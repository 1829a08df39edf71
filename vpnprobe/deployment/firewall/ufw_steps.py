"""Steps for ufw: its rules into its files and into the running chains. What ufw has no words for is left to the caller."""

import shlex
from collections.abc import Iterator, Sequence
from hashlib import sha256

from vpnprobe.deployment.firewall import ufw
from vpnprobe.deployment.firewall.accepts import Accept, accepts, tag
from vpnprobe.deployment.firewall.needs import FirewallNeeds
from vpnprobe.deployment.firewall.ufw import UfwRule
from vpnprobe.deployment.steps import AnyStep, Command, RunCommand, UndoCommand, WriteFile
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.firewall.state import Backend, FirewallState, Loaded
from vpnprobe.firewall.ufw_rules import USER_RULES


def is_ufws(accept: Accept) -> bool:
    """Whether ufw has words for it."""
    return accept.table.name == "filter" and accept.opening.kind in ufw.EXPRESSIBLE


def ufw_steps(state: FirewallState, loaded: Loaded, needs: FirewallNeeds) -> Iterator[AnyStep]:
    """Files before the running rules, of one IP version. Raises UsageError (REFUSED) where ufw's file is not as ufw writes it."""
    rules = list(_rules(loaded, needs))
    if rules:
        yield _file(state, loaded.backend.version, rules, needs)
        yield _running(loaded.backend, rules, needs)


def _rules(loaded: Loaded, needs: FirewallNeeds) -> Iterator[UfwRule]:
    found = [accept for accept in accepts(loaded.tables, needs) if is_ufws(accept)]
    for opening in dict.fromkeys(accept.opening for accept in found):
        denied = any(a.opening == opening and "-user-" in a.place.chain for a in found)
        yield UfwRule(loaded.backend.version, opening, first=denied)


def _file(state: FirewallState, version: int, rules: Sequence[UfwRule], needs: FirewallNeeds) -> WriteFile:
    path = USER_RULES[version]
    there = state.files.get(path, b"")
    try:
        text = ufw.with_rules(there.decode("utf-8"), rules, tag(needs))
    except ValueError as error:
        problem = f"{path} is not as ufw writes it: {error}: run 'ufw reload' to see what ufw says of it, mend it and plan again"
        raise UsageError(problem, status=ExitStatus.REFUSED) from None
    return WriteFile(
        id=f"firewall-ufw-file-v{version}",
        why="ufw keeps its rules here and loads them at boot: 'ufw status' shows the VPN's",
        path=path,
        content=text.encode(),
        mode=0o640,
        before=sha256(there).hexdigest(),
    )


def _running(backend: Backend, rules: Sequence[UfwRule], needs: FirewallNeeds) -> RunCommand:
    lines = [f"{f'-I {rule.chain} 1' if rule.first else f'-A {rule.chain}'} {rule.running}\n" for rule in rules]
    text = f"*filter\n{''.join(lines)}COMMIT\n"
    restore = (f"{backend.program}-restore", "-n", "-w")
    return RunCommand(
        id=f"firewall-ufw-v{backend.version}",
        why="ufw drops what nothing allows: its own chains let the VPN's packets pass, as 'ufw allow' would make them",
        command=Command(restore, text),
        check=Command((*restore, "--test"), text),
        done_when=Command(("sh", "-c", " && ".join(shlex.join(_one(backend, "-C", rule)) for rule in rules))),
        undo=tuple(UndoCommand(Command(_one(backend, "-D", rule)), when=Command(_one(backend, "-C", rule))) for rule in reversed(rules)),
    )


def _one(backend: Backend, verb: str, rule: UfwRule) -> tuple[str, ...]:
    return (backend.program, "-w", verb, rule.chain, *shlex.split(rule.running))
