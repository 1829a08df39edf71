#!/usr/bin/env python3
"""Opens the firewall that a cloud has in front of the server, by the cloud's own command, and closes it again.

Put it, executable and writable by root alone, into /etc/vpnprobe/hooks.d/pre-apply/ and post-rollback/ (a link will do). For each
listener of the plan the command in OPEN_PORT_COMMAND is run before an apply, that in CLOSE_PORT_COMMAND after a rollback; {transport} and
{port} in it are put in. It is not run by a shell. Example:

    OPEN_PORT_COMMAND="aws ec2 authorize-security-group-ingress --group-id sg-1 --protocol {transport} --port {port} --cidr 0.0.0.0/0"
"""

import json
import os
import shlex
import subprocess
import sys

COMMANDS = {"pre-apply": "OPEN_PORT_COMMAND", "post-rollback": "CLOSE_PORT_COMMAND"}


def main() -> int:
    plan = json.load(sys.stdin)
    name = COMMANDS.get(os.environ["VPNPROBE_STAGE"])
    if name is None:
        print(f"it has nothing to do in {os.environ['VPNPROBE_STAGE']}: put it into {' and '.join(COMMANDS)}", file=sys.stderr)
        return 1
    words = shlex.split(os.environ.get(name, ""))
    if not words:
        print(f"{name} is not set", file=sys.stderr)
        return 1
    for listener in plan["settings"].get("listeners", ()):
        values = {"{transport}": str(listener["transport"]), "{port}": str(listener["port"])}
        if status := subprocess.run([put_in(word, values) for word in words], check=False).returncode:
            return status
    return 0


def put_in(word: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(name, value)
    return word


if __name__ == "__main__":
    sys.exit(main())
