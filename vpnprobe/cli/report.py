"""`vpnprobe report RESULT`: renders the HTML report of a saved result again."""

import sys
from pathlib import Path

import click


@click.command()
@click.argument("result", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Where the report goes; - is standard output. Default: report.html beside the result.",
)
def report(result: Path, output: Path | None) -> None:
    """Renders the HTML report of RESULT, a result folder or its result.json, again."""
    from vpnprobe.observations import document
    from vpnprobe.report.html import render

    page = render(document.read(result))
    if output is not None and str(output) == "-":
        sys.stdout.buffer.write(page)
        sys.stdout.buffer.flush()
        return
    folder = result if result.is_dir() else result.parent
    target = output if output is not None else folder / document.REPORT_FILE
    document.write_atomically(target, page)
    click.echo(target)
