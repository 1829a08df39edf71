"""Every option of OpenVPN 2 is accounted for: in the table, in the manual, and for each profile."""

from pathlib import Path

from profile_support import parsed

from vpnprobe.profiles.accounts import ACCOUNTS, UNKNOWN, Treatment, table_in_markdown
from vpnprobe.profiles.known import KNOWN
from vpnprobe.profiles.refusals import REMOVED

MANUAL = Path(__file__).parents[2] / "docs" / "openvpn.md"


def test_every_option_has_a_treatment_and_words() -> None:
    assert set(ACCOUNTS) == KNOWN
    for name, account in ACCOUNTS.items():
        assert (account.treatment is Treatment.APPLIED) == (account.meaning == ""), name


def test_the_manual_has_the_table() -> None:
    assert table_in_markdown() in MANUAL.read_text("utf-8")


def test_what_a_profile_has_that_is_not_applied() -> None:
    told = parsed("mssfix 1400\nverb 3\ncomp-lzo\nroute 10.0.0.0\nroute 10.1.0.0\nxyz 1").told
    assert [(one.line, one.option) for one in told] == [(3, "mssfix"), (4, "verb"), (6, "route"), (8, "a word of 3 characters")]
    assert told[-1].meaning == UNKNOWN
    assert told[0].meaning == ACCOUNTS["mssfix"].meaning


def test_what_stands_in_a_block_is_accounted_for_too() -> None:
    told = parsed(head="client\n<connection>\nremote a\nsocks-proxy b\n</connection>\n").told
    assert "socks-proxy" in [one.option for one in told]


def test_what_is_said_to_end_the_trial_does() -> None:
    """And what the table calls removed, OpenVPN 2.6 does not start with."""
    examples = {"static-challenge": "static-challenge PIN 1"}
    ending = [name for name, account in ACCOUNTS.items() if "nothing is tried" in account.meaning and name != "secret"]
    for name in ending:
        assert parsed(examples.get(name, f"{name} a")).unsupported, name
    removed = {name for name, account in ACCOUNTS.items() if "2.6 does not start" in account.meaning}
    assert removed == REMOVED.keys()


def test_the_words_of_some() -> None:
    assert "what the server pushes" in ACCOUNTS["pull-filter"].meaning
    for name in ("auth-retry", "auth-token", "auth-token-user", "auth-user-pass-optional", "http-proxy-retry", "socks-proxy-retry"):
        assert "nothing is tried" not in ACCOUNTS[name].meaning, name
