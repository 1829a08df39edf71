"""Real servers with the files of a site below a folder, in the server's namespace of a lab, and real clients with their profiles."""

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deployment_site_support import settings, write

from vpnprobe.deployment import clients, site
from vpnprobe.deployment.client_profiles import Target
from vpnprobe.deployment.durable import inside
from vpnprobe.deployment.host import openvpn_version
from vpnprobe.deployment.openvpn_server import Places, server_configuration
from vpnprobe.deployment.openvpn_trial import READY
from vpnprobe.deployment.settings import FOLDER, Listener, Settings
from vpnprobe.deployment.site import Outcome, Site
from vpnprobe.deployment.undoing import find_program
from vpnprobe.errors import CannotRun
from vpnprobe.lab.namespaces import Lab
from vpnprobe.lab.openvpn_servers import RunningClient, openvpn_client
from vpnprobe.transports.topology import CLIENT, SERVER

PATIENCE_S = 20.0


@dataclass
class Office:
    """One server with all its listeners."""

    lab: Lab
    folder: Path
    settings: Settings
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    under: Sequence[str] = ()
    """Words before the server's command."""
    profiles: int = 0

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def site(self) -> Site:
        return site.require_site(self.root, self.settings)

    def done(self, outcome: Outcome) -> Outcome:
        """Its files are written, its sessions cut, the servers started anew where they have to be."""
        write(outcome.files, self.root)
        if outcome.restart:
            self.restart()
        return outcome

    def add(self, name: str, target: Target = Target.LINUX, **more: Any) -> str:
        """A further client; its profile."""
        added = self.done(clients.add_client(self.site, name, now=datetime.now(UTC), **more))
        return clients.profile_after(added, name, target)

    def profile(self, name: str, target: Target = Target.LINUX, *only: Listener) -> str:
        """Of a client that is there, for these listeners alone."""
        chosen = replace(self.settings, listeners=only) if only else self.settings
        return clients.profile_of(replace(self.site, settings=chosen), name, target, self.root)

    def places(self, listener: Listener) -> Places:
        return Places(*(str(self.folder / f"{listener.name}.{kind}") for kind in ("sock", "pool", "status")))

    def log(self, listener: Listener) -> str:
        return (self.folder / f"{listener.name}.log").read_text("utf-8", "replace")

    def start(self) -> None:
        program = find_program("openvpn") or ""
        for listener in self.settings.listeners:
            text = server_configuration(
                self.settings, listener, version=".".join(map(str, openvpn_version(program))), where=self.places(listener)
            )
            configuration = inside(self.root, f"{FOLDER}/{listener.name}.conf")
            configuration.write_text(text)
            command = [
                *self.lab.exec_prefix(SERVER),
                *self.under,
                program,
                "--cd",
                str(configuration.parent),
                "--config",
                configuration.name,
            ]
            with (self.folder / f"{listener.name}.log").open("wb") as log:
                self.processes[listener.name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(lambda: all(READY in self.log(listener) for listener in self.settings.listeners), "all servers listen")

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.processes.clear()

    def restart(self) -> None:
        self.stop()
        self.start()

    @contextmanager
    def client(self, profile: str, *extra: str) -> Iterator[RunningClient]:
        self.profiles += 1
        folder = self.folder / f"client-{self.profiles}"
        folder.mkdir()
        with openvpn_client(self.lab, profile, folder=folder, extra=extra) as client:
            yield client

    @contextmanager
    def connected(self, profile: str, *extra: str) -> Iterator[RunningClient]:
        with self.client(profile, *extra) as client:
            client.wait_for(READY, deadline_s=PATIENCE_S)
            yield client

    def connects(self, profile: str, *extra: str) -> bool:
        """Whether the real client gets through its tunnel to the server's address in it."""
        with self.connected(profile, *extra) as client:
            return any(self.pings(gateway(listener)) for listener in self.settings.listeners if within(client.address, listener))

    def refused(self, profile: str) -> bool:
        """Whether the server refuses the client by its certificate."""
        before = sum(self.log(listener).count("VERIFY ERROR") for listener in self.settings.listeners)
        with self.client(profile) as client:
            wait_until(
                lambda: sum(self.log(listener).count("VERIFY ERROR") for listener in self.settings.listeners) > before, "it is refused"
            )
            return READY not in client.log

    def pings(self, address: str, host: str = CLIENT) -> bool:
        return self.run("ping", "-c", "1", "-W", "1", address, host=host).returncode == 0

    def run(self, *command: str, host: str = CLIENT) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*self.lab.exec_prefix(host), *command], capture_output=True, text=True, timeout=20, check=False)


def gateway(listener: Listener) -> str:
    """The server's address in the tunnel."""
    return str(listener.pool.network_address + 1)


def within(address: str | None, listener: Listener) -> bool:
    return address is not None and address.rpartition(".")[0] == gateway(listener).rpartition(".")[0]


def wait_until(true: Any, what: str, deadline_s: float = PATIENCE_S) -> float:
    """How many seconds it took. Raises CannotRun."""
    began = time.monotonic()
    while not true():
        if time.monotonic() - began > deadline_s:
            raise CannotRun(f"not within {deadline_s:g} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - began


@contextmanager
def office(lab: Lab, folder: Path, listeners: Sequence[Listener], under: Sequence[str] = (), **more: Any) -> Iterator[Office]:
    """A new server that listens."""
    host = str(lab.topology.addresses()[-1][1])
    made = Office(lab, folder, settings(*listeners, **{"host": host, **more}), under=under)
    write(site.new_site(made.settings, now=datetime.now(UTC)).files, made.root)
    try:
        made.start()
        yield made
    finally:
        made.stop()
