"""Files that a profile names: found beside it, bounded, regular, and nothing else is read."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from profile_support import made, parsed, refused

from vpnprobe.profiles.errors import Place, ProfileError
from vpnprobe.profiles.files import LARGEST_BYTES, read_file, read_named
from vpnprobe.profiles.ovpn import read_profile

HERE = Place("some.ovpn", 4)


def problem(name: str, folder: Path) -> ProfileError:
    with pytest.raises(ProfileError) as caught:
        read_named(name, "ca", folder=folder, place=HERE)
    assert caught.value.line == 4
    return caught.value


def test_names(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "ca.crt").write_bytes(b"one")
    (tmp_path / "a\\b").write_bytes(b"two")
    for name in ("sub/ca.crt", "./sub/../sub/ca.crt", r"sub\ca.crt", r".\sub\ca.crt", str(tmp_path / "sub" / "ca.crt")):
        assert read_named(name, "ca", folder=tmp_path, place=HERE) == b"one"
    assert read_named("a\\b", "ca", folder=tmp_path, place=HERE) == b"two"


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_bytes(b"")
    assert problem("none", tmp_path).problem == "ca names the file 'none': No such file or directory"
    assert problem("none", tmp_path).mend == f"make it readable below {tmp_path}, or put its content between <ca> and </ca>"
    assert "symbolic links" in problem("loop", tmp_path).problem
    assert problem("file/x", tmp_path).problem == "ca names the file 'file/x': Not a directory"
    assert problem("", tmp_path).problem == "ca names the file '': is a directory"
    assert problem("a" * 300, tmp_path).problem.endswith("File name too long")
    assert problem("a\0", tmp_path).problem.endswith("is no name that a file can have")
    assert problem("\ud800", tmp_path).problem.endswith("is no name that a file can have")
    assert problem("\ud800\\x", tmp_path).problem.endswith("is no name that a file can have")


def test_devices_and_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert problem("pipe", tmp_path).problem == "ca names the file 'pipe': is no regular file"
    assert problem("/dev/zero", tmp_path).problem == "ca names the file '/dev/zero': is no regular file"


def test_the_largest_file(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"#" * LARGEST_BYTES)
    assert len(read_file(path)) == LARGEST_BYTES
    with path.open("ab") as file:
        file.write(b"#")
    assert problem("large", tmp_path).problem == "ca names the file 'large': is larger than 4 MiB"
    with pytest.raises(ProfileError, match="cannot be read: is larger than 4 MiB"):
        read_profile(path)


def test_open_files_do_not_pile_up(tmp_path: Path) -> None:
    """A folder is refused after it was opened."""
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    for _ in range(5):
        problem("", tmp_path)
    assert (len(os.listdir("/proc/self/fd")) if before else 0) == before


@pytest.fixture
def without_privilege() -> Iterator[Path]:
    """A folder that everybody may enter, and no privilege to read what nobody may."""
    folder = Path(tempfile.mkdtemp(prefix="vpnprobe-profiles-"))
    folder.chmod(0o755)
    root = os.geteuid() == 0
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(folder)


def test_a_secret_that_nobody_may_read(without_privilege: Path) -> None:
    path = without_privilege / "client.key"
    path.write_text(made().key)
    path.chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    error = problem("client.key", without_privilege)
    assert error.problem == "ca names the file 'client.key': Permission denied"


def test_a_login_is_read_below_the_profiles_folder_alone(tmp_path: Path) -> None:
    """What is in it goes to the server, and a stranger's profile may name any file."""
    folder = tmp_path / "profile"
    folder.mkdir()
    for path in (folder / "login", tmp_path / "login"):
        path.write_text("anna\nsecret\n")
    (folder / "link").symlink_to(tmp_path / "login")
    assert parsed("auth-user-pass login", folder=folder).credentials.username == "anna"
    assert parsed(f"auth-user-pass {folder}/login", folder=folder).credentials.username == "anna"
    for name in ("../login", str(tmp_path / "login"), "link", "/etc/passwd"):
        assert "its lines would be sent to the server" in refused(f"auth-user-pass {name}", folder=folder).problem


def test_scripts_and_other_profiles_are_not_looked_at(tmp_path: Path) -> None:
    """Files behind options that are not carried out need not be there."""
    assert len(parsed("up nowhere.sh\nconfig nowhere.ovpn\ncrl-verify nowhere.pem\nplugin nowhere.so", folder=tmp_path).notes) == 4
