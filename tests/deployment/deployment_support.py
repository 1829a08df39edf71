"""A server below a root in a network namespace, a plan that has every kind of step, and what the server is, to be compared.

Run as a program it is the one that is killed, or whose power is cut: see `crashes`.
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vpnprobe.deployment import apply, journal, rollback
from vpnprobe.deployment.hooks import Hooks
from vpnprobe.deployment.steps import (
    AnyStep,
    Command,
    MakeDirectory,
    Plan,
    RunCommand,
    SetSysctl,
    StartDaemon,
    UndoCommand,
    UndoNftRules,
    WriteFile,
)

RULESET: Final = """\
table inet host {
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established accept
		reject
	}
}
"""
NO_HOOKS: Final = Hooks(())
COMMENT: Final = "vpnprobe test rule"


def plan_of(*steps: AnyStep, **facts: Any) -> Plan:
    known = {"made_at": "2026-01-01T00:00:00+00:00", "summary": "OpenVPN on udp/1194", "host": {}, "settings": {}, "compared": True}
    return Plan(**{**known, "vpnprobe": "0.1", **facts}, steps=tuple(steps))


def file(path: str, content: bytes = b"new\n", *, name: str = "", **facts: Any) -> WriteFile:
    facts = {"mode": 0o644, **facts}
    return WriteFile(id=name or path.strip("/").replace("/", "-"), why=f"{path} is needed", path=path, content=content, **facts)


def folder(path: str, *, contents: bool = False) -> MakeDirectory:
    return MakeDirectory(id=f"folder{path.replace('/', '-')}", why=f"{path} is needed", path=path, mode=0o750, contents=contents)


def daemon(path: str, *, name: str = "server", files: tuple[str, ...] = (), argv: tuple[str, ...] = ("sleep", "600")) -> StartDaemon:
    return StartDaemon(id=f"run-{name}", why="it serves", name=name, argv=argv, folder=path, files=files)


def command(name: str, script: str, undo: str = "true", *, done_when: str | None = None, check: str | None = None) -> RunCommand:
    """Through a shell, in tests alone."""
    return RunCommand(
        id=name,
        why=f"{name} is needed",
        command=_sh(script),
        undo=(UndoCommand(command=_sh(undo)),),
        done_when=None if done_when is None else _sh(done_when),
        check=None if check is None else _sh(check),
    )


def _sh(script: str) -> Command:
    return Command(argv=("sh", "-c", script))


def whole_plan(*, version: str = "1", marks: Path | None = None) -> Plan:
    """Every kind of step that does not need systemd. With another version it is an update of the first."""
    table = Command(argv=("nft", "list", "table", "ip", "vpnprobe"))
    rule = f'insert rule inet host forward counter accept comment "{COMMENT}"\n'
    nft = ("nft", "-f", "-")
    return plan_of(
        file("/etc/host.conf", f"new {version}\n".encode()),
        folder("/etc/openvpn/server"),
        file("/etc/openvpn/server/server.conf", f"port {version}\n".encode()),
        file("/etc/openvpn/server/keys/server.key", b"secret\n", mode=0o600, secret=True),
        SetSysctl(id="forward", why="packets have to pass", key="net.ipv4.ip_forward", value="1"),
        RunCommand(
            id="nat",
            why="answers have to come back",
            command=Command(
                argv=nft, stdin="table ip vpnprobe { chain post { type nat hook postrouting priority srcnat; masquerade; }; }\n"
            ),
            undo=(UndoCommand(command=Command(argv=("nft", "delete", "table", "ip", "vpnprobe")), when=table),),
            check=Command(argv=("nft", "-c", "-f", "-"), stdin="table ip vpnprobe { chain post { }; }\n"),
            done_when=table,
        ),
        RunCommand(
            id="accept",
            why="the host's firewall rejects",
            command=Command(argv=nft, stdin=rule),
            undo=(UndoNftRules(comment=COMMENT),),
            done_when=_sh(f"nft list chain inet host forward | grep -q '{COMMENT}'"),
        ),
        daemon("/etc/openvpn/server", files=("/etc/openvpn/server/server.conf",)),
        file("/etc/last.conf", f"last {version}\n".encode()),
        summary=f"OpenVPN {version}",
        settings={"version": version},
    )


@dataclass(frozen=True, slots=True)
class Server:
    """A root folder, and a network namespace; empty: this process's own, which is then left as it is."""

    root: Path
    namespace: str = ""

    def command(self, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        inside = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        return subprocess.run([*inside, *map(str, words)], capture_output=True, text=True, timeout=60, check=False, **options)

    @property
    def journal(self) -> Path:
        return self.root / rollback.PLACE

    def fill(self) -> None:
        (self.root / "etc").mkdir(parents=True)
        (self.root / "run").mkdir()
        conf = self.root / "etc/host.conf"
        conf.write_text("old\n")
        conf.chmod(0o640)
        if os.geteuid() == 0:
            os.chown(conf, 1234, 2345)
        with suppress(OSError):  # a file system without
            os.setxattr(conf, "user.note", b"\x00mine")
        os.utime(conf, ns=(10**18, 10**18 + 7))

    def boot(self) -> None:
        """The kernel's state as it is when a machine comes up."""
        self.command("nft", "-f", "-", input=f"flush ruleset\n{RULESET}")
        for key, value in (("net.ipv4.conf.all.accept_redirects", 0), ("net.ipv4.ip_forward", 0), ("net.ipv4.conf.lo.forwarding", 1)):
            assert self.command("sysctl", "-qw", f"{key}={value}").returncode == 0
        assert self.command("sysctl", "-qw", "net.ipv4.conf.all.accept_redirects=0").returncode == 0

    def state(self) -> dict[str, object]:
        return {"files": files_of(self.root), **({"kernel": self.kernel()} if self.namespace else {}), "processes": self.processes()}

    def kernel(self) -> object:
        ruleset = re.sub(r"counter packets \d+ bytes \d+", "counter", self.command("nft", "list", "ruleset").stdout)
        places = "/proc/sys/net/ipv4/conf/*/* /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/*/forwarding"
        sysctls = self.command("sh", "-c", f"grep . {places}")
        return ruleset, sysctls.stdout

    def processes(self) -> list[int]:
        from vpnprobe.deployment.supervise import processes

        return processes(self.root / "run/vpnprobe", "server")


def files_of(root: Path) -> dict[str, object]:
    """Everything but the journal, and but what is taken away while one looks."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        place = path.relative_to(root)
        if place.parts[0] == "var":
            continue
        with suppress(FileNotFoundError):
            found[str(place)] = _facts_of(path)
    return found


def _facts_of(path: Path) -> tuple[object, ...]:
    state = path.lstat()
    facts = (oct(state.st_mode), state.st_uid, state.st_gid)
    if path.is_symlink():
        return (*facts, os.readlink(path))
    if not path.is_file():
        return facts
    attributes = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    return (*facts, hashlib.sha256(path.read_bytes()).hexdigest(), attributes, state.st_mtime_ns)


@contextmanager
def namespace(name: str) -> Iterator[str]:
    """A network namespace of our own, with its loopback up."""
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)


def wait_for(what: Callable[[], bool], *, within_s: float = 20.0) -> None:
    until = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < until, "it did not come to that in time"
        time.sleep(0.02)


def main(arguments: Sequence[str]) -> int:
    """Applies the whole plan below ROOT, and dies as it is told."""
    from power import PowerCut

    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--version", default="1")
    parser.add_argument("--roll-back", action="store_true", help="what is cut is taking it back")
    parser.add_argument("--confirm-within", type=float)
    parser.add_argument("--die-after-entry", type=int, help="killed when so many lines of the journal are written")
    parser.add_argument("--cut-at", type=int, help="the power is cut before this operation on files; what was synced goes to ROOT.cut")
    parser.add_argument("--luck", type=int, default=-1, help="seed: some of what was not synced remains")
    parser.add_argument("--no-watchdog", action="store_true")
    options = parser.parse_args(arguments)
    if options.die_after_entry is not None:
        _die_after(options.die_after_entry)
    if options.no_watchdog:
        apply.start_watchdog = nobody_watches  # type: ignore[assignment]
    cut = PowerCut(options.root, options.cut_at, options.luck)
    plan, confirm = whole_plan(version=options.version), options.confirm_within
    if options.roll_back:
        apply.apply_plan(plan, root=options.root, confirm_within_s=confirm, hooks=NO_HOOKS)
    if options.cut_at is not None:
        cut.begin()
    print("ready", flush=True)
    if options.roll_back:
        apply.roll_back(options.root, lambda line: print(line, file=sys.stderr), hooks=NO_HOOKS)
    else:
        apply.apply_plan(plan, root=options.root, confirm_within_s=confirm, hooks=NO_HOOKS)
    print(cut.operations, flush=True)
    return 0


def _die_after(entries: int) -> None:
    real = journal.append
    left = [entries]

    def append(place: Path, entry: rollback.Entry) -> None:
        real(place, entry)
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), 9)

    journal.append = append  # type: ignore[attr-defined]


def nobody_watches(*_: object) -> object:
    class Nobody:
        identity = (0, 0)

        def alive(self) -> None: ...

        def release(self) -> None: ...

    return Nobody()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
