"""Whether a client of OpenVPN with a profile's own identity runs on this machine, whoever started it: a user, systemd, NetworkManager.

Its command line is public; the files that it names are read as the process sees them, as far as this user may. It is told where its
profile is the same file, where certificate or user name and server are the same, and where the profile cannot be read and has the same
name. Besides, something that listens at the profile's management address is told: it is looked for and never connected to, since
`management-signal` restarts a client whose manager leaves. OpenVPN 3 for Linux keeps the profiles of its sessions to itself.
"""

import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from vpnprobe.endpoint.listeners import listens_tcp, listens_unix
from vpnprobe.endpoint.processes import Process, hides_others, processes, read_file
from vpnprobe.endpoint.running_tunnels import SEARCH_S, RunningTunnel, TunnelSearch
from vpnprobe.profiles.errors import Place, shown
from vpnprobe.profiles.identity import ClientIdentity, identity_in, identity_of, is_client, is_server, statements_in
from vpnprobe.profiles.lexing import Statement
from vpnprobe.profiles.model import Profile

PROGRAM: Final = "openvpn"
PROGRAM_3: Final = "openvpn3-service-client"
"""OpenVPN 3 for Linux runs one for each session."""
MOST_UNTOLD: Final = 8
"""That are told one by one: a machine of many users may run hundreds of clients."""
MOST_CONFIGS: Final = 4
"""Of one process: a profile may name others."""
MOST_BYTES: Final = 1 << 18
MOST_SHOWN: Final = 100
"""Characters of a name that are told: a command line is anybody's to write."""
FOLDERS: Final = ("/etc/openvpn/client", "/etc/openvpn")
"""In which systemd's units start it: for where its working directory does not show."""
NETWORK_MANAGER: Final = "nm-openvpn-"
"""What the names of its management sockets begin with."""
HIDDEN: Final = "openvpn processes of other users, which do not show to this one"
NOT_HERE: Final = "openvpn processes, which this system does not show"
TOO_SLOW: Final = f"openvpn processes that could not be looked at within {SEARCH_S:.0f} s"


def search_openvpn(profile: Profile, *, proc: Path = Path("/proc")) -> TunnelSearch:
    """Clients that run with this profile's identity, or a program at its management address; and what could not be told."""
    if sys.platform != "linux" or not os.path.isdir(proc):
        return TunnelSearch(untold=(NOT_HERE,))
    own, found, hidden = identity_of(profile), list[RunningTunnel | str](), list[str]()
    try:
        for process in _clients(proc):
            found += _judged(process, profile, own)
    except TimeoutError:
        hidden.append(TOO_SLOW)
    if not any(isinstance(one, RunningTunnel) for one in found):
        found += _managed(profile, proc)
    untold = [one for one in found if not isinstance(one, RunningTunnel)]
    if len(untold) > MOST_UNTOLD:
        untold = [*untold[:MOST_UNTOLD], f"{len(untold) - MOST_UNTOLD} openvpn processes more"]
    hidden += [HIDDEN] if hides_others(proc) else []
    return TunnelSearch(tuple(one for one in found if isinstance(one, RunningTunnel)), (*untold, *hidden))


def _clients(proc: Path) -> Iterator[Process]:
    """Without those that plugins and scripts fork of a client. Raises TimeoutError."""
    seen: dict[int, tuple[str, ...]] = {}
    for process in processes(proc, (PROGRAM, PROGRAM_3), time.monotonic() + SEARCH_S):
        seen[process.pid] = process.arguments
        if seen.get(process.parent) != process.arguments:
            yield process


@dataclass(frozen=True, slots=True)
class _Started:
    """How a process was started."""

    listed: tuple[Statement, ...]
    """Of the command line, with those of the profile in its place."""
    files: tuple[Path, ...]
    """Profiles that were found."""
    unread: tuple[str, ...]
    """Names of profiles that could not be."""
    name: str
    """Of its first profile; otherwise of who started it, or empty."""

    def __str__(self) -> str:
        return f" ({shown(self.name[:MOST_SHOWN])})" if self.name else ""


def _judged(process: Process, profile: Profile, own: ClientIdentity) -> Iterator[RunningTunnel | str]:
    """A tunnel, or what could not be told; nothing: it is none with this identity."""
    who = f"the openvpn process {process.pid}"
    if process.program == PROGRAM_3:
        yield f"an OpenVPN 3 session (process {process.pid}), whose profile does not show"
        return
    started = _started(process)
    if any(_same_file(path, profile.file) for path in started.files):
        yield RunningTunnel(f"{who} with this profile{started}")
    elif is_server(started.listed) or not (is_client(started.listed) or started.unread):
        return
    else:
        same = own.same_as(identity_in(started.listed, lambda statement: _content(process, statement, started)))
        yield from _compared(who, same, "certificate" if own.has_certificate else "user name", started, profile)


def _compared(who: str, same: bool | None, by: str, started: "_Started", profile: Profile) -> Iterator[RunningTunnel | str]:
    if same:
        yield RunningTunnel(f"{who} with this profile's {'server and ' if by == 'user name' else ''}{by}{started}")
    elif any(_same_name(name, profile.file) for name in started.unread):
        yield RunningTunnel(f"{who}, whose profile has this one's name and cannot be read{started}")
    elif started.unread:
        yield f"{who}, whose profile cannot be read{started}"
    elif same is None:
        yield f"{who} to the same server, whose {by} cannot be compared{started}"


def _started(process: Process) -> _Started:
    listed, files, unread, names = list[Statement](), list[Path](), list[str](), list[str]()
    waiting = deque(_command_line(process.arguments))
    while waiting:
        statement = waiting.popleft()
        listed.append(statement)
        if statement.option == "config" and statement.arguments and len(names) < MOST_CONFIGS:
            name = statement.arguments[0]
            names.append(name)
            path = process.file(name, _folders(process, listed))
            files += [path] if path is not None else []
            text = None if path is None else read_file(path, MOST_BYTES)
            unread += [name] if text is None else []
            waiting.extendleft(reversed(statements_in((text or b"").decode("utf-8", "surrogateescape"), name)))
    return _Started(tuple(listed), tuple(files), tuple(unread), names[0] if names else _starter(listed))


def _starter(listed: Sequence[Statement]) -> str:
    """Who starts clients without a profile, all being on the command line; empty: it does not show."""
    sockets = (one.arguments[0] for one in listed if one.option == "management" and one.arguments)
    return "NetworkManager" if any(os.path.basename(path).startswith(NETWORK_MANAGER) for path in sockets) else ""


def _command_line(arguments: Sequence[str]) -> list[Statement]:
    """As OpenVPN takes it: a single word is its profile; a word that begins with `--` is an option, those up to the next its arguments."""
    words = arguments[1:]
    if len(words) == 1 and not words[0].startswith("--"):
        words = ("--config", words[0])
    starts = [index for index, word in enumerate(words) if word.startswith("--")]
    place = Place("command line", 0)
    return [
        Statement(place, words[start][2:], tuple(words[start + 1 : end]), None, words[start])
        for start, end in pairwise([*starts, len(words)])
    ]


def _folders(process: Process, listed: Sequence[Statement]) -> list[str]:
    """Where else relative names may lead."""
    folders = [one.arguments[0] for one in listed if one.option == "cd" and one.arguments]
    if not process.shows_its_folder:
        folders += [os.path.dirname(one.arguments[0]) for one in listed if one.option == "config" and one.arguments]
        folders += FOLDERS
    return [folder for folder in folders if os.path.isabs(folder)]


def _content(process: Process, statement: Statement, started: _Started) -> bytes | None:
    if statement.content is not None:
        return statement.content.encode("utf-8", "surrogateescape")
    path = process.file(statement.arguments[0], _folders(process, started.listed)) if statement.arguments else None
    return None if path is None else read_file(path, MOST_BYTES)


def _same_file(path: Path, file: str) -> bool:
    try:
        return os.path.samefile(path, file)
    except (OSError, ValueError):
        return False


def _same_name(name: str, file: str) -> bool:
    """Whether a relative name may be this file's: where it begins is not known."""
    parts = Path(os.path.normpath(name)).parts
    return not os.path.isabs(name) and Path(os.path.abspath(file)).parts[-len(parts) :] == parts


def _managed(profile: Profile, proc: Path) -> Iterator[RunningTunnel]:
    """What listens at the profile's management address."""
    if (at := profile.management) is None:
        return
    if at.port is None:
        listens, where = listens_unix(at.address, Path(profile.file).parent, proc=proc), at.address
    else:
        listens, where = listens_tcp(at.address, at.port, proc=proc), f"{at.address}:{at.port}"
    if listens:
        yield RunningTunnel(f"a program that listens at the profile's management address {shown(where)}")
