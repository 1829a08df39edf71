"""What every test may use: `requires`, by which a test names what it needs of the machine.

`@pytest.mark.requires("namespaces", "nmap")` on a test (or in a module's `pytestmark`) skips it where one of them is missing, with the
capability's name in the reason, so that a skip is never taken for a pass. Where the environment has CI=true it is a failure instead: there
everything is to be had. The fixture `requires` is the same thing as a function, for what turns out only while the test runs.
"""

import os
import shutil
import signal
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

# A loaded machine is slow, not wrong: how long one example takes proves nothing about the code. Fifty of each keep the whole suite short.
# CI tries the same ones every time: what it says of a commit is not for chance to decide. `make fuzz` looks for new ones.
settings.register_profile("vpnprobe", deadline=None, max_examples=50, derandomize=os.environ.get("CI") == "true")
settings.register_profile("fuzz", deadline=None, max_examples=5000)
settings.load_profile("vpnprobe")

# Whoever runs the tests in the background may have SIGINT ignored, and every program that a test starts and interrupts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _namespaces() -> str:
    from vpnprobe.errors import CannotRun
    from vpnprobe.lab.namespaces import require_tools

    try:
        require_tools()
    except CannotRun as lack:
        return str(lack)
    return ""


def _raw_ip() -> str:
    from vpnprobe.transports.capabilities import may_open_raw

    return "" if may_open_raw() else "raw IP sockets (CAP_NET_RAW) may not be opened"


def _command(name: str, package: str = "") -> Callable[[], str]:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return lambda: "" if shutil.which(name, path=path) else f"{name} is not installed: sudo apt install {package or name}"


def _easy_rsa() -> str:
    return "" if Path("/usr/share/easy-rsa/easyrsa").exists() else "easyrsa is not installed: sudo apt install easy-rsa"


CAPABILITIES: Final[Mapping[str, Callable[[], str]]] = {
    "namespaces": _namespaces,
    "raw-ip": _raw_ip,
    "easy-rsa": _easy_rsa,
    "ethtool": _command("ethtool"),
    "iptables": _command("iptables"),
    "nmap": _command("nmap"),
    "openssl": _command("openssl"),
    "openvpn": _command("openvpn"),
    "ping": _command("ping", "iputils-ping"),
    "tcpdump": _command("tcpdump"),
    "tshark": _command("tshark"),
    "ufw": _command("ufw"),
}
"""Name to what says why it is missing; empty: it is there."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"requires(*names): needs these of the machine: {', '.join(CAPABILITIES)}")


def lacking(name: str, why: str) -> None:
    """Ends the test: a visible skip, or a failure where CI=true."""
    message = f"needs {name}: {why}"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def _require(*names: str) -> None:
    for name in names:
        if why := CAPABILITIES[name]():
            lacking(name, why)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("requires"):
        _require(*mark.args)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: "pytest.CallInfo[None]") -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI=true, whatever is skipped fails, by whichever way it was skipped: there everything is to be had."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped where CI=true: {call.excinfo.value if call.excinfo is not None else report.longrepr}"
    return report


@pytest.fixture(scope="session")
def requires() -> Callable[..., None]:
    """`requires("nmap")`; `requires("netem", why="...")` where the test itself has found that it is missing."""

    def require(*names: str, why: str = "") -> None:
        if why:
            lacking(", ".join(names), why)
        _require(*names)

    return require


@pytest.fixture(scope="session")
def package_root() -> Path:
    """The folder `vpnprobe`."""
    import vpnprobe

    return Path(vpnprobe.__file__).parent
