"""`vpnprobe analyze`: verdicts from captures, of one end or of both, without a network."""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from vpnprobe.cli.options import Judging, judging_of, judging_options, output_of, output_options
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.observations.schema import (
    CaptureFile,
    ConversationSummary,
    Feasibility,
    Mode,
    Observation,
    Reason,
    Recommendation,
    Result,
    Verdict,
)

if TYPE_CHECKING:
    from vpnprobe.capture.analysis import Examined, Side
    from vpnprobe.capture.ends import Ends
    from vpnprobe.capture.reading import CaptureInput
    from vpnprobe.evidence.packet_records import Vantage
    from vpnprobe.rules import RuleSet

NOT_IN_CAPTURE: Final = "not-in-capture"
UNKNOWN_VANTAGE: Final = "vantage-unknown"
"""Reasons of an offline verdict that no rule of the rules file gives."""


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


@dataclass(frozen=True, slots=True)
class Found:
    """What all inputs together come to."""

    captures: tuple[CaptureFile, ...]
    observations: tuple[Observation, ...]
    conversations: tuple[ConversationSummary, ...]
    verdicts: tuple[Verdict, ...] = ()
    recommendation: Recommendation | None = None
    client: "Side | None" = None
    server: "Side | None" = None
    problems: tuple[str, ...] = ()
    """Lines for standard error."""
    failed: bool = False
    """An input that was named could not be read, though others could."""

    def result(self, *, started: str, name: str, took_s: float) -> Result:
        from vpnprobe import __version__
        from vpnprobe.observations.schema import Run

        run = Run(
            id=name,
            mode=Mode.OFFLINE,
            started=started,
            duration_s=round(took_s, 6),
            version=__version__,
            client=_end(self.client, lambda ends: ends.client),
            server=_end(self.server, lambda ends: ends.server),
            captures=self.captures,
        )
        return Result(run, self.observations, self.verdicts, self.recommendation, conversations=self.conversations)


class Analysis:
    """Reads captures and decides by one set of rules."""

    def __init__(self, judging: Judging, rules: "RuleSet") -> None:
        self._judging = judging
        self._rules = rules

    def ends(self, client: Path | None, server: Path | None) -> Found:
        """The captures of both ends, or one of a known end. Raises UsageError, status UNREADABLE."""
        from vpnprobe.capture.analysis import examine_at, examine_pair
        from vpnprobe.capture.reading import read_capture
        from vpnprobe.evidence.packet_records import Vantage

        at_client = read_capture(client) if client is not None else None
        at_server = read_capture(server) if server is not None else None
        if at_client is not None and at_server is not None:
            found = self._decided(examine_pair(at_client, at_server))
            alone = [(at_client, Vantage.CLIENT), (at_server, Vantage.SERVER)]
        else:
            capture, vantage = (at_client, Vantage.CLIENT) if at_client is not None else (at_server, Vantage.SERVER)
            assert capture is not None
            found, alone = self._decided(examine_at(capture, vantage)), [(capture, vantage)]
        files = tuple(_file(capture, vantage, self._decided(examine_at(capture, vantage)).verdicts) for capture, vantage in alone)
        return replace(found, captures=files)

    def files(self, paths: Sequence[Path]) -> Found:
        """Captures one by one; of a single one the verdicts are the document's too. Raises UsageError where none can be read."""
        from vpnprobe.capture.reading import captures_in

        read: list[Found] = []
        any_read = False
        problems: list[UsageError] = []
        failed = False
        for path, named in captures_in(_existing(paths)):
            try:
                read.append(self._file(path))
                any_read = True
            except UsageError as error:
                problems.append(error)
                failed |= named
                listed = _unreadable_file(path, error, named=named)
                if listed is not None:
                    read.append(Found((listed,), (), ()))
        if not any_read:
            raise _none_readable(paths, problems)
        lines = tuple(str(error) for error in problems) if failed else ()
        if len(read) == 1:
            return replace(read[0], problems=lines, failed=failed)
        return replace(_together(read), problems=lines, failed=failed)

    def _file(self, path: Path) -> Found:
        from vpnprobe.capture.analysis import examine
        from vpnprobe.capture.reading import read_capture

        capture = read_capture(path)
        examined, vantage = examine(capture)
        found = self._decided(examined)
        return replace(found, captures=(_file(capture, vantage, found.verdicts),))

    def _decided(self, examined: "Examined") -> Found:
        from vpnprobe.cli.finishing import decided

        decision = decided(examined.observations, self._judging, self._rules)
        verdicts = tuple(_explained(verdict, examined) for verdict in decision.verdicts)
        return Found((), examined.observations, examined.conversations, verdicts, decision.recommendation, examined.client, examined.server)


def _explained(verdict: Verdict, examined: "Examined") -> Verdict:
    """The verdict with what only the captures themselves can say of it."""
    if verdict.feasibility is Feasibility.UNKNOWN:
        return replace(verdict, because=(*verdict.because, _what_to_run(verdict, examined)))
    if examined.joined or examined.client is None or examined.server is None:
        return verdict
    times = [side.started for side in (examined.client, examined.server) if side.started is not None]
    if len(times) < 2:
        return verdict
    first = verdict.because[0]
    text = (
        f"The captures of the two ends are of two attempts (at the client from {times[0]}, at the server from {times[1]}), so packets "
        "cannot be joined one by one: this rests on what each end sent and on what it did not get."
    )
    return replace(verdict, because=(replace(first, text=f"{first.text} {text}"), *verdict.because[1:]))


def _what_to_run(verdict: Verdict, examined: "Examined") -> Reason:
    host = examined.ends.server if examined.ends is not None else "HOST"
    run = f"run `vpnprobe serve` on the server and `vpnprobe run --peer {host}` on the client"
    if any(not one.startswith("nat-") for reason in verdict.because for one in reason.observations):
        both = "both ends' captures of one attempt, given with --client FILE --server FILE, show what arrived; or "
        one_sided = examined.client is None or examined.server is None
        return Reason(NOT_IN_CAPTURE, f"To know: {both if one_sided else ''}{run}.")
    if examined.client is None and examined.server is None and examined.conversations:
        return Reason(
            UNKNOWN_VANTAGE, f"The capture does not show at which end it was taken: name it with --client FILE or --server FILE; or {run}."
        )
    return Reason(NOT_IN_CAPTURE, f"This trace does not measure it. To know: {run}.")


def _end(side: "Side | None", address: "Callable[[Ends], str]") -> dict[str, str | float] | None:
    """What the document says of one end."""
    if side is None:
        return None
    told = {"capture": side.file, "address": address(side.ends) if side.ends is not None else None, "clock_offset_s": side.clock_offset_s}
    return {name: value for name, value in told.items() if value is not None}


def _file(capture: "CaptureInput", vantage: "Vantage | None", verdicts: tuple[Verdict, ...]) -> CaptureFile:
    return CaptureFile(
        file=capture.file,
        format=capture.format.value,
        linktype=capture.linktype,
        packets=capture.packets,
        readable=capture.readable,
        vantage=vantage.value if vantage is not None else "unknown",
        problem=capture.problem,
        verdicts=verdicts,
    )


def _existing(paths: Iterable[Path]) -> list[Path]:
    from vpnprobe.capture.pipes import is_standard_input, unreadable

    found = list(paths)
    for path in found:
        if not is_standard_input(path) and not path.exists():
            raise unreadable(path, "there is no such file or folder")
    return found


def _unreadable_file(path: Path, error: UsageError, *, named: bool) -> CaptureFile | None:
    """How an input that cannot be read is listed; None: text in a folder that is no trace."""
    suffixes = "".join(path.suffixes).lower()
    if not named and (".txt" in suffixes or ".log" in suffixes):
        return None
    name = "pcapng" if ".pcapng" in suffixes else "tcpdump-text" if ".txt" in suffixes else "pcap"
    return CaptureFile(file=str(path), format=name, linktype=None, packets=0, readable=False, problem=str(error))


def _none_readable(paths: Sequence[Path], problems: Sequence[UsageError]) -> UsageError:
    if len(problems) == 1:
        return problems[0]
    names = ", ".join(str(path) for path in paths[:3])
    if problems:
        return UsageError(
            f"none of {len(problems)} captures in {names} can be read; the first: {problems[0]}", status=ExitStatus.UNREADABLE
        )
    return UsageError(
        f"{names}: there is no capture in it: name files that end in .pcap, .pcapng, .cap or .txt", status=ExitStatus.UNREADABLE
    )


def _together(read: Sequence[Found]) -> Found:
    """Unrelated captures in one document: no common verdict, and ids that tell whose they are."""
    numbered = [_numbered(found, number) for number, found in enumerate(read, 1)]
    return Found(
        captures=tuple(capture for found in numbered for capture in found.captures),
        observations=tuple(observation for found in numbered for observation in found.observations),
        conversations=tuple(conversation for found in numbered for conversation in found.conversations),
    )


def _numbered(found: Found, number: int) -> Found:
    """The same with ids that no other capture has."""

    def named(ids: Iterable[str]) -> tuple[str, ...]:
        return tuple(f"capture-{number}-{one}" for one in ids)

    def renamed(verdict: Verdict) -> Verdict:
        return replace(verdict, because=tuple(replace(reason, observations=named(reason.observations)) for reason in verdict.because))

    captures = tuple(replace(capture, verdicts=tuple(renamed(verdict) for verdict in capture.verdicts)) for capture in found.captures)
    observations = tuple(
        replace(o, id=named((o.id,))[0], detail={**o.detail, "capture": found.captures[0].file}) for o in found.observations
    )
    return replace(found, captures=captures, observations=observations)
