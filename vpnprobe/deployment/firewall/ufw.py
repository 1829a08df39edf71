"""ufw's own rules as they are added: to its files and to the running chains, as ufw itself would.

But without its reload, which lets everything through for a moment and loads its sysctls again. What its files are, and how they are read:
`vpnprobe.firewall.ufw_rules`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vpnprobe.deployment.firewall.needs import Kind, Opening
from vpnprobe.firewall.ufw_rules import without_ours

_BEGIN: Final = "### RULES ###\n"
_END: Final = "### END RULES ###\n"
EXPRESSIBLE: Final = frozenset({Kind.LISTENER, Kind.FROM_TUNNEL, Kind.SERVICE})
"""What ufw has words for; what else is dropped is accepted beside it."""


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
