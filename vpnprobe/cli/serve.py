"""`vpnprobe serve`: the server agent, until it is stopped."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from vpnprobe.errors import UsageError

if TYPE_CHECKING:
    from vpnprobe.transports.stack import Address

DEFAULT_CONTROL_PORT: Final = 7117
SETTLE_S: Final = 0.2
"""Between looks at whether the one client's session has ended (`--once`)."""


@click.command()
@click.option("--listen", "address", metavar="ADDR", help="Local address of the control port [default: all, both families].")
@click.option("--control-port", type=click.IntRange(1, 65535), default=DEFAULT_CONTROL_PORT, show_default=True)
# Whether it can be read shows when it is: what access(2) says beforehand leaves capabilities out.
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, readable=False),
    help="Made when missing, mode 0600 [default: $XDG_CONFIG_HOME/vpnprobe/token].",
)
@click.option("--once", is_flag=True, help="Stop after the first client's session.")
@click.option("--json", "as_json", is_flag=True, help="Events as JSON objects, one a line.")
@click.option("--stdio", is_flag=True, hidden=True, help="Serve one client on standard input and output (what ssh starts).")
def serve(address: str | None, control_port: int, token_file: Path | None, once: bool, as_json: bool, stdio: bool) -> int:
    """Waits for clients and answers their probes.

    Prints a line that starts with 'ready' once it accepts clients; the client needs a copy of the token file. Run it as root where GRE
    and ESP are to be measured. SIGTERM and Ctrl-C end it.
    """
    if stdio:
        from vpnprobe.agents.remote import main

        return main()
    asyncio.run(_serve(address, control_port, token_file, once=once, as_json=as_json))
    return 0


async def _serve(address: str | None, control_port: int, token_file: Path | None, *, once: bool, as_json: bool) -> None:
    import os
    import signal

    from vpnprobe.agents.pairing import admission, listen
    from vpnprobe.agents.server import ServerAgent
    from vpnprobe.agents.token import default_token_path, server_token
    from vpnprobe.transports.system import SystemStack

    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    where = _address(address)
    path = token_file or default_token_path(os.environ)
    token, pem_path = server_token(path)
    stack = SystemStack()
    agent = ServerAgent(stack, admits=admission(token))
    agent.start()
    try:
        listener = await listen(agent, pem_path, port=control_port, address=where)
        _say_ready(control_port, path, agent.no_raw, as_json=as_json)
        while not stopped.is_set() and not (once and agent.ended):
            try:
                await asyncio.wait_for(stopped.wait(), SETTLE_S if once else None)
            except TimeoutError:
                continue
        listener.close()
    finally:
        agent.close()
        stack.close()


def _address(text: str | None) -> "Address | None":
    from ipaddress import ip_address

    if text is None:
        return None
    try:
        return ip_address(text)
    except ValueError:
        raise UsageError(f"--listen {text} is not an IP address of this machine") from None


def _say_ready(port: int, token_path: Path, no_raw: str, *, as_json: bool) -> None:
    import socket

    from vpnprobe import __version__

    name = socket.gethostname()
    option = "" if port == DEFAULT_CONTROL_PORT else f" --control-port {port}"
    command = f"vpnprobe run --peer {name}{option} --token-file TOKEN"
    if as_json:
        event = {"event": "ready", "version": __version__, "control_port": port, "token_file": str(token_path), "client_command": command}
        click.echo(json.dumps({**event, "no_raw": no_raw or None}))
    else:
        click.echo(f"ready: vpnprobe {__version__}, control port {port}, token file {token_path}")
        click.echo(f"On the client, with a copy of the token file as TOKEN (mode 0600):\n  {command}", err=True)
        if no_raw:
            click.echo(f"GRE and ESP are not measured: {no_raw}", err=True)
