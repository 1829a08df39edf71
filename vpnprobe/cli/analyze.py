"""`vpnprobe analyze`: verdicts from captures, of one end or of both, without a network."""

import sys
import time
from pathlib import Path

import click

from vpnprobe.cli.options import judging_of, judging_options, output_of, output_options
from vpnprobe.errors import ExitStatus, UsageError


@click.command()
@click.argument("captures", nargs=-1, type=click.Path(), metavar="CAPTURE...")
@click.option("--client", type=click.Path(), metavar="FILE", help="A capture that was taken at the client.")
@click.option("--server", type=click.Path(), metavar="FILE", help="A capture of the same path that was taken at the server.")
@output_options
@judging_options
def analyze(
    captures: tuple[str, ...],
    client: str | None,
    server: str | None,
    folder: Path | None,
    as_json: bool,
    quiet: bool,
    no_color: bool,
    rules_file: Path | None,
    preset: str,
    prefer: tuple[str, ...],
    client_os: tuple[str, ...],
    consider: tuple[str, ...],
) -> int:
    """Analyses captures: pcap or pcapng, plain or compressed, or what tcpdump printed.

    Captures of both ends of a path, named with --client and --server, prove what one alone cannot: that a packet left and did not arrive.
    Bare files and folders are analysed one by one; - is standard input. A result folder is written where -o names one.
    """
    from vpnprobe.capture.pipes import input_path, is_standard_input, require_read_once
    from vpnprobe.cli.analysing import Analysis
    from vpnprobe.cli.finishing import now, publish, rule_set, show, status_of

    output = output_of(folder, as_json=as_json, quiet=quiet, no_color=no_color)
    judging = judging_of(rules_file, preset, prefer, client_os, consider)
    if not captures and client is None and server is None:
        raise UsageError("name a capture, or both ends' with --client FILE --server FILE")
    if captures and (client is not None or server is not None):
        raise UsageError("give either captures, or --client FILE and --server FILE")
    bare, ends = [input_path(name) for name in captures], [None if name is None else input_path(name) for name in (client, server)]
    inputs = [path for path in (*bare, *ends) if path is not None]
    require_read_once(inputs)
    if any(map(is_standard_input, inputs)) and sys.stdin is not None and sys.stdin.isatty():
        click.echo("Reading from the terminal: paste what tcpdump printed, and end it with Ctrl-D on a line of its own.", err=True)
    started, began = now(), time.monotonic()
    analysis = Analysis(judging, rule_set(judging))
    found = analysis.files(bare) if bare else analysis.ends(*ends)
    for line in found.problems:
        click.echo(line, err=True)
    result = found.result(
        started=f"{started:%Y-%m-%dT%H:%M:%S.%f}Z", name=f"{started:%Y%m%dT%H%M%SZ}-analyze", took_s=time.monotonic() - began
    )
    if output.folder is not None:
        publish(result, output, name="analyze", started=started, captures={})
    elif output.json:
        from vpnprobe.observations.document import encode

        click.echo(encode(result).decode(), nl=False)
    else:
        show(result, output)
    return ExitStatus.UNREADABLE if found.failed else status_of(result.verdicts)
