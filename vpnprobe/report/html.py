"""The HTML report: one self-contained file, without scripts, readable offline, on a phone, in the dark and on paper.

Everything that is inserted is escaped by jinja2 and made visible first (`words.visible`), so text from captures and peers stays text. The
templates and the style sheet are package data in `templates/`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from vpnprobe.observations.schema import Result
from vpnprobe.report.conversations import ladders, line_of
from vpnprobe.report.headlines import headline
from vpnprobe.report.host_pairs import host_pairs
from vpnprobe.report.path import figures
from vpnprobe.report.profile import not_applied
from vpnprobe.report.real_client import real_client
from vpnprobe.report.rows import Anchors, evidence_groups, verdict_lines
from vpnprobe.report.story import address_of, exchanges, next_steps, second_opinions, skipped, vanishings
from vpnprobe.report.words import NMAP_AND_GRE, SETTINGS, direction_words, mode_words, value_words, visible

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

MOST_CONVERSATIONS: Final = 500
"""Rows of the table of conversations; the document has all of them."""
TOLD_ELSEWHERE: Final = frozenset({"profile", "real_client"})
"""Of what an end says of itself."""


def render(result: Result) -> bytes:
    """The report as UTF-8 HTML."""
    page = _environment().get_template("report.html.j2").render(_context(result))
    return page.encode("utf-8", "replace")


@cache
def _environment() -> "Environment":
    """One for all reports of a program: compiling the templates takes longer than filling them."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("vpnprobe.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals.update(direction_words=direction_words, prose=_prose)
    return environment


def _shown(value: object) -> object:
    """What an expression puts on the page: text is made visible, unless the template itself made it markup."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _prose(text: str) -> "Markup":
    """Escaped text in which what stands between backticks is set as code."""
    from markupsafe import Markup

    parts = visible(text).split("`")
    if len(parts) % 2 == 0:
        return Markup.escape(visible(text))
    spans = (Markup("<code>{}</code>").format(part) if place % 2 else Markup.escape(part) for place, part in enumerate(parts))
    return Markup("").join(spans)


def _context(result: Result) -> Mapping[str, Any]:
    anchors = Anchors(result.observations)
    opinions = second_opinions(result)
    beside = real_client(result)
    return {
        "result": result,
        "run": result.run,
        "advice": result.recommendation,
        "headline": headline(result),
        "next_steps": [step for step in next_steps(result) if step != headline(result).reason],
        "beside": beside,
        "beside_findings": [one for one in beside.findings if one not in headline(result).reason] if beside else [],
        "settings": _settings(result),
        "client": address_of(result.run.client),
        "server": address_of(result.run.server),
        "verdicts": verdict_lines(result.verdicts, result.recommendation, anchors),
        "paths": host_pairs(result.paths, result.conversations, anchors),
        "figures": figures(result),
        "vanishings": [(one, anchors.links(one.observations)) for one in vanishings(result)],
        "exchanges": exchanges(result),
        "evidence": evidence_groups(result, anchors),
        "opinions": [(one, anchors.link(one.row.id)) for one in opinions],
        "nmap_and_gre": NMAP_AND_GRE,
        "conversations": [(one, line_of(one)) for one in result.conversations[:MOST_CONVERSATIONS]],
        "ladders": ladders(result),
        "captures": [
            (one, verdict_lines(one.verdicts, None, anchors), host_pairs(one.paths, result.conversations, anchors))
            for one in result.run.captures
        ],
        "skipped": skipped(result),
        "not_applied": not_applied(result),
        "mode": mode_words(result.run.mode),
        "ends": [
            (name, _end({key: value for key, value in end.items() if key not in TOLD_ELSEWHERE}))
            for name, end in (("Client", result.run.client), ("Server", result.run.server))
            if end
        ],
        "started": _moment(result.run.started),
    }


def _settings(result: Result) -> list[tuple[str, str, str]]:
    """Name, value and meaning of each setting that the measurements imply."""
    advice = result.recommendation
    found = advice.settings.items() if advice else ()
    return [(visible(name), value_words(value), SETTINGS.get(name, "")) for name, value in found]


def _moment(text: str) -> str:
    """An RFC 3339 moment to the second, in UTC; what is none stays as it is."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError):
        return visible(text)


def _end(end: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(visible(key).replace("_", " "), value_words(value)) for key, value in end.items()]
