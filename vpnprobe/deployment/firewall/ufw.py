"""ufw's own rules: its files, and how they stand in the running ones.

ufw keeps what the administrator has allowed in `user.rules` and `user6.rules`: a comment that begins with `### tuple ###`, by which `ufw
status` shows it, and the rule for `iptables-restore`. Rules are added to these files and to the running chains as ufw itself would, but
without its reload, which lets everything through for a moment and loads its sysctls again. A rule of ufw has no comment of iptables: ours
are known by the comment of their tuples.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vpnprobe.deployment.firewall import iptables_reader
from vpnprobe.deployment.firewall.model import OURS
from vpnprobe.deployment.firewall.needs import Kind, Opening

USER_RULES: Final = {4: "/etc/ufw/user.rules", 6: "/etc/ufw/user6.rules"}
FILES: Final = tuple(USER_RULES.values())
CONFIGURATION: Final = "/etc/ufw/ufw.conf"
_BEGIN: Final = "### RULES ###\n"
_END: Final = "### END RULES ###\n"
_OURS: Final = f"comment={OURS.encode().hex()}"
_OUR_TUPLE: Final = re.compile(rf"^### tuple ### .*{_OURS}.*\n(-A .*\n)+\n?", re.MULTILINE)
EXPRESSIBLE: Final = frozenset({Kind.LISTENER, Kind.FROM_TUNNEL, Kind.SERVICE})
"""What ufw has words for; what else is dropped is accepted beside it."""


def enabled(files: Mapping[str, bytes]) -> bool:
    """Whether it is to run, by its configuration."""
    return re.search(rb"^ENABLED=yes\b", files.get(CONFIGURATION, b""), re.MULTILINE | re.IGNORECASE) is not None


def chains_loaded(text: str) -> bool:
    """Whether it runs, by the rules that are loaded."""
    return re.search(r"^:ufw6?-user-input ", text, re.MULTILINE) is not None


def without_ours(text: str) -> str:
    """A file of ufw without our rules."""
    return _OUR_TUPLE.sub("", text)


def without_ours_loaded(text: str, files: Mapping[str, bytes]) -> str:
    """Rules that are loaded, without those that are ours by ufw's files."""
    mine = {_content(line) for path in FILES for line in _our_lines(files.get(path, b"").decode("utf-8", "replace"))}
    return (
        "".join(f"{line.text}\n" for line in iptables_reader.lines(text) if not line.chain or _content(line.text) not in mine)
        if mine
        else text
    )


def _our_lines(text: str) -> Iterator[str]:
    for found in _OUR_TUPLE.finditer(text):
        yield from (line for line in found[0].splitlines() if line.startswith("-A "))


def _content(line: str) -> object:
    """What a rule says, however it is written."""
    parsed = iptables_reader.rule(line, 0, frozenset())
    return shlex.split(line)[1], frozenset(parsed.conditions), parsed.verdict


@dataclass(frozen=True, slots=True)
class UfwRule:
    """One, in the form of ufw's files and of the running rules."""

    version: int
    opening: Opening
    first: bool
    """It has to stand before ufw's other rules, one of which denies it."""

    @property
    def chain(self) -> str:
        """ufw's own for the administrator's rules."""
        kind = "forward" if self.opening.kind is Kind.FROM_TUNNEL else "input"
        return f"ufw{'6' if self.version == 6 else ''}-user-{kind}"

    def lines(self, comment: str) -> str:
        """As `ufw` writes it."""
        o = self.opening
        anywhere = "0.0.0.0/0" if self.version == 4 else "::/0"
        hexed = comment.encode().hex()
        match o.kind:
            case Kind.LISTENER:
                head = f"allow {o.transport} {o.port} {anywhere} any {anywhere} in"
                rule = f"-p {o.transport} --dport {o.port}"
            case Kind.SERVICE:
                head = f"allow {o.transport} {o.port} {anywhere} any {o.pool} in_{o.device}"
                rule = f"-i {o.device} -p {o.transport} --dport {o.port} -s {o.pool}"
            case _:
                head = f"route:allow any any {anywhere} any {o.pool} in_{o.device}"
                rule = f"-i {o.device} -s {o.pool}"
        return f"### tuple ### {head} comment={hexed}\n-A {self.chain} {rule} -j ACCEPT\n\n"

    @property
    def running(self) -> str:
        """Behind the chain."""
        return f"{self.opening.iptables()} -j ACCEPT"


def with_rules(text: str, rules: Sequence[UfwRule], comment: str) -> str:
    """A file of ufw with rules added, ours of before left out. Raises ValueError where it has no place for them."""
    text = without_ours(text)
    head, begin, rest = text.partition(_BEGIN)
    if not begin:
        raise ValueError(f"no line {_BEGIN.strip()!r}")
    first = "".join(rule.lines(comment) for rule in rules if rule.first)
    last = "".join(rule.lines(comment) for rule in rules if not rule.first)
    kept, end, tail = rest.partition(_END)
    body = f"{kept}{last}" if end else f"{last}{kept}"
    if first:
        body = f"\n{first}{body.removeprefix(chr(10))}"
    return f"{head}{begin}{body}{end}{tail}"
