"""The verdict follows from the proofs, and the document fits its schema."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from vpnprobe.deployment import verification
from vpnprobe.deployment.verification.model import CORE, Outcome, Proof, Question, Verdict, Verification
from vpnprobe.errors import ExitStatus

SCHEMA = json.loads((Path(verification.__file__).parent / "verification.schema.json").read_text())


def verified(**outcomes: Outcome) -> Verification:
    """All is shown, but what is said otherwise."""
    proofs = [
        Proof(question=question, outcome=outcomes.get(question.value, Outcome.SHOWN), sentence=f"{question} is so.")
        for question in Question
    ]
    return Verification(
        profile="client.ovpn",
        started="2030-01-01T00:00:00.000Z",
        duration_s=6.2,
        complete=True,
        version="1",
        tunnel=None,
        watch=None,
        proofs=proofs,
        leaks=(),
    )


def test_all_shown_is_proved() -> None:
    assert (verified().verdict, verified().status) == (Verdict.PROVED, ExitStatus.FINISHED)


@pytest.mark.parametrize("question", Question)
def test_one_that_failed_fails_all(question: Question) -> None:
    found = verified(**{question.value: Outcome.FAILED})
    assert (found.verdict, found.status) == (Verdict.FAILED, ExitStatus.NOTHING_WORKS)
    assert f"{question} is so." in found.sentence


@pytest.mark.parametrize("question", Question)
def test_what_is_core_must_be_known(question: Question) -> None:
    found = verified(**{question.value: Outcome.UNKNOWN})
    assert found.verdict is (Verdict.NOT_PROVED if question in CORE else Verdict.PROVED)


def test_an_interrupted_one_proves_nothing() -> None:
    assert replace(verified(), complete=False).verdict is Verdict.NOT_PROVED


def test_the_document_fits_its_schema() -> None:
    document = verified(dns=Outcome.UNKNOWN).as_json()
    jsonschema.validate(document, SCHEMA, format_checker=jsonschema.FormatChecker())
    assert [proof["id"] for proof in document["proofs"]] == [question.value for question in Question]
    assert {name for name in SCHEMA["properties"]["proofs"]["items"]["properties"]["id"]["enum"]} == set(Question)
