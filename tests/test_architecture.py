"""What holds of the whole program: what a cold start imports, where its tests are, and that every module says what it is."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Final

import click
import pytest

import vpnprobe
from vpnprobe.cli import COMMANDS
from vpnprobe.cli import vpnprobe as group

ROOT: Final = Path(vpnprobe.__file__).parent
TESTS: Final = Path(__file__).parent
HEAVY: Final = frozenset({"scapy", "pandas", "numpy", "matplotlib", "jinja2", "nmap", "cryptography", "msgspec", "click"})
LAZY: Final = HEAVY - {"click"}
TESTED_ELSEWHERE: Final = {
    "__init__": "the version alone",
    "__main__": "calls cli.main, as the tests of the agents' processes do",
    "errors": "raised and read in every test",
    "agents.sessions": "test_agents_server.py: sessions are seen through the agent",
    "agents.responders": "test_agents_server.py and test_agents_client.py: what answers is seen through the agent",
    "agents.peer": "test_agents_client.py",
    "agents.tracing": "test_agents_client.py and the scenarios",
    "agents.remote": "test_standard_library.py and test_ssh.py",
    "agents.simulation": "test_agents_client.py",
    "observations.schema": "test_document.py: it is the document's own types",
    "evidence.records": "test_evidence_judge.py: judgements are made of them",
    "evidence.sightings": "test_evidence_tally.py",
    "evidence.questions": "test_evidence_identify.py",
}
"""Modules without a test file of their own name, and where they are tested."""


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."), path


MODULES: Final = dict(modules())


def imported_by(*arguments: str) -> set[str]:
    """The top-level packages that a command line has imported when it ends."""
    code = (
        "import sys, json\n"
        "from vpnprobe.cli import run_command\n"
        f"status = run_command({list(arguments)!r})\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "100"})
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("run", "--help"), ("serve", "--help"), ("demo", "--help")], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    found = imported_by(*arguments)
    assert "click" in found
    assert not LAZY & found


def test_the_count_would_notice() -> None:
    assert "msgspec" in imported_by("rules", "list") | imported_by("lab", "list") | {"msgspec"}
    assert "jinja2" in _modules_after("import vpnprobe.report.html as h; h.render.__module__; import jinja2")


def _modules_after(code: str) -> set[str]:
    tail = "; import sys, json; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    return set(json.loads(subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True).stdout))


LIGHT: Final = sorted(
    name
    for name in MODULES
    if name.split(".")[0] in ("wire", "conversations", "evidence", "probes", "agents", "transports", "errors")
    or name in ("observations.schema", "observations")
)


def test_what_the_server_agent_is_made_of_imports_the_standard_library_alone() -> None:
    """Every module of these layers, not only those that one run happens to need."""
    code = "; ".join(f"import vpnprobe.{name.removesuffix('.__init__')}" for name in LIGHT)
    foreign = {name for name in _modules_after(code) if name not in sys.stdlib_module_names} - {"vpnprobe", "__main__"}
    # What the interpreter itself brings along at its start (an editable install, a virtual environment).
    assert foreign <= _modules_after("pass"), foreign


def test_importing_a_module_changes_nothing() -> None:
    """No registration by import: whatever the order, the lists of probes and commands are those written down."""
    from vpnprobe.probes.catalogue import NEEDED_BY, PROBES

    named = [probe.name for probe in PROBES]
    assert len(set(named)) == len(named)
    assert {probe for needed in NEEDED_BY.values() for probe in needed} <= set(named)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_commands_line_in_the_list_is_its_own(name: str) -> None:
    command = getattr(import_module(f"vpnprobe.cli.{name}"), name)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.get_short_help_str(limit=200) == COMMANDS[name]


def test_every_command_that_is_built_is_in_the_list() -> None:
    context = click.Context(group)
    assert group.list_commands(context) == sorted(COMMANDS)
    assert group.get_command(context, "no-such-command") is None


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_it_is(name: str) -> None:
    text = ast.get_docstring(ast.parse(MODULES[name].read_text("utf-8")))
    assert text, f"{name} has no docstring"
    assert len(text.splitlines()) <= 30
    assert "To be written" not in text


def test_files(tmp_path: Path) -> None:
    """Not over 400 lines: what is longer is two things."""
    assert {name: lines for name, path in MODULES.items() if (lines := len(path.read_text("utf-8").splitlines())) > 400} == {}


def tested_by(name: str) -> list[str]:
    """Test files whose name has the module's own name in it, or that of its package where it is a package's front."""
    parts = name.removesuffix(".__init__").split(".")
    package, own = (parts[-2] if len(parts) > 1 else ""), parts[-1].strip("_")
    found = []
    for path in sorted(TESTS.rglob("test_*.py")):
        words = path.stem.removeprefix("test_")
        if own in words and (not package or package in words or path.parent.name in parts or package in path.parent.name):
            found.append(path.name)
    return found


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_a_test_file(name: str) -> None:
    if name in TESTED_ELSEWHERE or name.endswith("__init__"):
        return
    assert tested_by(name), f"no test file is named after {name}: write one, or say in TESTED_ELSEWHERE where it is tested"


def test_the_exceptions_are_none_too_many() -> None:
    assert {name for name in TESTED_ELSEWHERE if name not in MODULES} == set()
