"""A configuration is started for real before it is called good; what OpenVPN says of a bad one comes back as one line."""

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv6Network
from pathlib import Path

import pytest
from deployment_site_support import NOW, listener, settings

from vpnprobe.deployment import openvpn_trial, site
from vpnprobe.deployment.host import openvpn_version
from vpnprobe.deployment.openvpn_server import Places, server_configuration
from vpnprobe.deployment.openvpn_trial import cause, elsewhere, try_configuration
from vpnprobe.deployment.settings import KEYS, Listener, Wrap
from vpnprobe.deployment.undoing import find_program
from vpnprobe.errors import CannotRun, ExitStatus, UsageError
from vpnprobe.observations.schema import Transport

real = [pytest.mark.root, pytest.mark.real, pytest.mark.requires("namespaces", "openvpn")]
UDP, TCP = Transport.UDP, Transport.TCP


def keys_of(one: Listener) -> dict[str, bytes]:
    return {file.path: file.content for file in site.new_site(settings(one), now=NOW).files if file.path.startswith(KEYS)}


def tried(
    one: Listener, keys: dict[str, bytes] | None = None, user: str = "nobody", change: tuple[str, str] = ("", ""), **more: float
) -> None:
    program = find_program("openvpn") or ""
    text = server_configuration(settings(one, user=user), one, version=".".join(map(str, openvpn_version(program)))).replace(*change)
    try_configuration(text, keys_of(one) if keys is None else keys, program=program, user=user, group="nogroup", **more)


class TestForReal:
    pytestmark = real

    @pytest.mark.parametrize("wrap", Wrap)
    @pytest.mark.parametrize("transport", [UDP, TCP])
    def test_what_is_generated_starts(self, transport: Transport, wrap: Wrap) -> None:
        tried(listener(transport, wrap=wrap, pool6=IPv6Network("fd00::/64") if wrap is Wrap.NONE else None))

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (("topology subnet", "topology square"), "topology"),
            (("verb 3", "no-such-option"), "no-such-option"),
            (("dh none", "dh missing.pem"), "missing.pem"),
            (("user nobody", "user no-such-user"), "no-such-user"),
            (("tls-version-min 1.2", "tls-version-min 9"), "tls-version-min"),
        ],
    )
    def test_openvpns_own_words(self, change: tuple[str, str], said: str) -> None:
        with pytest.raises(CannotRun, match=f"OpenVPN does not start with this configuration: .*{said}") as refused:
            tried(listener(), change=change)
        assert refused.value.status is ExitStatus.REFUSED
        assert "\n" not in str(refused.value)

    def test_a_key_that_is_none(self) -> None:
        keys = keys_of(listener())
        with pytest.raises(CannotRun, match="configuration: Cannot load private key file vpnprobe/server") as refused:
            tried(listener(), {**keys, site.SERVER_KEY: b"nothing"})
        assert "PRIVATE" not in str(refused.value)
        other = keys_of(listener())
        with pytest.raises(CannotRun, match="does not start with this configuration"):
            tried(listener(), {**keys, site.SERVER_KEY: other[site.SERVER_KEY]})

    def test_time_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(openvpn_trial, "READY", "what no server says")
        with pytest.raises(CannotRun, match="does not come up with this configuration in time"):
            tried(listener(), deadline_s=0.0)

    def test_a_device_name_that_is_too_long(self) -> None:
        """OpenVPN would cut it off, and firewall rules would name another one."""
        with pytest.raises(UsageError, match="has 20 characters, and Linux takes 15"):
            tried(listener(device="x" * 20))

    def test_a_user_that_is_not_there(self) -> None:
        with pytest.raises(CannotRun, match="no-such-user"):
            tried(listener(), user="no-such-user")


def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    """By whom the server drops its privileges to."""
    (tmp_path / "vpnprobe").mkdir(mode=0o700)
    (tmp_path / "vpnprobe" / "crl.pem").touch(mode=0o644)
    tmp_path.chmod(0o755)
    with pytest.raises(CannotRun, match="nobody cannot read the revocation list"):
        openvpn_trial._check_readable(tmp_path, "nobody", "nogroup")
    (tmp_path / "vpnprobe").chmod(0o711)
    openvpn_trial._check_readable(tmp_path, "nobody", "nogroup")
    tmp_path.chmod(0o711)
    tmp_path.parent.chmod(0o700)  # The server is in its folder before it drops its privileges.
    openvpn_trial._check_readable(tmp_path, "nobody", "nogroup")


def test_the_last_line_that_says_why() -> None:
    log = (
        "2026-03-01 12:00:00 WARNING: something else\n"
        "2026-03-01 12:00:00 us=12345 Cannot load private key file vpnprobe/server.key\n"
        "2026-03-01 12:00:00 Error: private key password verification failed\n"
        "2026-03-01 12:00:00 Exiting due to fatal error\n"
    )
    assert cause(log) == "Cannot load private key file vpnprobe/server.key"
    assert cause("2026-03-01 12:00:00 Exiting due to fatal error\n") == "it says nothing"
    assert cause("it began\nit went on\nExiting due to fatal error\nit closed\n") == "it went on"


def test_places_on_the_command_line() -> None:
    assert elsewhere(Places("m", "p", "s")) == ["--management", "m", "unix", "--ifconfig-pool-persist", "p", "--status", "s"]
    assert elsewhere(Places(None, None)) == []


@pytest.mark.root
@pytest.mark.real
@pytest.mark.requires("namespaces", "openvpn")
def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tried(listener())
    with pytest.raises(CannotRun):
        tried(listener(), change=("verb 3", "no-such-option"))
    assert list(tmp_path.iterdir()) == []
    assert not any(str(tmp_path).encode() in command for command in commands())


def commands() -> Iterator[bytes]:
    """Of all processes; one may end at any moment."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield path.read_bytes()
