"""ufw's own rules as they are found: its files, and how they stand in the running ones. Pure.

ufw keeps what the administrator has allowed in `user.rules` and `user6.rules`: a comment that begins with `### tuple ###`, by which `ufw
status` shows it, and the rule for `iptables-restore`. A rule of ufw has no comment of iptables: ours are known by the comment of their
tuples.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Final

from vpnprobe.firewall import iptables_reader
from vpnprobe.firewall.model import OURS

USER_RULES: Final = {4: "/etc/ufw/user.rules", 6: "/etc/ufw/user6.rules"}
FILES: Final = tuple(USER_RULES.values())
CONFIGURATION: Final = "/etc/ufw/ufw.conf"
_OURS: Final = f"comment={OURS.encode().hex()}"
_OUR_TUPLE: Final = re.compile(rf"^### tuple ### .*{_OURS}.*\n(-A .*\n)+\n?", re.MULTILINE)


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
