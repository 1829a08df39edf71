"""The HTML report: self-contained, inert whatever a stranger wrote, complete, and in the order of a reader."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from result_samples import MARKUP, SAMPLES, blocked_result, clean_result, offline_result, seed_result, solo_result

from vpnprobe.observations.schema import Observation, Result
from vpnprobe.report import html
from vpnprobe.report.html import render

VOID = {"meta", "link", "br", "img", "hr", "line", "circle", "path", "rect"}
HARMLESS = {
    "html", "head", "meta", "link", "title", "style", "body", "div", "header", "main", "footer", "nav", "section", "span", "b", "i", "p",
    "h1", "h2", "h3", "ul", "li", "dl", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td", "a", "code", "details", "summary",
    "figure", "figcaption", "svg", "line", "circle", "path", "rect", "text", "g",
}  # fmt: skip


class Page(HTMLParser):
    """What a page holds; fails where an element is not closed."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(data.decode("utf-8"))
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.texts.append(data)

    def values(self, name: str) -> list[str]:
        return [value or "" for key, value in self.attributes if key == name]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def page_of(result: Result) -> Page:
    return Page(render(result))


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_renders_well_formed_and_by_itself(name: str) -> None:
    page = page_of(SAMPLES[name]())
    assert set(page.tags) <= HARMLESS
    assert not [key for key, _ in page.attributes if key.startswith("on") or key == "src"]
    assert all(value.startswith(("#", "data:,")) for value in page.values("href"))
    assert len(set(page.values("id"))) == len(page.values("id"))
    assert {value[1:] for value in page.values("href") if value.startswith("#")} <= set(page.values("id"))


def test_what_a_stranger_wrote_is_text() -> None:
    data = render(SAMPLES["hostile"]())
    page = Page(data)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert MARKUP in page.text
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", data)
    assert "\u202e" not in data.decode()
    assert "\\u202e" in page.text


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=30), st.dictionaries(st.text(max_size=8), st.text(max_size=20) | st.lists(st.integers()), max_size=3))
def test_any_text_leaves_the_page_whole(text: str, detail: dict[str, object]) -> None:
    base = seed_result()
    row: Observation = replace(base.observations[0], id=text, probe=text, check=text, detail=detail)
    reason = replace(base.verdicts[0].because[0], text=text, observations=(text,))
    verdict = replace(base.verdicts[0], because=(reason,))
    page = page_of(replace(base, observations=(row,), verdicts=(verdict,)))
    assert set(page.tags) <= HARMLESS


def test_the_sections_stand_in_a_readers_order() -> None:
    ids = [value for value in page_of(seed_result()).values("id") if not re.fullmatch(r"[op]\d+", value)]
    assert ids == ["protocols", "path", "exchanged", "evidence", "nmap", "measured"]
    ids = [value for value in page_of(offline_result()).values("id") if not re.fullmatch(r"[op]\d+", value)]
    assert ids == ["protocols", "path", "exchanged", "evidence", "conversations", "captures", "measured"]


def test_the_verdict_comes_first_with_its_reason_and_warnings() -> None:
    text = page_of(seed_result()).text
    order = [
        "Use OpenVPN over UDP, port 1194.",
        "A reset is answered both ways",
        "tls-crypt",
        "L2TP by itself does not encrypt",
        "does not work",
    ]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_reasons_link_to_the_observations_they_rest_on() -> None:
    data = render(seed_result()).decode()
    place = [row.id for row in seed_result().observations].index("pptp-control-1723-both") + 1
    assert f'<a href="#o{place}">pptp-control-1723-both</a>' in data
    assert f'<li id="o{place}">' in data


def test_where_packets_vanish_is_said_and_drawn() -> None:
    page = page_of(seed_result())
    assert "reaches 10.78.1.2 (hop 2), not the next one, 10.78.2.2. Cause: a filter on the IP protocol." in page.text
    assert page.values("class").count("cross") == 2
    assert page_of(clean_result()).values("class").count("cross") == 0
    assert len([label for label in page.values("aria-label") if "GRE does not arrive" in label]) == 2


def test_nmap_is_put_in_its_place_only_where_it_spoke() -> None:
    assert "nmap proves nothing about IP protocol 47" in page_of(seed_result()).text
    assert "nmap" not in page_of(clean_result()).text


def test_the_error_bound_is_said() -> None:
    assert "wrong with a probability of at most 7e-7" in page_of(seed_result()).text


def test_an_interrupted_run_has_a_banner() -> None:
    assert "Incomplete. This run was interrupted." in page_of(SAMPLES["incomplete"]()).text.replace(" .", ".")
    assert "Incomplete" not in page_of(seed_result()).text


@pytest.mark.parametrize(
    ("started", "shown"),
    [
        ("2026-03-14T09:26:53.729Z", "2026-03-14 09:26:53 UTC"),
        ("2026-03-14T09:26:53+02:00", "2026-03-14 07:26:53 UTC"),
        ("0001-01-01T00:00:00+02:00", "0001-01-01T00:00:00+02:00"),
        ("some day", "some day"),
    ],
)
def test_the_beginning_is_shown_to_the_second(started: str, shown: str) -> None:
    base = seed_result()
    assert shown in page_of(replace(base, run=replace(base.run, started=started))).text


def test_captures_show_their_problems_and_their_own_verdicts() -> None:
    text = page_of(offline_result()).text
    assert "record 18 ends after 12 of its 62 bytes" in text
    captures = tuple(replace(one, verdicts=offline_result().verdicts[:1]) for one in offline_result().run.captures)
    alone = replace(offline_result(), verdicts=(), run=replace(offline_result().run, captures=captures))
    assert "seed-server.pcap by itself" in page_of(alone).text


def test_what_was_skipped_is_said_with_its_reason() -> None:
    text = page_of(solo_result()).text
    assert "What was not measured, and why" in text
    assert "no raw-ip capability: run as root" in text


def test_commands_in_a_sentence_are_set_as_code() -> None:
    assert "<code>vpnprobe run --peer HOST</code>" in render(offline_result()).decode()
    assert str(html._prose("`<b>` and `")) == "`&lt;b&gt;` and `"
    assert str(html._prose("`<b>`")) == "<code>&lt;b&gt;</code>"


def test_a_long_table_says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "MOST_CONVERSATIONS", 1)
    assert "These are the first 1 of 2; the result document has all." in page_of(offline_result()).text


def test_a_result_without_anything_still_renders() -> None:
    result = blocked_result()
    run = replace(result.run, client=None, server=None)
    assert "No verdict." in page_of(Result(run, (), (), None)).text


def test_what_a_judgement_adds_to_a_row_has_sentences() -> None:
    base = seed_result()
    row = replace(
        base.observations[0],
        detail={
            "messages": [{"message": "SCCRQ", "direction": "c2s", "sent": 2, "received": 1}, "odd"],
            "compared_with": [base.observations[1].id, "gone", 7],
            "lost_direction": "s2c",
        },
    )
    text = page_of(replace(base, observations=(row, *base.observations[1:]))).text
    assert "SCCRQ → 1 of 2" in text
    assert "lost on the way back" in text
    assert f"compared with {base.observations[1].id} gone" in text
