"""The verdict on a terminal: headline, protocols, where packets vanish, warnings and next steps. Fits the width that it is given.

Text from strangers is made visible first, so nothing in it can move the cursor; colour is the caller's choice and never the only sign.
"""

from collections.abc import Collection, Iterable, Sequence
from textwrap import wrap
from typing import Final

from vpnprobe.observations.schema import Feasibility, Mode, PathVerdicts, Result
from vpnprobe.report.conversations import DIAGNOSIS_RULES, MOST_LINES, lines_of
from vpnprobe.report.headlines import Headline, headline
from vpnprobe.report.host_pairs import host_pairs
from vpnprobe.report.profile import not_applied
from vpnprobe.report.real_client import AGREES, RealClient, real_client
from vpnprobe.report.rows import Anchors, VerdictLine, verdict_lines
from vpnprobe.report.story import next_steps, skipped, vanishings
from vpnprobe.report.words import SETTINGS, Mark, mode_words, protocol_name, value_words, visible

LEAST_WIDTH: Final = 40
MOST_PATHS: Final = 20
"""Pairs of hosts that are listed; the document has more."""
RESET: Final = "\x1b[0m"
COLOURS: Final = {"good": "\x1b[32m", "fair": "\x1b[33m", "bad": "\x1b[31m", "mute": "\x1b[2m", "strong": "\x1b[1m"}
SYMBOLS: Final = {"good": "✓", "fair": "◐", "bad": "✕", "mute": "?"}


def render_text(result: Result, *, colour: bool, width: int) -> str:
    """The verdict as lines of at most `width` columns (not under 40), ending in a line feed."""
    page = _Page(colour=colour, width=max(width, LEAST_WIDTH))
    if not result.complete:
        page.paragraph("Incomplete: this run was interrupted; what is missing says nothing about the path.", tone="fair")
        page.gap()
    said = headline(result)
    _headline(page, said)
    beside = real_client(result)
    for finding in beside.findings if beside else ():
        if finding not in said.reason:
            page.paragraph(finding, indent=2, tone="mute" if beside and beside.comparison == AGREES else "fair")
    _settings(page, result)
    _conversations(page, result)
    lines = verdict_lines(result.verdicts, result.recommendation, Anchors(result.observations))
    if lines:
        page.gap()
        told = {words for one in result.conversations for words in one.findings} if result.run.mode is Mode.OFFLINE else set()
        _protocols(page, [line for line in lines if not _is_untried(result, line)], {said.reason, *told})
        untried = [line.name for line in lines if _is_untried(result, line)]
        if untried:
            page.paragraph(f"Not tried in this capture: {', '.join(untried)}.", indent=2, tone="mute")
    _paths(page, "Pairs of hosts, each with verdicts of its own", result.paths, result)
    if beside is not None:
        _beside(page, beside)
    page.block("Where packets vanish", (one.sentence for one in vanishings(result)))
    for capture in result.run.captures if not result.verdicts else ():
        alone = verdict_lines(capture.verdicts, None, Anchors(result.observations))
        page.block(capture.file, (f"{line.name} {line.mark.word}: {line.reasons[0].text}" for line in alone))
        _paths(page, f"{capture.file}: pairs of hosts, each with verdicts of its own", capture.paths, result)
    page.block("Captures with a problem", (f"{one.file}: {one.problem}" for one in result.run.captures if one.problem))
    page.block("Warnings", result.recommendation.warnings if result.recommendation else ())
    page.block("Not measured", (f"{'; '.join(questions)}: {reason}" for reason, questions in skipped(result)))
    page.block("In the profile, and not applied", not_applied(result))
    page.block("What to do next", (step for step in next_steps(result) if step != said.reason))
    page.gap()
    page.paragraph(f"{mode_words(result.run.mode)} It took {result.run.duration_s:.3g} s.", tone="mute")
    return page.text()


def _headline(page: "_Page", said: Headline) -> None:
    page.paragraph(f"{SYMBOLS[said.tone]} {said.sentence}", tone=said.tone, strong=True, hanging=2)
    if said.reason:
        page.paragraph(said.reason, indent=2)


def _conversations(page: "_Page", result: Result) -> None:
    """What captures hold, before any verdict: how far each conversation came, and what stopped it."""
    found = lines_of(result) if result.run.mode is Mode.OFFLINE else ()
    if not found:
        return
    page.gap()
    page.paragraph("Conversations", strong=True)
    for line in found[:MOST_LINES]:
        page.marked(line.mark, line.what)
        page.paragraph(f"{line.ends}: {line.counts}", indent=4, hanging=2, tone="mute")
        for words in (line.stopped_by, *line.notes):
            if words:
                page.paragraph(words, indent=4)
    if len(found) > MOST_LINES:
        page.paragraph(f"… and {len(found) - MOST_LINES} more; the result document has all.", indent=2, tone="mute")


def _settings(page: "_Page", result: Result) -> None:
    """What to set, the port apart, which the headline has."""
    advised = result.recommendation.settings if result.recommendation is not None else {}
    told = [f"{SETTINGS.get(name, name).partition(',')[0]} {value_words(value)}" for name, value in advised.items() if name != "port"]
    if told:
        page.paragraph(f"Settings: {'; '.join(told)}.", indent=2, hanging=2)


def _is_untried(result: Result, line: VerdictLine) -> bool:
    """Whether a capture holds nothing of a protocol: that is told in one line for all."""
    verdict = next((one for one in result.verdicts if protocol_name(one.protocol) == line.name), None)
    if verdict is None or result.run.mode is not Mode.OFFLINE or verdict.feasibility is not Feasibility.UNKNOWN:
        return False
    return not any(reason.observations or reason.rule.startswith(DIAGNOSIS_RULES) for reason in verdict.because)


def _paths(page: "_Page", title: str, paths: Sequence[PathVerdicts], result: Result) -> None:
    """A line a pair of hosts, with what it is seen to talk."""
    pairs = host_pairs(paths[:MOST_PATHS], result.conversations, Anchors(result.observations))
    more = len(paths) - len(pairs)
    page.block(title, [*(pair.sentence for pair in pairs), *([f"{more} more are in the result document (`--json`)."] if more else [])])


def _protocols(page: "_Page", lines: Iterable[VerdictLine], told: Collection[str] = ()) -> None:
    """A line a protocol: mark, name, verdict, port; and its first reason below, unless that has been `told`."""
    for line in lines:
        port = f", {line.port}" if line.port and line.mark.tone in ("good", "fair") else ""
        page.marked(line.mark, f"{line.name[:40]:<18} {line.mark.word}{port}")
        if line.reasons[0].text not in told:
            page.paragraph(line.reasons[0].text, indent=4, tone="mute")
        if line.limits:
            page.paragraph(f"Limits: {'; '.join(line.limits)}.", indent=4, tone="mute")
        if line.watched and line.recommended:
            page.paragraph(line.watched, indent=4, tone="mute")


def _beside(page: "_Page", beside: RealClient) -> None:
    """Each step with the marks of both, and what either says of it."""
    for one in beside.remotes:
        page.gap()
        page.paragraph(f"{beside.program} and vpnprobe, step by step: {one.where}", strong=True)
        for step in one.steps:
            page.paragraph(f"{step.real.mark.symbol} {step.own.mark.symbol} {step.name}", indent=2)
            for name, side in ((beside.program, step.real), ("vpnprobe", step.own)):
                if side.words or side.mark.tone == "bad":
                    page.paragraph(f"{name}: {'; '.join(side.words) or side.mark.word}", indent=6, hanging=2, tone="mute")
    page.gap()
    page.paragraph(beside.how, indent=2, tone="mute")


class _Page:
    """Collects wrapped lines."""

    def __init__(self, *, colour: bool, width: int) -> None:
        self._colour = colour
        self._width = width
        self._lines: list[str] = []

    def paragraph(self, words: str, *, tone: str = "", indent: int = 0, hanging: int = 0, strong: bool = False) -> None:
        """Wrapped text; `hanging`: columns by which lines after the first are indented further."""
        found = wrap(
            visible(words),
            self._width,
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent + hanging),
            break_on_hyphens=False,
        )
        self._lines += [self._painted(line, *(["strong"] if strong else []), tone) for line in found]

    def marked(self, mark: Mark, words: str) -> None:
        """A line that begins with a mark in its colour."""
        room = self._width - 4
        shown = words if len(words) <= room else f"{words[: room - 1]}…"
        self._lines.append(f"  {self._painted(mark.symbol, mark.tone)} {shown}")

    def block(self, title: str, items: Iterable[str]) -> None:
        """A titled list; nothing where there are no items."""
        found = list(items)
        if found:
            self.gap()
            self.paragraph(title, strong=True)
            for item in found:
                self.paragraph(item, indent=2, hanging=2)

    def gap(self) -> None:
        self._lines.append("")

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"

    def _painted(self, words: str, *tones: str) -> str:
        codes = "".join(COLOURS[tone] for tone in tones if tone)
        return f"{codes}{words}{RESET}" if self._colour and codes else words
