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
    "conversations.wireguard_ends": ("conversations/test_conversations_wireguard_session.py", "what they share makes them ends"),
    "conversations.wireguard_observer": ("conversations/test_conversations_wireguard_run_keys.py", "it sees what those without keys see"),
    "lab.wireguard_peers": ("real/test_real_wireguard.py", "it starts what is tried there"),
    "profiles.wireguard_model": ("profiles/test_profiles_wireguard.py", "it is what is read"),
    "probes.wireguard_profile_test": ("agents/test_agents_existing_wireguard.py", "with and without an agent beside the server"),
    "probes.openvpn_session_over": ("probes/test_probes_openvpn_profile_test.py", "how long each trial takes is seen there"),
    "probes.tunnel_findings": ("probes/test_probes_openvpn_findings.py", "OpenVPN's sessions show all of them"),
    "probes.tunnel_sessions": ("probes/test_probes_openvpn_sessions.py", "OpenVPN's sessions are of that kind"),
    "__main__": ("agents/test_agents_live.py", "it is how the processes are started"),
    "deployment.firewall.needs": ("deployment/test_deployment_firewall_nft_steps.py", "what passes is what is needed"),
    "firewall.state": ("deployment/test_deployment_firewall_detect.py", "it is what is found"),
    "firewall.marks": ("deployment/test_deployment_firewall_by_hand.py", "who is met is refused"),
    "deployment.firewall.accepts": ("deployment/test_deployment_firewall_planning.py", "steps are made of them"),
    "firewall.ufw_rules": ("deployment/test_deployment_firewall_ufw_steps.py", "what was there is read there"),
    "errors": ("cli/test_cli_main.py", "every error ends as a line and a status there"),
    "evidence.unopened": ("evidence/test_evidence_causes.py", "it is a cause among others"),
    "agents.peer": ("agents/test_agents_client.py", "it is the client's view of the server agent"),
    "agents.tracing": ("scenarios/test_scenarios_simulated.py", "places are expectations of scenarios"),
    "agents.remote": ("agents/test_standard_library.py", "it runs as a process of its own"),
    "agents.simulation": ("agents/test_agents_client.py", "whole runs are simulated there"),
    "rules.silences": ("rules/test_rules_limits.py", "a path that is silent again and again has a limit"),
    "capture.data_records": ("capture/test_capture_openvpn.py", "it is about the data packets of its sessions"),
    "capture.ends": ("capture/test_capture_analysis.py", "it joins the two captures there"),
    "capture.followers": ("capture/test_capture_conversations.py", "one file of cases for all protocols"),
    "capture.frames": ("capture/test_capture_decode.py", "decoding begins with frames"),
    "capture.linktypes": ("capture/test_capture_decode.py", "decoding begins with link layers"),
    "capture.pcap": ("capture/test_capture_files.py", "formats of files"),
    "capture.followers.openvpn_forms": ("capture/test_capture_recognition.py", "they are what begins a stream"),
    "capture.followers.pptp_sizes": ("capture/test_capture_snap_length.py", "sizes are what a short snap length leaves"),
    "capture.pcapng": ("capture/test_capture_files.py", "formats of files"),
    "capture.host_pairs": ("capture/test_capture_decode.py", "it is the decoder's index"),
    "capture.joining": ("capture/test_capture_two_captures.py", "captures of both ends are joined there"),
    "capture.recording": ("capture/test_capture_two_captures.py", "captures of both ends are compared there"),
    "capture.sides": ("capture/test_capture_analysis.py", "it is what an analysis is of"),
    "capture.swapping": ("capture/test_capture_two_captures.py", "captures of both ends are swapped there"),
    "capture.placing": ("capture/test_capture_analysis.py", "places are results of an analysis"),
    "capture.printed": ("capture/test_capture_text.py", "texts are read as a whole there"),
    "capture.reading": ("capture/test_capture_files.py", "formats of files"),
    "capture.sources": ("capture/test_capture_files.py", "what is behind a path"),
    "capture.text_encoding": ("capture/test_capture_characters.py", "lines are decoded there"),
    "capture.host_firewall": ("capture/test_capture_analysis.py", "part of an analysis"),
    "cli.analysing": ("capture/test_capture_analysis.py", "its documents are read there"),
    "cli.path_verdicts": ("capture/test_capture_paths.py", "each pair's verdicts are read there"),
    "cli.analyze": ("cli/test_cli_main.py", "all commands are run there"),
    "cli.demo": ("scenarios/test_scenarios_simulated.py", "it plays the scenarios"),
    "cli.finishing": ("scenarios/test_scenarios_simulated.py", "what it writes is read there"),
    "lab.campaign": ("lab/test_lab_campaign.py", "its parts are one chain from a draw to a table"),
    "cli.lab_campaign": ("lab/test_lab_campaign.py", "with what it runs"),
    "cli.lab": ("lab/test_lab_cli.py", "with the other tests of the lab"),
    "cli.options": ("cli/test_cli_run.py", "options are those of run"),
    "cli.profiles": ("cli/test_cli_openvpn_profile.py", "profiles are given to run there"),
    "cli.words": ("cli/test_cli_main.py", "the help of all commands is read there"),
    "cli.report": ("report/test_report_command.py", "with the other tests of the report"),
    "cli.rules": ("rules/test_rules_cli.py", "with the other tests of the rules"),
    "cli.serve": ("agents/test_agents_live.py", "it runs as a process there"),
    "conversations.observing": ("conversations/test_conversations_registry.py", "each protocol's observer is asked there"),
    "deployment.steps": ("deployment/test_deployment_encoding.py", "they are what is written and read there"),
    "deployment.taking_back": ("deployment/test_deployment_hooks.py", "it is a rollback with its hooks"),
    "cli.provision_apply": ("real/test_real_provision.py", "plans are applied there"),
    "cli.provision_client": ("real/test_real_provision.py", "clients come and go there"),
    "cli.provision_plan": ("real/test_real_provision.py", "plans are made there"),
    "deployment.changing": ("real/test_real_provision.py", "clients come and go there"),
    "cli.verification_text": ("cli/test_cli_provision_verify.py", "it is what that command prints"),
    "deployment.verification": ("real/test_real_provision_verify.py", "its parts are seen with real tunnels"),
    "endpoint.pcap": ("capture/test_capture_files.py", "what it writes is read there"),
    "endpoint.ppp_call": ("scenarios/test_scenarios_simulated.py", "GRE inside a call is a check of every scenario"),
    "endpoint.probe_packets": ("scenarios/test_scenarios_simulated.py", "places are expectations of scenarios"),
    "endpoint.running_tunnels": ("endpoint/test_endpoint_wireguard_running.py", "it is what searches give"),
    "agents.taken_record": ("agents/test_agents_taken_rows.py", "what each end names for the other goes over the control channel there"),
    "agents.own_firewalls": ("scenarios/test_scenarios_host_firewall.py", "what both ends say is told there"),
    "evidence.check_rows": ("agents/test_agents_records.py", "rows go over the control channel there"),
    "evidence.kept_kinds": ("scenarios/test_scenarios_host_firewall.py", "the command that is told for each is seen there"),
    "evidence.judging.base": ("evidence/test_evidence_ends.py", "what an end could have seen is what the kinds share"),
    "evidence.judging.connection": ("evidence/test_evidence_judge.py", "cases by kind"),
    "evidence.judging.packets": ("evidence/test_evidence_judge.py", "cases by kind"),
    "evidence.judging.conversation": ("evidence/test_evidence_judge.py", "cases by kind"),
    "evidence.records": ("evidence/test_evidence_judge.py", "judgements are made of them"),
    "evidence.packet_records": ("evidence/test_evidence_packet_counts.py", "they are what is counted"),
    "observations.schema": ("observations/test_document.py", "it is the document's own types"),
    "probes": ("scenarios/test_scenarios_simulated.py", "each probe's answers are expectations of scenarios"),
    "rules.model": ("rules/test_rules_loader.py", "what is loaded are its types"),
    "rules.table": ("rules/test_rules_loader.py", "it reads the rules' file"),
    "transports.bundle": ("transports/test_ssh.py", "it is what goes through ssh"),
    "transports.capabilities": ("transports/test_system_raw.py", "raw sockets are what it is about"),
    "transports.stack": ("transports/test_simulated_stack.py", "it is the interface"),
    "transports.nmap_helper": ("transports/test_nmap.py", "it is the process behind nmap"),
    "transports.simulated": ("transports/test_simulated_network.py", "its parts are seen through the network"),
    "transports.system": ("transports/test_system_namespaces.py", "its parts are seen through the network stack"),
    "transports.topology": ("lab/test_lab_topologies.py", "topologies are read there"),
}
"""Modules and packages without a test file of their own name: where they are tested, and why there."""


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


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("run", "--help"), ("serve", "--help"), ("demo", "--help")], ids=" ".join
)
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    found = imported_by(*arguments)
    assert "click" in found
    assert not LAZY & found


def test_the_count_would_notice() -> None:
    assert "msgspec" in _modules_after("import msgspec")
    assert "msgspec" not in _modules_after("pass")


def _modules_after(code: str) -> set[str]:
    tail = "; import sys, json; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    return set(json.loads(subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True).stdout))


LIGHT: Final = sorted(
    name
    for name in MODULES
    if name.split(".")[0]
    in ("wire", "conversations", "evidence", "endpoint", "probes", "agents", "transports", "provisioning", "firewall", "errors")
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


def test_no_file_is_too_long() -> None:
    """Beyond 400 lines it is two things."""
    assert {name: lines for name, path in MODULES.items() if (lines := len(path.read_text("utf-8").splitlines())) > 400} == {}


def named_after(name: str) -> list[Path]:
    """Test files whose name has the module's own name and its package's in it, or that lie in the folder of its package."""
    parts = name.split(".")
    return [
        path
        for path in TESTS.rglob("test_*.py")
        if parts[-1] in path.stem and (len(parts) == 1 or parts[0] in path.stem or path.parent.name == parts[0])
    ]


def elsewhere(name: str) -> str | None:
    """The file that a module, or a package it is in, is said to be tested by; None: it is not said."""
    parts = name.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((TESTED_ELSEWHERE[prefix][0] for prefix in prefixes if prefix in TESTED_ELSEWHERE), None)


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__init__")])
def test_a_module_has_a_test_file(name: str) -> None:
    if not named_after(name):
        place = elsewhere(name)
        assert place is not None, f"no test file is named after {name}: write one, or say in TESTED_ELSEWHERE where it is tested"
        assert (TESTS / place).is_file(), f"{name} is said to be tested by {place}, which is not there"


@pytest.mark.parametrize("name", TESTED_ELSEWHERE)
def test_an_exception_is_needed_and_names_what_is_there(name: str) -> None:
    place, why = TESTED_ELSEWHERE[name]
    assert why
    assert (TESTS / place).is_file()
    assert any(module == name or module.startswith(f"{name}.") for module in MODULES)
