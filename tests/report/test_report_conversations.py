"""Conversations in words, and message by message."""

from dataclasses import replace

from result_samples import offline_result

from vpnprobe.observations.schema import ConversationEndpoint, ConversationSummary
from vpnprobe.report.conversations import MOST_LADDERS, ladders, leading, line_of, lines_of, stage_words, summary_of
from vpnprobe.report.html import render
from vpnprobe.report.text import render_text
from vpnprobe.report.words import STAGES

STOPPED = ConversationSummary(
    protocol="openvpn-udp",
    client=ConversationEndpoint("192.0.2.10", 49152),
    server=ConversationEndpoint("198.51.100.20", 1194),
    stage="server-reset",
    frames_c2s=3,
    frames_s2c=1,
    detail={
        "diagnosis": {"name": "answer-lost", "side": "way-back", "frames": [2]},
        "ladder": [
            {"frame": 1, "at_s": 0.0, "from": "client", "message": "RESET", "bytes": 14, "fate": "received"},
            {"frame": 2, "at_s": 0.01, "from": "server", "message": "ANSWER\x1b[2J", "bytes": 26, "fate": "lost"},
            {"frame": 3, "at_s": 2.0, "from": "client", "message": "RESET", "bytes": 14, "again": True, "fate": "received"},
        ],
        "ladder_left_out": 7,
    },
    findings=("The answer is lost.", "It moved."),
)
WORKING = replace(STOPPED, protocol="gre", stage="both-ways", detail={"proved_received": {"client": 2, "server": 0}}, findings=())


def test_a_line_says_what_how_far_and_what_stopped_it() -> None:
    line = line_of(STOPPED)
    assert (line.mark.tone, line.what) == ("bad", "OpenVPN over UDP is answered, and goes no further")
    assert (line.stopped_by, line.notes) == ("The answer is lost.", ("It moved.",))
    assert line.ends == "192.0.2.10 port 49152 → 198.51.100.20 port 1194"
    assert line.counts == "3 of the client and 1 of the server seen"


def test_what_is_known_to_have_arrived_is_said_and_nothing_else() -> None:
    assert line_of(WORKING).counts == "3 of the client (2 known to have arrived) and 1 of the server seen"
    assert line_of(WORKING).mark.tone == "good"


def test_a_stage_of_a_newer_version_is_told_by_its_name() -> None:
    assert stage_words("quantum-leap") == "was under way: quantum-leap"
    assert stage_words("midstream-data-one-way") == f"{STAGES['data-one-way']} (its beginning is not in the capture)"


def test_what_was_stopped_comes_first_and_leads() -> None:
    result = replace(offline_result(), conversations=(WORKING, STOPPED))
    assert [line.what for line in lines_of(result)] == [line_of(STOPPED).what, line_of(WORKING).what]
    assert leading(result.conversations) is STOPPED
    assert summary_of(result.conversations) == "GRE passes both ways"


def test_the_terminal_shows_conversations_before_verdicts() -> None:
    text = render_text(replace(offline_result(), conversations=(WORKING, STOPPED)), colour=False, width=100)
    assert text.index("Conversations") < text.index("The answer is lost.") < text.index("✓ GRE passes both ways") < text.index("PPTP  ")


def test_a_ladder_has_times_frames_and_what_was_lost() -> None:
    [ladder] = ladders(replace(offline_result(), conversations=(WORKING, STOPPED)))
    assert [(row.time, row.frame, row.from_client, row.note, row.lost) for row in ladder.rows] == [
        ("0.000 s", 1, True, "arrived", False),
        ("0.010 s", 2, False, "lost beyond this point", True),
        ("2.000 s", 3, True, "again, arrived", False),
    ]
    assert "\x1b" not in ladder.rows[1].message
    assert ladder.left_out.startswith("7 messages")


def test_a_page_has_a_ladder_for_what_was_stopped_and_not_for_all() -> None:
    page = render(replace(offline_result(), conversations=(WORKING, *[STOPPED] * (MOST_LADDERS + 3)))).decode()
    assert page.count('<details class="ladder"') == MOST_LADDERS
    assert "lost beyond this point" in page


def test_a_broken_ladder_breaks_nothing() -> None:
    broken = replace(STOPPED, detail={**STOPPED.detail, "ladder": ["x", {}], "ladder_left_out": 0})
    [ladder] = ladders(replace(offline_result(), conversations=(broken,)))
    assert len(ladder.rows) == 1
