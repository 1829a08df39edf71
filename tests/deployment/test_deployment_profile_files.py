"""A profile's file: whole or not at all, nobody else's to read, never over something, and whose it is behind sudo."""

import os
import subprocess
from pathlib import Path

import pytest

from vpnprobe.deployment import profile_files
from vpnprobe.deployment.profile_files import check_writable, owner_behind_sudo, write_profile
from vpnprobe.errors import ExitStatus, UsageError


def test_it_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "anna.ovpn"
    write_profile(path, "client\n", environment={})
    assert path.read_text() == "client\n"
    assert path.stat().st_mode & 0o7777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a file is given to somebody else")
def test_it_belongs_to_whoever_called_sudo(tmp_path: Path) -> None:
    path = tmp_path / "anna.ovpn"
    write_profile(path, "client\n", environment={"SUDO_UID": "65534", "SUDO_GID": "65533"})
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65533)


@pytest.mark.parametrize(
    ("environment", "effective_user", "owner"),
    [
        ({"SUDO_UID": "1000", "SUDO_GID": "1001"}, 0, (1000, 1001)),
        ({"SUDO_UID": "1000", "SUDO_GID": "1001"}, 1000, None),
        ({"SUDO_UID": "0", "SUDO_GID": "0"}, 0, None),
        ({"SUDO_UID": "1000"}, 0, None),
        ({"SUDO_UID": "x", "SUDO_GID": "1"}, 0, None),
        ({"SUDO_UID": "4294967295", "SUDO_GID": "1"}, 0, None),
        ({"SUDO_UID": "-1", "SUDO_GID": "1"}, 0, None),
        ({}, 0, None),
    ],
)
def test_who_is_behind_sudo(environment: dict[str, str], effective_user: int, owner: tuple[int, int] | None) -> None:
    assert owner_behind_sudo(environment, effective_user=effective_user) == owner


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    there, dangling = tmp_path / "there", tmp_path / "dangling"
    there.write_text("precious")
    dangling.symlink_to(tmp_path / "nowhere")
    for path in (there, dangling, tmp_path):
        with pytest.raises(UsageError, match="is there already, and is not overwritten") as refused:
            write_profile(path, "client\n", environment={})
        assert refused.value.status is ExitStatus.REFUSED
    assert there.read_text() == "precious"
    assert not (tmp_path / "nowhere").exists()


def test_what_comes_in_between_stays_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "anna.ovpn"
    monkeypatch.setattr(profile_files, "check_writable", lambda path: path.write_text("precious"))
    with pytest.raises(UsageError, match="has just been made by somebody else"):
        write_profile(path, "client\n", environment={})
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_where_no_folder_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder") as refused:
        check_writable(tmp_path / "none" / "anna.ovpn")
    assert refused.value.status is ExitStatus.UNWRITABLE


@pytest.mark.root
@pytest.mark.requires("namespaces")
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(full)], check=True)
    try:
        with pytest.raises(UsageError, match=r"cannot be written: No space left on device") as refused:
            write_profile(full / "anna.ovpn", "x" * 100_000, environment={})
        assert refused.value.status is ExitStatus.UNWRITABLE
        assert list(full.iterdir()) == []
    finally:
        subprocess.run(["umount", str(full)], check=True)


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    write_profile(tmp_path / "anna.ovpn", "client\n", environment={})
    assert (tmp_path / "anna.ovpn").read_text() == "client\n"
    assert len(list(tmp_path.iterdir())) == 1
