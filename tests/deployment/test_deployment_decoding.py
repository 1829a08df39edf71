"""Hostile plans: any JSON is a plan or one line that says what is wrong."""

import json
from typing import Any

import pytest
from deployment_support import file, plan_of, whole_plan
from hypothesis import given
from hypothesis import strategies as st

from vpnprobe.deployment.decoding import PlanProblem, decode_plan
from vpnprobe.deployment.encoding import plan_as_json
from vpnprobe.deployment.steps import Plan, WriteFile

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def decoded(plain: Any, plan: Plan | None = None) -> Plan:
    contents = {step.path: step.content for step in (plan or whole_plan()).steps if isinstance(step, WriteFile)}
    return decode_plan(plain, lambda path: contents.get(path, b""))


@given(JSON)
def test_any_json_is_a_plan_or_a_problem(plain: object) -> None:
    with pytest.raises(PlanProblem):
        decoded(plain)


@given(st.data())
def test_whatever_stands_in_the_place_of_a_value(data: st.DataObject) -> None:
    plain = plan_as_json(whole_plan())
    commands = [step[key] for step in plain["steps"] for key in ("command", "check") if step.get(key)]
    place: Any = data.draw(st.sampled_from([plain, *plain["steps"], *commands]))
    key = data.draw(st.sampled_from(sorted(place)))
    if data.draw(st.booleans()):
        del place[key]
    else:
        place[key] = data.draw(JSON)
    try:
        decoded(json.loads(json.dumps(plain)))
    except PlanProblem as problem:
        assert "\n" not in str(problem)


@pytest.mark.parametrize(
    "path",
    [
        "etc/x",
        "/etc/../x",
        "/etc/./x",
        "//etc/x",
        "/etc/x/",
        "/",
        "",
        "/etc/\nx",
        "/etc/\x1b[2J",
        "/var/lib/vpnprobe/journal/journal.jsonl",
        "/" + "x" * 5000,
    ],
)
def test_paths_that_no_plan_has(path: str) -> None:
    plan = plan_of(file("/etc/x"))
    plain = plan_as_json(plan)
    plain["steps"][0]["path"] = path
    with pytest.raises(PlanProblem):
        decoded(plain, plan)


def _step(kind: str, **facts: object) -> dict[str, object]:
    return {"steps": [{"kind": kind, "id": "x", "why": "y", **facts}]}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"schema": "vpnprobe.plan/2"}, "this vpnprobe reads vpnprobe.plan/1"),
        ({"steps": [{}] * 10_001}, "more than 10000 steps"),
        (_step("shell"), "of the kind 'shell'"),
        (_step("sysctl", key="../../etc/passwd", value="1", before=""), "is no sysctl"),
        (_step("sysctl", key="net.ipv4..ip_forward", value="1", before=""), "is no sysctl"),
        (_step("daemon", name="../x", argv=["a"], folder="/etc", files=[]), "cannot be its name"),
        (_step("daemon", name="x", argv=[], folder="/etc", files=[]), "argv is empty"),
        (_step("unit", unit="--now", files=[], start=True), "cannot be its unit"),
        (_step("directory", path="/x", mode="9", contents=False), "is no mode"),
        ({"more": 1}, "'more', which this vpnprobe does not know"),
        ({"host": {"hostname": 1}}, "host is no table of texts"),
        ({"summary": "\ud800"}, "characters that it cannot have"),
    ],
)
def test_what_is_not_known_is_not_half_understood(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(PlanProblem, match=problem):
        decoded({**plan_as_json(plan_of()), **change})


def test_a_file_stands_in_it_once() -> None:
    plan = plan_of(file("/etc/x", name="one"), file("/etc/x", name="two"))
    with pytest.raises(PlanProblem, match="the file '/etc/x' stands in it twice"):
        decoded(plan_as_json(plan), plan)
