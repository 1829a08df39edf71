"""What a person reads of a plan before it is applied."""

from deployment_support import Server, command, daemon, file, folder, plan_of

from vpnprobe.deployment import words
from vpnprobe.deployment.steps import ManageUnit, RemoveFile, SetSysctl, StopDaemon, StopUnit
from vpnprobe.deployment.words import difference


def test_a_file_is_shown_against_what_is_there(server: Server) -> None:
    text = difference(plan_of(file("/etc/host.conf", b"new\n"), file("/etc/more", b"more\n")), server.root)
    assert "# /etc/host.conf is needed\n--- /etc/host.conf\n+++ /etc/host.conf\n@@ -1 +1 @@\n-old\n+new\n" in text
    assert "--- /dev/null\n+++ /etc/more\n@@ -0,0 +1 @@\n+more\n" in text


def test_a_secret_is_never_shown(server: Server) -> None:
    (server.root / "etc/key").write_text("the old secret\n")
    text = difference(plan_of(file("/etc/key", b"the new secret\n", mode=0o600, secret=True)), server.root)
    assert "a secret of 15 bytes, mode 0600, is not shown" in text
    assert "the " not in text


def test_what_is_there_already_is_left_out(server: Server) -> None:
    (server.root / "etc/dir").mkdir()
    assert difference(plan_of(file("/etc/host.conf", b"old\n"), folder("/etc/dir")), server.root) == "nothing is to be changed\n"


def test_a_plan_that_is_applied_has_nothing_to_do(server: Server) -> None:
    plan = plan_of(file("/etc/host.conf", b"new\n"), command("go", "true", done_when="true"))
    (server.root / "etc/host.conf").write_text("new\n")
    assert difference(plan, server.root) == "nothing is to be changed\n"


def test_a_mode_that_differs_is_told(server: Server) -> None:
    """The file would be written again."""
    key = server.root / "etc/key"
    key.write_text("secret\n")
    key.chmod(0o644)
    assert "! mode, owner and attributes of /etc/key (mode 0600)\n" in difference(
        plan_of(file("/etc/key", b"secret\n", mode=0o600, secret=True)), server.root
    )


def test_commands_and_services_are_named(server: Server) -> None:
    ends = (StopUnit(id="n", why="w", unit="openvpn-server@y"), StopDaemon(id="s", why="w", name="server"))
    gone = RemoveFile(id="g", why="w", path="/etc/host.conf")
    unit = ManageUnit(id="u", why="w", unit="openvpn-server@x")
    steps = (command("go", "echo x"), daemon("/etc"), unit, folder("/etc/d"), *ends, gone)
    text = difference(plan_of(*steps), server.root)
    assert "openvpn-server@y" not in text  # It does not run.
    text += "".join(f"{line}\n" for step in ends for line in words._change(step, server.root))
    for line in (
        "! sh -c 'echo x'",
        "! in /etc, kept running: sleep 600",
        "! systemctl enable --now openvpn-server@x",
        "+ folder /etc/d (mode 0750)",
        "! systemctl disable --now openvpn-server@y",
        "! server is ended, and kept running no more",
        "- file /etc/host.conf",
    ):
        assert f"{line}\n" in text


def test_sysctls_are_compared(server: Server) -> None:
    text = difference(plan_of(SetSysctl(id="s", why="w", key="kernel.ostype", value="Plan 9")), server.root)
    assert "- kernel.ostype = Linux\n+ kernel.ostype = Plan 9\n" in text
    assert "cannot be compared" in difference(plan_of(SetSysctl(id="s", why="w", key="net.none", value="1")), server.root)


def test_nothing_in_a_file_acts_on_the_terminal(server: Server) -> None:
    text = difference(plan_of(file("/etc/x", b"\x1b[2Jx\n"), file("/etc/bytes", b"\xff\x00")), server.root)
    assert "+\\x1b[2Jx" in text
    assert "(2 bytes that are no text)" in text
