"""Texts of `iptables-save`, and files in its format that people have written."""

import pytest

from vpnprobe.firewall.iptables_reader import rule, running_number, sections, tables, with_rules, without_ours
from vpnprobe.firewall.model import UNKNOWN, Condition, Field, Verdict

TEXT = """# written by hand
*nat
:POSTROUTING ACCEPT [0:0]
COMMIT
*filter
:INPUT DROP [3:120]
:LOGGING - [0:0]
# a comment
-A INPUT -i lo -j ACCEPT
[5:300] -A INPUT -m comment --comment "vpnprobe-12345678-1" -j ACCEPT
[7:400] -A INPUT -j LOGGING

COMMIT
"""


def test_tables_policies_and_numbers() -> None:
    nat, filters = tables(TEXT, 4)
    assert (nat.name, filters.name, filters.family) == ("nat", "filter", "ip")
    assert nat.chains["POSTROUTING"].hook is None
    assert filters.chains["INPUT"].drops
    assert [(one.place, one.verdict, one.target) for one in filters.chains["INPUT"].rules] == [
        (1, Verdict.ACCEPT, ""),
        (2, Verdict.JUMP, "LOGGING"),
    ]


@pytest.mark.parametrize(
    ("text", "conditions", "verdict"),
    [
        ("-A INPUT -p all -j DROP", (), Verdict.DROP),
        ("-A INPUT ! -p udp -j ACCEPT", (Condition(Field.PROTOCOL, ("udp",), negated=True),), Verdict.ACCEPT),
        ("-A INPUT -p udp -m udp --dport :1024 -j LOG --log-prefix '-j DROP '", None, Verdict.CONTINUE),
        ("-A INPUT -p udp --dport http -j DROP", (Condition(Field.PROTOCOL, ("udp",)), UNKNOWN), Verdict.DROP),
        ("-A INPUT -s no.such/99 -j DROP", (UNKNOWN,), Verdict.DROP),
        ("-A INPUT -j REJECT --reject-with tcp-reset", (), Verdict.DROP),
        ("-A INPUT -j REJECT -m limit --limit 1/s", (UNKNOWN, UNKNOWN), Verdict.DROP),
        ("-A INPUT -p icmp --icmp-type 8 -j ACCEPT", None, Verdict.ACCEPT),
        ("-A INPUT -g here", (), Verdict.GOTO),
        ("-A INPUT", (), Verdict.CONTINUE),
    ],
    ids=str,
)
def test_a_rule(text: str, conditions: tuple[Condition, ...] | None, verdict: Verdict) -> None:
    found = rule(text, 1, frozenset({"here"}))
    assert found.verdict is verdict
    assert conditions is None or found.conditions == conditions


def test_rules_are_put_in_by_number_and_everything_else_stays() -> None:
    first = with_rules(TEXT, "filter", "INPUT", 2, ["-A INPUT -p udp -j ACCEPT"])
    assert first == TEXT.replace("[7:400]", "-A INPUT -p udp -j ACCEPT\n[7:400]")
    last = with_rules(TEXT, "filter", "INPUT", None, ["-A INPUT -p udp -j ACCEPT"])
    assert last == TEXT.replace("\nCOMMIT\n", "\nCOMMIT\n", 1).removesuffix("COMMIT\n") + "-A INPUT -p udp -j ACCEPT\nCOMMIT\n"
    nat = with_rules(TEXT, "nat", "POSTROUTING", None, ["-A POSTROUTING -j MASQUERADE"])
    assert nat == TEXT.replace("COMMIT\n", "-A POSTROUTING -j MASQUERADE\nCOMMIT\n", 1)


def test_what_is_ours_is_taken_out() -> None:
    assert without_ours(TEXT) == "".join(line for line in TEXT.splitlines(True) if "vpnprobe" not in line)


def test_tables_are_cut_out() -> None:
    assert sections(TEXT, frozenset({"nat"})) == "*nat\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n"


def test_numbers_among_rules_of_ours() -> None:
    ours = '-A INPUT -p udp -m comment --comment "vpnprobe-00000000-1" -j ACCEPT'
    rules = ["-A INPUT -i lo -j ACCEPT", ours, "-A INPUT -p udp -j DROP", "-A INPUT -s 192.0.2.1 -j DROP", ours, ours, "-A INPUT -j DROP"]
    text = "\n".join(("*nat", "-A INPUT -j RETURN", "*filter", "-A FORWARD -j DROP", *rules, "COMMIT", ""))
    assert [running_number(text, "filter", "INPUT", number) for number in range(1, 5)] == [1, 3, 4, 7]
    assert running_number("", "filter", "INPUT", 1) == 1
