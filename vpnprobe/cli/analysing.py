"""What `vpnprobe analyze` does: reads captures, of one end, of both or of many, and makes one result document of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vpnprobe import __version__
from vpnprobe.capture.analysis import Examined, examine, examine_at, examine_pair
from vpnprobe.capture.ends import Ends
from vpnprobe.capture.pipes import is_standard_input, unreadable
from vpnprobe.capture.reading import CaptureInput, captures_in, read_capture
from vpnprobe.capture.sides import Side
from vpnprobe.capture.two_captures import require_two_ends, require_two_files
from vpnprobe.cli.options import Judging
from vpnprobe.cli.path_verdicts import decide_all, with_ids
from vpnprobe.errors import ExitStatus, UsageError
from vpnprobe.evidence.packet_records import Vantage
from vpnprobe.observations.schema import (
    CaptureFile,
    ConversationSummary,
    Mode,
    Observation,
    PathVerdicts,
    Recommendation,
    Result,
    Run,
    Verdict,
)
from vpnprobe.rules import RuleSet
from vpnprobe.rules.diagnoses import diagnosed


@dataclass(frozen=True, slots=True)
class Found:
    """What all inputs together come to."""

    captures: tuple[CaptureFile, ...]
    observations: tuple[Observation, ...]
    conversations: tuple[ConversationSummary, ...]
    verdicts: tuple[Verdict, ...] = ()
    recommendation: Recommendation | None = None
    client: Side | None = None
    server: Side | None = None
    problems: tuple[str, ...] = ()
    """Lines for standard error."""
    failed: bool = False
    """An input that was named could not be read, though others could."""
    paths: tuple[PathVerdicts, ...] = ()

    def result(self, *, started: str, name: str, took_s: float) -> Result:

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
        return Result(run, self.observations, self.verdicts, self.recommendation, conversations=self.conversations, paths=self.paths)


class Analysis:
    """Reads captures and decides by one set of rules."""

    def __init__(self, judging: Judging, rules: RuleSet) -> None:
        self._judging = judging
        self._rules = rules

    def ends(self, client: Path | None, server: Path | None) -> Found:
        """The captures of both ends, or one of a known end. Raises UsageError: status UNREADABLE, or USAGE where they are no two ends'."""
        if client is not None and server is not None:
            require_two_files(client, server)
        at_client = read_capture(client) if client is not None else None
        at_server = read_capture(server) if server is not None else None
        if at_client is not None and at_server is not None:
            require_two_ends(at_client, at_server)
            found = self._decided(examine_pair(at_client, at_server))
            return replace(found, captures=(self._listed(at_client, Vantage.CLIENT), self._listed(at_server, Vantage.SERVER)))
        capture, vantage = (at_client, Vantage.CLIENT) if at_client is not None else (at_server, Vantage.SERVER)
        assert capture is not None
        examined = examine_at(capture, vantage)
        found = self._decided(examined)
        return replace(found, captures=(_file(capture, vantage, found, examined.left_out),))

    def _listed(self, capture: CaptureInput, vantage: Vantage) -> CaptureFile:
        """One of two, with what it says alone."""
        examined = examine_at(capture, vantage)
        return _file(capture, vantage, self._decided(examined), examined.left_out)

    def files(self, paths: Sequence[Path]) -> Found:
        """Captures one by one; of a single one the verdicts are the document's too. Raises UsageError where none can be read."""

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
        capture = read_capture(path)
        examined, vantage = examine(capture)
        found = self._decided(examined)
        return replace(found, captures=(_file(capture, vantage, found, examined.left_out),))

    def _decided(self, examined: Examined) -> Found:
        found = decide_all(examined, self._judging, self._rules)
        return Found(
            captures=(),
            observations=found.observations,
            conversations=diagnosed(examined.conversations, self._rules),
            verdicts=found.verdicts,
            recommendation=found.recommendation,
            client=examined.client,
            server=examined.server,
            paths=found.paths,
        )


def _end(side: Side | None, address: Callable[[Ends], str]) -> dict[str, str | float] | None:
    """What the document says of one end."""
    if side is None:
        return None
    told = {"capture": side.file, "address": address(side.ends) if side.ends is not None else None, "clock_offset_s": side.clock_offset_s}
    return {name: value for name, value in told.items() if value is not None}


def _file(capture: CaptureInput, vantage: Vantage | None, found: Found, left_out: int) -> CaptureFile:
    more = f"{left_out} further pairs of hosts with VPN conversations are not judged: the {len(found.paths)} that get furthest are"
    return CaptureFile(
        file=capture.file,
        format=capture.format.value,
        linktype=capture.linktype,
        packets=capture.packets,
        readable=capture.readable,
        vantage=vantage.value if vantage is not None else "unknown",
        problem="; ".join(one for one in (capture.problem, more if left_out else None) if one) or None,
        verdicts=found.verdicts,
        paths=found.paths,
    )


def _existing(paths: Iterable[Path]) -> list[Path]:

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
    name = f"capture-{number}"
    captures = tuple(
        replace(
            capture,
            verdicts=tuple(with_ids(verdict, name) for verdict in capture.verdicts),
            paths=tuple(replace(path, verdicts=tuple(with_ids(verdict, name) for verdict in path.verdicts)) for path in capture.paths),
        )
        for capture in found.captures
    )
    observations = tuple(
        replace(o, id=f"{name}-{o.id}", detail={**o.detail, "capture": found.captures[0].file}) for o in found.observations
    )
    return replace(found, captures=captures, observations=observations)
