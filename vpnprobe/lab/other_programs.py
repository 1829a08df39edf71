"""Other programs on the hosts of a lab, which have ports open: `python -m vpnprobe.lab.other_programs PROTOCOL PORT ANSWER`.

One that is started so answers each datagram, or the first data of each connection, with the bytes that ANSWER gives as hexadecimal digits
(empty: with nothing). The command ends once the port is open; what has it goes on in the background until it is ended.
"""

import os
import socketserver
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from vpnprobe.errors import CannotRun, ExitStatus
from vpnprobe.transports.topology import TakenPort, Topology

TCP: Final = 6
START_DEADLINE_S: Final = 20.0


def start_other_programs(topology: Topology, inside: Callable[[str], list[str]]) -> None:
    """Starts them, `inside` being the words that lead into a host. They end with their host's namespace."""
    for taken in topology.taken_ports:
        command = [*inside(taken.at), sys.executable, "-m", __name__, str(taken.protocol), str(taken.port), taken.answer.hex()]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=START_DEADLINE_S,
            check=False,
        )
        if done.returncode:
            raise CannotRun(f"the lab cannot open port {taken.port} on {taken.at}", status=ExitStatus.MISSING)


def is_other_program(pid: int) -> bool:
    """Whether a process is one of these."""
    try:
        return __name__.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def server_of(taken: TakenPort) -> socketserver.BaseServer:
    """Has the port, from now on. Raises OSError where it cannot be had."""

    class Stream(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while self.request.recv(65536):
                if taken.answer:
                    self.request.sendall(taken.answer)
                    break
            while self.request.recv(65536):
                pass

    class Datagram(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if taken.answer:
                self.request[1].sendto(taken.answer, self.client_address)

    if taken.protocol == TCP:
        return _Tcp(("", taken.port), Stream)
    return socketserver.UDPServer(("", taken.port), Datagram)


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that was reset is no trouble."""


def main(protocol: str, port: str, answer: str = "") -> None:
    with server_of(TakenPort("", int(protocol), int(port), bytes.fromhex(answer))) as server:
        if os.fork() == 0:
            os.setsid()
            server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
