"""Reads an OpenVPN client profile: a file, or the text of one.

`read_profile(path)` and `parse_profile(text, ...)` give a `Profile`, or raise `ProfileError`. What is broken in a line that is
interpreted is an error, and so is what no client could connect with; what OpenVPN would do and vpnprobe does not is a note; what no
OpenVPN 2.x knows is listed and never fatal.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

from vpnprobe.profiles.accounts import told
from vpnprobe.profiles.checks import data_ciphers, data_settings, server_checks
from vpnprobe.profiles.connections import forced, read_connections
from vpnprobe.profiles.errors import Place, shown
from vpnprobe.profiles.files import check_text, read_text
from vpnprobe.profiles.keys import credentials, tls_material
from vpnprobe.profiles.known import KNOWN, NOTED, SERVERS
from vpnprobe.profiles.lexing import Statement, statements
from vpnprobe.profiles.model import Management, Note, Profile, Unknown
from vpnprobe.profiles.naming import option_shown
from vpnprobe.profiles.options import Options, check_arguments, number_in
from vpnprobe.profiles.refusals import is_lenient, refusals, unsupported
from vpnprobe.profiles.vendors import export_of

GIVE_CLIENT: Final = "give the client's profile, which the server's tools write for each client"


def read_profile(path: Path) -> Profile:
    """The profile in a file; files that it names are looked for in its folder. Raises ProfileError."""
    return parse_profile(read_text(path), folder=path.parent, file=str(path))


def parse_profile(text: str, *, folder: Path, file: str) -> Profile:
    """The profile that a text is; `file` names it in messages. Raises ProfileError."""
    check_text(text, file)
    listed = list(statements(text, file=file))
    options = Options(listed)
    _check_role(options, file)
    for statement in listed:
        check_arguments(statement)
    connections = read_connections(listed, folder=folder, file=file)
    data, checks = data_settings(options), server_checks(options)
    if (tls_remote := options.last("tls-remote")) is not None and is_lenient(tls_remote, options):
        checks = replace(checks, tls_remote="")  # What OpenVPN passes over refuses no server.
    everything = sorted((*listed, *connections.inside), key=lambda statement: statement.line)
    declared = frozenset(name for one in options.all("ignore-unknown-option") for name in one.arguments)
    return Profile(
        file=file,
        remotes=forced(connections.remotes, options.last("proto-force")),
        tls=tls_material(options, folder=folder, file=file),
        wrapping=connections.wrapping,
        auth=options.word("auth", "SHA1").upper().removeprefix("RSA-"),
        ciphers=data_ciphers(options),
        checks=checks,
        credentials=credentials(options, folder),
        data=data,
        pull="client" in options or "pull" in options,
        random="remote-random" in options,
        random_hostname="remote-random-hostname" in options,
        float="float" in options,
        nobind="nobind" in options,
        auth_nocache="auth-nocache" in options,
        push_peer_info="push-peer-info" in options,
        management=_management(options),
        environment=_environment(options),
        notes=tuple(sorted((*_notes(everything, options), *connections.notes))),
        unknown=tuple(
            Unknown(one.line, option_shown(one.option, declared), shown(one.text)) for one in everything if one.option not in KNOWN
        ),
        refused=refusals(everything, options, data, checks, connections.remotes),
        unsupported=unsupported(options, connections.inside, checks),
        told=told(everything, declared),
        export=export_of(text),
        statements=tuple(listed),
    )


def _check_role(options: Options, file: str) -> None:
    """Raises ProfileError for what is not the profile of a client that speaks TLS."""
    client = options.last("client", "tls-client", "pull")
    servers = [statement for option in SERVERS for statement in options.all(option)]
    servers += [statement for statement in options.all("mode") if statement.arguments == ("server",)]
    if client is None:
        servers += options.all("dh")
    if servers:
        first = min(servers, key=lambda statement: statement.line)
        raise first.place.wrong(f"{first.option} is a server's: this is the profile of a server", GIVE_CLIENT)
    if client is None and "remote" not in options and "connection" not in options:
        raise Place(file, 0).wrong("there is no remote, so no server to connect to", "give an OpenVPN client profile (.ovpn)")
    if client is None and "secret" not in options:
        raise Place(file, 0).wrong("says neither client nor tls-client: OpenVPN would not speak TLS", "add a line: client")


def _management(options: Options) -> Management | None:
    """A third argument is the file of its password, which is of no use here and is not read."""
    statement = options.last("management")
    if statement is None or "management-client" in options:
        return None
    address, kind = statement.arguments[:2]
    port = None if kind == "unix" else number_in(kind, 1, 65535)
    return Management(address, port) if kind == "unix" or port is not None else None


def _environment(options: Options) -> tuple[tuple[str, str], ...]:
    """`setenv-safe` sets names that begin with `OPENVPN_`."""
    lines = sorted((*options.all("setenv"), *options.all("setenv-safe")), key=lambda statement: statement.line)
    return tuple(
        (("OPENVPN_" if one.option == "setenv-safe" else "") + one.arguments[0], one.arguments[1] if len(one.arguments) > 1 else "")
        for one in lines
    )


def _notes(everything: list[Statement], options: Options) -> list[Note]:
    notes = [Note(statement.line, f"{statement.option} {NOTED[statement.option]}") for statement in everything if statement.option in NOTED]
    notes += [Note(one.line, "dh is a server's, and is passed over") for one in options.all("dh")]
    ciphers = data_ciphers(options)
    if not ciphers.offered and (listed := options.last("data-ciphers", "ncp-ciphers")) is not None:
        notes.append(Note(listed.line, "no cipher of the list is one that vpnprobe can do"))
    return notes
