"""Outcomes are written in one place: `evidence.judging`."""

import ast
from pathlib import Path
from typing import Final

import vpnprobe

ROOT: Final = Path(vpnprobe.__file__).parent
ELSEWHERE: Final = {
    "cli/run.py": "nmap's word on a port is another program's, and is told as it gave it",
    "deployment/real_client/trying.py": "what a protocol's own program came to is its word, told beside what was measured",
    "deployment/verification/proofs.py": "what is proved of a tunnel from its client is no observation of a path",
    "deployment/verification/traffic_proofs.py": "what is proved of a tunnel from its client is no observation of a path",
    "lab/expectation.py": "what a scenario expects of an observation is none itself",
}
"""Files that write an outcome too, and why."""


def writes_an_outcome(path: Path) -> bool:
    """Whether a call there is given `outcome=`: an observation made, or one replaced."""
    tree = ast.parse(path.read_text("utf-8"))
    return any(isinstance(node, ast.Call) and any(word.arg == "outcome" for word in node.keywords) for node in ast.walk(tree))


def test_outcomes_are_written_by_the_judges_alone() -> None:
    writers = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if writes_an_outcome(path)}
    judges = {name for name in writers if name.startswith("evidence/judging/")}
    assert judges
    assert writers - judges == ELSEWHERE.keys()


def test_the_search_would_notice(tmp_path: Path) -> None:
    for text, expected in (("replace(row, outcome=Outcome.PASS)", True), ("row.outcome is Outcome.PASS", False)):
        (tmp_path / "one.py").write_text(text)
        assert writes_an_outcome(tmp_path / "one.py") is expected
