"""The firewall's part of a plan: steps in order, or a refusal with what to do by hand.

Who manages the firewall decides where rules go, so that they last as the host's own do: into nftables' chains, through iptables, into
ufw's files. Whoever manages it, every filter that has rules is looked at, for a packet passes only where all of them let it. Nothing is
flushed, reloaded or taken out, and no rule drops anything but IPv6 from the tunnels: who is connected stays connected.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Final

from vpnprobe.deployment.durable import inside
from vpnprobe.deployment.effects import digest_of
from vpnprobe.deployment.firewall import nft_steps as nft
from vpnprobe.deployment.firewall import ufw_steps
from vpnprobe.deployment.firewall.accepts import accepts
from vpnprobe.deployment.firewall.by_hand import commands_by_hand, nothing_lacks
from vpnprobe.deployment.firewall.iptables_steps import EMPTY_FILTER, Insertion, insertions, iptables_step, saved
from vpnprobe.deployment.firewall.needs import FirewallNeeds
from vpnprobe.deployment.steps import ABSENT, AnyStep, MakeDirectory, ManageUnit, WriteFile
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.firewall.detect import SAVED
from vpnprobe.firewall.iptables_reader import tables
from vpnprobe.firewall.state import Backend, FirewallState, Loaded, Manager
from vpnprobe.observations.schema import Transport

UNIT: Final = "vpnprobe-firewall.service"
UNIT_FILE: Final = f"/etc/systemd/system/{UNIT}"
_REFUSED: Final = (Manager.FIREWALLD, Manager.DOCKER, Manager.OTHER)


def firewall_steps(state: FirewallState, needs: FirewallNeeds, *, root: Path = Path("/")) -> list[AnyStep]:
    """All that makes the VPN's packets pass, in order. `root`: where the host's files are.

    Raises UsageError (REFUSED) where a manager is met that is not supported, with the commands for it, where a listener would take a port
    by which the server is reached, and where there is no program to translate addresses with.
    """
    _check(state, needs)
    if state.manager in _REFUSED:
        return []
    translates = _translates_itself(state, needs)
    steps: list[AnyStep] = [*nft.nft_steps(state, needs, translates=translates), *_iptables(state, needs, translates=not translates)]
    return [*steps, *_at_boot(state, needs, root, translates=translates)]


def _check(state: FirewallState, needs: FirewallNeeds) -> None:
    if state.manager in _REFUSED and not nothing_lacks(state, needs):
        commands = "\n".join(commands_by_hand(state, needs))
        problem = f"the firewall is managed by {state.met}, which vpnprobe does not change: run these as root, then plan again:"
        raise UsageError(f"{problem}\n{commands}", status=ExitStatus.REFUSED)
    taken = [port for transport, port in needs.listeners if transport is Transport.TCP and port in needs.control_ports]
    if taken:
        raise UsageError(
            f"TCP port {taken[0]} is one by which this server is reached now: choose another (--listen)", status=ExitStatus.REFUSED
        )
    translated = needs.translated(4) or needs.translated(6)
    if translated and state.nft is None and state.default_backend(4) is None:
        raise UsageError(
            "neither nft nor iptables is installed, and clients' addresses have to be translated: apt install nftables",
            status=ExitStatus.REFUSED,
        )


def _translates_itself(state: FirewallState, needs: FirewallNeeds) -> bool:
    """Whether our own table translates addresses; else iptables does, where the host's rules are made with it."""
    if state.nft is None:
        return False
    if state.manager not in (Manager.IPTABLES, Manager.IPTABLES_PERSISTENT):
        return True
    backend = state.default_backend(4)
    # The old packet filter never gives up its table for NAT once there is one: where there is none, it is left so.
    return backend is None or (backend.name == "legacy" and "*nat" not in state.loaded(backend))


def _iptables(state: FirewallState, needs: FirewallNeeds, *, translates: bool) -> Iterator[AnyStep]:
    for version in (4, 6):
        chosen = state.default_backend(version)
        loaded = [found for found in state.iptables if found.backend.version == version]
        if chosen is not None and all(found.backend != chosen for found in loaded):
            loaded.append(Loaded(chosen, ""))
        for found in loaded:
            yield from _of_backend(state, found, needs, translates=translates and found.backend == chosen)


def _of_backend(state: FirewallState, loaded: Loaded, needs: FirewallNeeds, *, translates: bool) -> Iterator[AnyStep]:
    backend = loaded.backend
    found = insertions(loaded.tables, needs, backend.version, translates=translates)
    also: Sequence[Insertion] = ()
    if state.manager is Manager.UFW:
        yield from ufw_steps.ufw_steps(state, loaded, needs)
        left_to_us = [a for a in accepts(loaded.tables, needs) if not ufw_steps.is_ufws(a)]
        places = {(a.table.name, a.place.chain, a.place.before, a.opening.iptables()) for a in left_to_us}
        found = [i for i in found if i.table == "nat" or (i.table, i.chain, i.before, i.rule.partition(" -m comment ")[0]) in places]
    elif state.manager is Manager.IPTABLES_PERSISTENT and backend == state.default_backend(backend.version):
        also = _of_file(state, backend, needs, translates=translates)
        if also:
            yield _saved_file(state, backend, also)
    if found:
        yield iptables_step(state, backend, needs, found, also_saved=also)


def _of_file(state: FirewallState, backend: Backend, needs: FirewallNeeds, *, translates: bool) -> list[Insertion]:
    there = tables(_file_text(state, backend.version), backend.version)
    return insertions(there, needs, backend.version, translates=translates)


def _file_text(state: FirewallState, version: int) -> str:
    return state.files.get(SAVED[version], EMPTY_FILTER.encode()).decode("utf-8", "surrogateescape")


def _saved_file(state: FirewallState, backend: Backend, found: Sequence[Insertion]) -> WriteFile:
    path = SAVED[backend.version]
    there = state.files.get(path)
    return WriteFile(
        id=f"firewall-saved-v{backend.version}",
        why="iptables-persistent loads this file at boot: the VPN's rules stand in it where they stand in the running ones",
        path=path,
        content=saved(_file_text(state, backend.version), found).encode("utf-8", "surrogateescape"),
        mode=0o640,
        before=ABSENT if there is None else sha256(there).hexdigest(),
    )


def _at_boot(state: FirewallState, needs: FirewallNeeds, root: Path, *, translates: bool) -> Iterator[AnyStep]:
    """Our table and accepts in nftables' chains, by a unit of ours."""
    if state.nft is None:
        return
    own = nft.own_table(needs, translates=translates)
    found = accepts(state.native, needs)
    if not own and not found:
        return
    yield from _folders(root, nft.OWN_FILE, UNIT_FILE)
    files = {nft.OWN_FILE: own, nft.ACCEPTS_FILE: nft.boot_rules(found, needs, state.nft)}
    for path, text in files.items():
        if text:
            yield _new_file(root, path, text, "what the running firewall was given is loaded from here at boot")
    written = [path for path, text in files.items() if text]
    yield _new_file(
        root, UNIT_FILE, unit_text(needs, written), "at boot the VPN's rules are loaded after the host's own, whose files stay as they are"
    )
    if state.systemd:
        why = "it loads them at boot, and again where the host's own are loaded again"
        yield ManageUnit(id="firewall-unit", why=why, unit=UNIT, files=(*written, UNIT_FILE))


def unit_text(needs: FirewallNeeds, files: Sequence[str]) -> str:
    """A unit that loads files. It may be started at any time: our table is made anew, accepts are left out where they are there."""
    accepted = f'nft list ruleset | grep -Fq "{nft.accept_comment(needs)}"'
    commands = {
        nft.OWN_FILE: f"/usr/sbin/nft -f {nft.OWN_FILE}",
        nft.ACCEPTS_FILE: f"/bin/sh -c '{accepted} || exec nft -f {nft.ACCEPTS_FILE}'",
    }
    lines = [f"{when}={commands[path]}\n" for when in ("ExecStart", "ExecReload") for path in files]
    return (
        "[Unit]\n"
        "Description=Firewall rules of the VPN server that vpnprobe has set up\n"
        "After=nftables.service ufw.service netfilter-persistent.service\n"
        "PartOf=nftables.service\n"
        "ReloadPropagatedFrom=nftables.service\n"
        f"\n[Service]\nType=oneshot\nRemainAfterExit=yes\n{''.join(lines)}"
        "\n[Install]\nWantedBy=multi-user.target\n"
    )


def _folders(root: Path, *paths: str) -> Iterator[MakeDirectory]:
    """Those of some files that are not there, each once and before what lies in it."""
    for folder in dict.fromkeys(folder for path in paths for folder in reversed(PurePosixPath(path).parents[:-1])):
        if not inside(root, folder).is_dir():
            name = str(folder)[1:].replace("/", "-")
            yield MakeDirectory(id=f"firewall-folder-{name}", why="files of the firewall go there", path=str(folder), mode=0o755)


def _new_file(root: Path, path: str, text: str, why: str) -> WriteFile:
    before = digest_of(root, path)
    return WriteFile(id=f"firewall-file-{PurePosixPath(path).name}", why=why, path=path, content=text.encode(), mode=0o644, before=before)
