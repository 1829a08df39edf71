"""What is told of a server, before and after."""

import pytest
from deployment_support import NO_HOOKS, Server, daemon, file, plan_of

from vpnprobe.deployment import transactions
from vpnprobe.deployment.apply import apply_plan, confirm, roll_back, status
from vpnprobe.deployment.supervise import stop
from vpnprobe.deployment.transactions import State
from vpnprobe.errors import CannotRun, ExitStatus, UsageError


def silent(line: str) -> None:
    """What is told is of no interest."""


def test_nothing_is_applied(server: Server) -> None:
    found = status(server.root)
    assert (found.transactions, found.plan, found.waits_s) == ((), None, None)
    assert roll_back(server.root, silent, hooks=NO_HOOKS) == ()
    with pytest.raises(UsageError, match="nothing waits to be confirmed"):
        confirm(server.root, silent, hooks=NO_HOOKS)
    assert not (server.root / "var").exists(), "asking changes nothing"


def test_the_life_of_a_set_up(server: Server) -> None:
    settings = {"host": "vpn.example"}
    apply_plan(plan_of(file("/etc/x"), daemon("/etc"), settings=settings), root=server.root, hooks=NO_HOOKS, confirm_within_s=60)
    found = status(server.root)
    assert [one.state for one in found.transactions] == [State.WAITS]
    assert found.waits_s == pytest.approx(55, abs=5)
    assert found.plan is not None
    assert found.plan["settings"] == settings
    assert found.daemons == {"server": True}
    confirm(server.root, silent, hooks=NO_HOOKS)
    apply_plan(plan_of(file("/etc/client"), summary="client one"), root=server.root, hooks=NO_HOOKS)
    found = status(server.root)
    assert [one.state for one in found.transactions] == [State.CONFIRMED, State.CONFIRMED]
    assert found.plan is not None
    assert found.plan["settings"] == settings, "a client's plan has none"
    stop(server.root / "run/vpnprobe", "server")
    assert status(server.root).daemons == {"server": False}
    assert roll_back(server.root, silent, hooks=NO_HOOKS) == ("client one", "OpenVPN on udp/1194")
    assert [one.state for one in status(server.root).transactions] == [State.ROLLED_BACK, State.ROLLED_BACK]


def test_what_is_given_up_takes_nothing_with_it_that_was_confirmed(server: Server) -> None:
    apply_plan(plan_of(file("/etc/x", b"first\n")), root=server.root, hooks=NO_HOOKS)
    second = apply_plan(plan_of(file("/etc/x", b"second\n")), root=server.root, hooks=NO_HOOKS, confirm_within_s=60).transaction
    assert second is not None
    for _ in range(2):  # The second time it is taken back already, as where its own time has run out.
        transactions.give_up(server.root, silent, second, hooks=NO_HOOKS)
        assert (server.root / "etc/x").read_text() == "first\n"
    assert [one.state for one in status(server.root).transactions] == [State.CONFIRMED, State.ROLLED_BACK]


def test_what_cannot_be_put_back_stays_to_be_done(server: Server) -> None:
    apply_plan(plan_of(file("/etc/host.conf")), root=server.root, hooks=NO_HOOKS)
    (server.journal / "saved/1-0").unlink()
    for _ in range(2):
        with pytest.raises(CannotRun, match=r"not all could be put back: etc-host\.conf: .*put it right") as raised:
            roll_back(server.root, silent, hooks=NO_HOOKS)
        assert raised.value.status is ExitStatus.UNWRITABLE
        assert status(server.root).transactions[0].state is State.UNDER_WAY
    with pytest.raises(CannotRun, match="not all could be put back"):
        roll_back(server.root, silent, hooks=NO_HOOKS, leave=True)
    assert status(server.root).transactions[0].state is State.ROLLED_BACK
    assert roll_back(server.root, silent, hooks=NO_HOOKS) == ()


def test_a_journal_that_cannot_be_read_is_one_line(server: Server) -> None:
    apply_plan(plan_of(file("/etc/x")), root=server.root, hooks=NO_HOOKS)
    (server.journal / "journal.jsonl").write_text("{}\n")
    for act in (lambda: status(server.root), lambda: roll_back(server.root, silent), lambda: confirm(server.root, silent)):
        with pytest.raises(UsageError, match="line 1 cannot be read") as raised:
            act()
        assert raised.value.status is ExitStatus.UNREADABLE


def test_a_disk_that_is_full_does_not_confirm(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    apply_plan(plan_of(file("/etc/x")), root=server.root, hooks=NO_HOOKS, confirm_within_s=60)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transactions.Journal, "confirmed", full)
    with pytest.raises(CannotRun, match="it is not confirmed, and will be taken back"):
        confirm(server.root, silent, hooks=NO_HOOKS)
    assert roll_back(server.root, silent, hooks=NO_HOOKS)
