"""What `iptables-save` and `ip6tables-save` say, and files in their format, as tables of the model; and such texts with rules added.
Pure.

Matches that are not looked into are conditions that fit perhaps. The table `nat` has no chains of the model: nothing is dropped there.
"""

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from vpnprobe.firewall.model import OURS, UNKNOWN, Chain, Condition, Field, Hook, Rule, Table, Value, Verdict

_HOOKS: Final = {str(hook).upper(): hook for hook in Hook}
_VERDICTS: Final = {
    "ACCEPT": Verdict.ACCEPT,
    "DROP": Verdict.DROP,
    "REJECT": Verdict.DROP,
    "QUEUE": Verdict.ACCEPT,
    "NFQUEUE": Verdict.ACCEPT,
    "RETURN": Verdict.RETURN,
}
_PROTOCOLS: Final = {"ipv6-icmp": "icmp", "icmpv6": "icmp", "1": "icmp", "58": "icmp", "6": "tcp", "17": "udp", "47": "gre", "50": "esp"}
_PASSES: Final = frozenset({"comment", "tcp", "udp", "icmp", "icmp6", "multiport", "conntrack", "state", "addrtype", "mark", "set"})
"""Modules that decide nothing but by their options."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of such a text."""

    text: str
    table: str
    chain: str = ""
    """Of an appended rule; empty: it is something else."""

    @property
    def ours(self) -> bool:
        """Whether it is a rule that bears our comment."""
        return bool(self.chain) and f"--comment {OURS}" in self.text.replace('"', "")


def lines(text: str) -> Iterator[Line]:
    """All lines of a text, with the table and chain that each is about."""
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        bare = line.partition("] ")[2] if line.startswith("[") else line
        words = bare.split(maxsplit=2)
        yield Line(line, table, words[1] if len(words) > 1 and words[0] in ("-A", "--append") else "")


def running_number(text: str, table: str, chain: str, number: int) -> int:
    """What number a rule has among all of its chain, of which `number` says what it has among those that are not ours."""
    theirs = 0
    for place, line in enumerate((line for line in lines(text) if (line.table, line.chain) == (table, chain)), 1):
        theirs += not line.ours
        if theirs == number and not line.ours:
            return place
    return number


def tables(text: str, version: int) -> list[Table]:
    """The tables of a text, without rules that bear our comment. `version`: of IP."""
    names = [line.table for line in lines(text) if line.text.startswith("*")]
    return [_table(text, name, "ip" if version == 4 else "ip6") for name in dict.fromkeys(names)]


def _table(text: str, name: str, family: str) -> Table:
    mine = [line for line in lines(text) if line.table == name and not line.ours]
    heads = [line.text[1:].split() for line in mine if line.text.startswith(":")]
    rules: dict[str, list[Rule]] = {head[0]: [] for head in heads}
    counts: dict[str, int] = {}
    for line in mine:
        if line.chain:
            counts[line.chain] = counts.get(line.chain, 0) + 1
            rules.setdefault(line.chain, []).append(rule(line.text, counts[line.chain], frozenset(head[0] for head in heads)))
    policies = {head[0]: head[1] for head in heads if len(head) > 1}
    chains = {
        chain: Chain(chain, tuple(found), _HOOKS.get(chain) if name != "nat" else None, drops=policies.get(chain) == "DROP")
        for chain, found in rules.items()
    }
    return Table(family, name, chains)


def rule(text: str, number: int, chains: frozenset[str]) -> Rule:
    """One appended rule. Options behind its target are the target's, except those of a match."""
    conditions: list[Condition] = []
    verdict, target, of_target = Verdict.CONTINUE, "", False
    for negated, option, arguments in _options(text):
        if option in ("-j", "--jump", "-g", "--goto") and arguments:
            verdict, target = _action(option, arguments[0], chains)
            of_target = True
        elif option in ("-m", "--match") and arguments:
            of_target = False
            conditions += () if arguments[0] in _PASSES else (UNKNOWN,)
        elif option in _OPTIONS or not of_target:
            conditions += _conditions(option, arguments, negated=negated)
    return Rule(number, tuple(conditions), verdict, target)


def _options(text: str) -> Iterator[tuple[bool, str, Sequence[str]]]:
    """Whether it is negated, its name, its arguments."""
    words = shlex.split(text.partition("] ")[2] if text.startswith("[") else text)[2:]
    starts = [at for at, word in enumerate(words) if word.startswith("-") and len(word) > 1 and not word[1].isdigit()]
    for at, end in zip(starts, [*starts, len(words)][1:], strict=True):
        yield at > 0 and words[at - 1] == "!", words[at], [word for word in words[at + 1 : end] if word != "!"]


def _action(word: str, name: str, chains: frozenset[str]) -> tuple[Verdict, str]:
    if name in chains:
        return (Verdict.GOTO if word in ("-g", "--goto") else Verdict.JUMP), name
    return _VERDICTS.get(name, Verdict.CONTINUE), ""


_Reader = Callable[[str], Iterable[Value]]


def _networks(text: str) -> Iterable[Value]:
    return (ip_network(text, strict=False),)


def _names(text: str) -> Iterable[Value]:
    return text.split(",")


def _protocol(text: str) -> Iterable[Value]:
    return () if text in ("all", "0") else (_PROTOCOLS.get(text, text),)


def _ports(text: str) -> Iterable[Value]:
    for part in text.split(","):
        low, colon, high = part.partition(":")
        yield range(int(low or 0), (int(high or 65535) if colon else int(low)) + 1)


def _states(text: str) -> Iterable[Value]:
    return text.lower().split(",")


def _unread(_text: str) -> Iterable[Value]:
    return ()


def _icmp(text: str) -> Iterable[Value]:
    return ({"8": "echo-request", "128": "echo-request", "0": "echo-reply", "129": "echo-reply"}.get(text, text),)


_OPTIONS: Final[dict[str, tuple[Field, _Reader]]] = {
    **dict.fromkeys(("-s", "--source"), (Field.SOURCE, _networks)),
    **dict.fromkeys(("-d", "--destination"), (Field.DESTINATION, _networks)),
    **dict.fromkeys(("-i", "--in-interface"), (Field.IIF, _names)),
    **dict.fromkeys(("-o", "--out-interface"), (Field.OIF, _names)),
    **dict.fromkeys(("-p", "--protocol"), (Field.PROTOCOL, _protocol)),
    **dict.fromkeys(("--dport", "--dports", "--destination-port", "--destination-ports"), (Field.DESTINATION_PORT, _ports)),
    **dict.fromkeys(("--sport", "--sports", "--source-port", "--source-ports"), (Field.SOURCE_PORT, _ports)),
    **dict.fromkeys(("--ctstate", "--state"), (Field.STATE, _states)),
    **dict.fromkeys(("--icmp-type", "--icmpv6-type"), (Field.ICMP_TYPE, _icmp)),
    "--dst-type": (Field.TO, _states),
    "--mark": (Field.MARK, _names),
    "--match-set": (Field.SOURCE, _unread),
}


def _conditions(word: str, arguments: Sequence[str], *, negated: bool) -> list[Condition]:
    if word == "--comment":
        return []
    if word not in _OPTIONS or not arguments:
        return [UNKNOWN]
    field, reader = _OPTIONS[word]
    try:
        values = tuple(reader(arguments[0]))
    except ValueError:
        return [UNKNOWN]
    if values or negated:
        return [Condition(field, values, negated)]
    return [] if field is Field.PROTOCOL else [UNKNOWN]


def sections(text: str, names: frozenset[str]) -> str:
    """Those tables of a text that have one of the names."""
    return "".join(f"{line.text}\n" for line in lines(text) if line.table in names and not line.text.startswith("#"))


def with_rules(text: str, table: str, chain: str, before: int | None, added: Sequence[str]) -> str:
    """A text with rules added to a chain: before its rule of this number (ours not counted), or at its end (None). It has the table."""
    listed = list(lines(text))
    own = [at for at, line in enumerate(listed) if line.table == table and line.chain == chain and not line.ours]
    if before is not None and before <= len(own):
        at = own[before - 1]
    else:
        at = next(index for index, line in enumerate(listed) if line.table == table and line.text.strip() == "COMMIT")
    texts = [line.text for line in listed]
    return "\n".join([*texts[:at], *added, *texts[at:], ""])


def without_ours(text: str) -> str:
    """A text without rules that bear our comment."""
    return "".join(f"{line.text}\n" for line in lines(text) if not line.ours)
