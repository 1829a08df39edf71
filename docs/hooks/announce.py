#!/usr/bin/env python3
"""Tells a web hook what vpnprobe provision has done: one POST with a line of text, as most chat programs take it.

Put it, executable and writable by root alone, into /etc/vpnprobe/hooks.d/post-apply/ and post-rollback/ (a link will do). The address
stands in ANNOUNCE_URL, or in the file announce.url beside it. Where the web hook cannot be reached the status is 1: in post-apply that
takes the set-up back. With ANNOUNCE_OPTIONAL=1 it is 0.
"""

import json
import os
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

WITHIN_S = 10


def main() -> int:
    plan = json.load(sys.stdin)
    done = {"post-apply": "applied", "post-rollback": "taken back"}.get(os.environ["VPNPROBE_STAGE"], os.environ["VPNPROBE_STAGE"])
    text = f"{plan['host'].get('hostname', 'a server')}: {plan['summary']}: {done}"
    request = Request(address(), json.dumps({"text": text}).encode(), {"Content-Type": "application/json"})
    try:
        urlopen(request, timeout=WITHIN_S).close()
    except (URLError, OSError) as problem:
        print(f"the web hook cannot be reached: {problem}", file=sys.stderr)
        return 0 if os.environ.get("ANNOUNCE_OPTIONAL") == "1" else 1
    return 0


def address() -> str:
    beside = Path(sys.argv[0]).with_name("announce.url")
    return os.environ.get("ANNOUNCE_URL") or beside.read_text("utf-8").strip()


if __name__ == "__main__":
    sys.exit(main())
