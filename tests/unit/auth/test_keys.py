from __future__ import annotations

import errno
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from backend.auth.keys import KeyFile, explain
from backend.errors import KeyFileUnusable, KeysUnavailable
from tests.unit.auth.full_disk import output_of
from tests.unit.fakes import host

pytestmark = pytest.mark.usefixtures("short_wait_for_edits")

NAS, ROUTER = host("nas.example.com"), host("router.example.com")
KEY, OTHER = "k" * 20, "o" * 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pre-shared-key"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_missing_file_is_created_with_all_keys(path: Path) -> None:
    KeyFile(path).complete([NAS, ROUTER])
    keys = KeyFile(path).accepted().newest
    assert list(keys) == [NAS, ROUTER]
    assert keys[NAS] != keys[ROUTER]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", key) for key in keys.values())
    assert mode(path) == 0o600


def test_a_file_that_root_creates_belongs_to_the_owner_of_its_folder(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With systemd, root runs commands for a service that runs as another user."""
    given: list[tuple[Path, int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda *words: given.append(words))
    for hosts in ([NAS], [NAS, ROUTER]):
        KeyFile(path).complete(hosts)
    folder = path.parent.stat()
    assert given == [(path, folder.st_uid, folder.st_gid)]


def test_an_empty_file_is_filled_in_place(path: Path) -> None:
    path.touch(mode=0o644)
    inode = path.stat().st_ino
    KeyFile(path).complete([NAS])
    assert path.stat().st_ino == inode
    assert mode(path) == 0o600
    assert re.fullmatch(r"nas\.example\.com \S{43}\n", path.read_text())


def test_new_keys_differ(tmp_path: Path) -> None:
    for name in ("one", "two"):
        KeyFile(tmp_path / name).complete([NAS])
    assert (tmp_path / "one").read_text() != (tmp_path / "two").read_text()


@pytest.mark.parametrize(
    "before",
    [
        b"nas.example.com %s\n",
        b"nas.example.com %s",  # no final newline
        b"# the NAS\n\n  NAS.example.com.\t%s  # in the cellar\n# the end",
        b"\xef\xbb\xbfnas.example.com %s\n",  # as Notepad writes it
        b"\xef\xbb\xbf# comment\nnas.example.com %s\n",
        b"# comment\r\nnas.example.com %s\r\n",
        b"# comment\r\nnas.example.com %s",
    ],
    ids=[
        "plain",
        "no newline",
        "comments",
        "BOM",
        "BOM and comment",
        "CRLF",
        "CRLF and no newline",
    ],
)
def test_adding_a_key_preserves_the_other_bytes(path: Path, before: bytes) -> None:
    before = before.replace(b"%s", KEY.encode())
    path.write_bytes(before)
    inode = path.stat().st_ino
    KeyFile(path).complete([NAS, ROUTER])
    after = path.read_bytes()
    assert after.startswith(before)
    assert re.fullmatch(rb"\n?router\.example\.com \S{43}\n", after[len(before) :])
    assert path.stat().st_ino == inode
    keys = KeyFile(path).accepted().newest
    assert keys[NAS] == KEY
    assert list(keys) == [NAS, ROUTER]


def test_a_file_that_is_complete_is_not_written(path: Path) -> None:
    path.write_text(f"nas.example.com {KEY}\n")
    before = path.stat()
    KeyFile(path).complete([NAS])
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.read_text() == f"nas.example.com {KEY}\n"


def test_an_unregistered_host_keeps_its_line(path: Path) -> None:
    path.write_text(f"old.example.com {KEY}\n")
    KeyFile(path).complete([NAS])
    assert set(KeyFile(path).accepted().newest) == {host("old.example.com"), NAS}


def test_without_hosts_no_file_is_created(path: Path) -> None:
    KeyFile(path).complete([])
    assert not path.exists()


def test_the_log_names_hosts_with_new_keys_but_no_key(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    KeyFile(path).complete([NAS])
    assert "nas.example.com" in caplog.text
    assert KeyFile(path).accepted().newest[NAS] not in caplog.text


def test_two_hosts_may_have_the_same_key(path: Path) -> None:
    path.write_text(f"nas.example.com {KEY}\nrouter.example.com {KEY}\n")
    assert KeyFile(path).accepted().newest == {NAS: KEY, ROUTER: KEY}


def test_the_last_of_two_lines_counts_with_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(f"nas.example.com {KEY}\nNAS.example.com {OTHER}\n")
    assert KeyFile(path).accepted().newest == {NAS: OTHER}
    assert "nas.example.com twice: line 2" in caplog.text
    assert KEY not in caplog.text
    assert OTHER not in caplog.text


@pytest.mark.parametrize("line", ["nas.example.com ab#cd", "nas.example.com ab#cd # a comment"])
def test_a_key_may_contain_a_hash(path: Path, line: str) -> None:
    path.write_text(f"{line}\n")
    assert KeyFile(path).accepted().newest == {NAS: "ab#cd"}


@pytest.mark.parametrize(("length", "warns"), [(1, True), (15, True), (16, False), (43, False)])
def test_a_short_key_is_accepted_with_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture, length: int, *, warns: bool
) -> None:
    key = "x" * length
    path.write_text(f"nas.example.com {key}\n")
    file = KeyFile(path)
    file.complete([NAS])
    assert file.accepted().newest == {NAS: key}
    assert ("nas.example.com has fewer than 16" in caplog.text) is warns


@pytest.mark.parametrize(
    "line",
    [
        "nas.example.com",
        "nas.example.com key and more",
        f"{KEY} nas.example.com",
        f"nas {KEY}",
        "nas.example.com #nokey",
        f"nas.example.com={KEY}",
        f'{{"nas.example.com": "{KEY}"}}',
    ],
)
def test_an_invalid_line_stops_the_start_and_is_not_quoted(
    path: Path, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(f"# first\n{line}\n")
    with pytest.raises(KeyFileUnusable, match=rf"PRE_SHARED_KEY_FILE: .*{path.name}.*line 2"):
        KeyFile(path).complete([NAS])
    assert path.read_text() == f"# first\n{line}\n"
    with pytest.raises(KeyFileUnusable) as caught:
        KeyFile(path).complete([NAS])
    assert KEY not in str(caught.value) + caplog.text
    assert caught.value.hint == "Write a host name, a space and its key, without quotes."
    assert caught.value.__suppress_context__


def test_a_file_that_is_not_utf_8_stops_the_start(path: Path) -> None:
    path.write_text("nas.example.com schlüssel", encoding="utf-16")
    with pytest.raises(KeyFileUnusable, match="UTF-8"):
        KeyFile(path).complete([NAS])


def test_a_directory_stops_the_start_with_a_hint_about_docker(path: Path) -> None:
    path.mkdir()
    with pytest.raises(KeyFileUnusable, match=r"is a directory .*touch.*chown 1000:1000") as caught:
        KeyFile(path).complete([NAS])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("folder", ["missing", "missing/deeper"])
def test_a_missing_folder_stops_the_start_with_a_hint(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "keys"
    with pytest.raises(
        KeyFileUnusable, match=r"folder .*missing.* doesn't exist: create"
    ) as caught:
        KeyFile(path).complete([NAS])
    assert "chown" not in str(caught.value)


def test_a_file_below_a_file_stops_the_start(path: Path) -> None:
    path.touch()
    with pytest.raises(KeyFileUnusable, match=rf"the folder {path} doesn't exist"):
        KeyFile(path / "deeper").complete([NAS])


@pytest.mark.parametrize("permissions", [0o644, 0o660, 0o604, 0o777])
def test_the_start_denies_other_users_access_to_the_file(
    path: Path, permissions: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path.write_text(f"nas.example.com {KEY}\n")
    path.chmod(permissions)
    KeyFile(path).complete([NAS])
    assert mode(path) == 0o600
    assert "its mode is 600 now" in caplog.text
    assert path.read_text() == f"nas.example.com {KEY}\n"


@pytest.mark.parametrize("text", ["", f"nas.example.com {KEY}\n"], ids=["to be filled", "complete"])
def test_a_mode_that_cannot_be_changed_causes_a_warning(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    path.write_text(text)
    path.chmod(0o666)
    for name in ("chmod", "fchmod"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(Path, "chmod", refuse)
    KeyFile(path).complete([NAS])
    assert list(KeyFile(path).accepted().newest) == [NAS]
    assert f"Other users can read {path}: let its owner run `chmod 600 {path}`." in caplog.text


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file away")
@pytest.mark.parametrize(("permissions", "starts"), [(0o666, True), (0o644, False), (0o600, False)])
def test_a_writable_file_of_another_user_is_accepted(
    path: Path, permissions: int, *, starts: bool
) -> None:
    """The process of another user starts in the folder, and needs no access to those above.

    Every start of pytest denies other users access to the folder above all temporary ones.
    """
    path.touch()
    path.chmod(permissions)
    path.parent.chmod(0o755)
    script = (
        "import os\n"
        "from pathlib import Path\n"
        "from backend.auth.keys import KeyFile\n"
        "from backend.model import Hostname\n"
        "from backend.errors import KeyFileUnusable\n"
        "b'x'.decode('utf-8-sig')  # the user may not be able to read Python's own files\n"
        f"os.chdir({str(path.parent)!r})\n"
        "os.setgid(1234); os.setuid(1234)\n"
        "try:\n"
        f"    KeyFile(Path({path.name!r})).complete([Hostname.parse('nas.example.com')])\n"
        "except KeyFileUnusable as error:\n"
        "    print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ("can't use" not in ran.stdout) is starts
    if starts:
        assert list(KeyFile(path).accepted().newest) == [NAS]
        assert f"Other users can read {path.name}" in ran.stderr
    else:
        assert re.search(r"Permission denied.*uid 1234.*`chown 1234 ", ran.stdout)
        assert ran.stdout.count("\n") == 1


def test_an_inaccessible_folder_is_a_permission_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(KeyFileUnusable, match="Permission denied"):
        KeyFile(path).complete([NAS])


def test_a_read_only_mount_has_its_own_hint() -> None:
    problem = str(explain(Path("/keys"), OSError(errno.EROFS, "Read-only file system"), ""))
    assert "mount it writable" in problem
    assert "chown" not in problem


@pytest.mark.skipif(os.getuid() == 0, reason="root reads and writes every file")
@pytest.mark.parametrize("permissions", [0o000, 0o400])
def test_missing_permissions_stop_the_start_with_a_hint(path: Path, permissions: int) -> None:
    path.write_text("# nothing yet\n")
    path.chmod(permissions)
    with pytest.raises(KeyFileUnusable, match=rf"Permission denied.*chown {os.getuid()}"):
        KeyFile(path).complete([NAS])


def test_a_permission_error_includes_a_hint(path: Path) -> None:
    # Permission bits don't restrict root, but no user can create a file in /proc.
    with pytest.raises(KeyFileUnusable, match=rf"can't use /proc/.*chown {os.getuid()} "):
        KeyFile(Path("/proc/self") / path.name).complete([NAS])


def test_a_complete_file_may_be_read_only(path: Path) -> None:
    path.write_text(f"nas.example.com {KEY}\n")
    path.chmod(0o400)
    KeyFile(path).complete([NAS])
    assert KeyFile(path).accepted().newest == {NAS: KEY}
    assert mode(path) == 0o400


@pytest.mark.parametrize("before", [f"nas.example.com {KEY}\n", f"nas.example.com {KEY}"])
def test_a_full_disk_at_the_start_leaves_the_file_unchanged(path: Path, before: str) -> None:
    path.write_text(before)
    output = output_of("complete([Hostname.parse('router.example.com')])", path, room=60)
    assert "File too large: free space" in output
    assert path.read_text() == before


class TestWhileRunning:
    @pytest.fixture
    def file(self, path: Path) -> KeyFile:
        path.write_text(f"nas.example.com {KEY}\n")
        file = KeyFile(path)
        assert file.accepted().newest == {NAS: KEY}
        return file

    def test_a_change_is_noticed(self, path: Path, file: KeyFile) -> None:
        path.write_text(f"nas.example.com {OTHER}\nrouter.example.com {KEY}\n")
        assert file.accepted().newest == {NAS: OTHER, ROUTER: KEY}

    def test_a_replaced_file_of_the_same_size_is_noticed(self, path: Path, file: KeyFile) -> None:
        before = path.stat()
        new = path.with_name("new")
        new.write_text(f"nas.example.com {OTHER}\n")
        os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
        new.rename(path)
        assert file.accepted().newest == {NAS: OTHER}

    def test_an_unchanged_file_is_not_read_again(self, path: Path, file: KeyFile) -> None:
        before = path.stat()
        path.write_text(f"nas.example.com {OTHER}\n")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert file.accepted().newest == {NAS: KEY}

    @pytest.mark.parametrize("problem", ["deleted", "broken", "a directory", "no text"])
    def test_an_unusable_file_invalidates_no_key_and_is_logged_once(
        self, path: Path, file: KeyFile, problem: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        if problem == "broken":
            path.write_text(f"nas.example.com {OTHER} more\n")
        elif problem == "no text":
            path.write_bytes(b"nas.example.com \xff\xfe\n")
        else:
            path.unlink()
        if problem == "a directory":
            path.mkdir()
        elif path.exists():
            os.utime(path, (0, 0))  # not a running edit
        for _ in range(3):
            assert file.accepted().newest == {NAS: KEY}
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert "keys read before stay in use" in record.getMessage()
        assert OTHER not in caplog.text

    def test_the_next_problem_after_a_repair_is_logged_again(
        self, path: Path, file: KeyFile, caplog: pytest.LogCaptureFixture
    ) -> None:
        path.unlink()
        file.accepted()
        path.write_text(f"nas.example.com {OTHER}\n")
        assert file.accepted().newest == {NAS: OTHER}
        path.unlink()
        file.accepted()
        assert len(caplog.records) == 2

    def test_a_restored_file_that_disappears_again_is_logged_again(
        self, path: Path, file: KeyFile, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(2):
            path.rename(path.with_name("away"))
            file.accepted()
            path.with_name("away").rename(path)
            file.accepted()
        assert len(caplog.records) == 2


@pytest.mark.parametrize("problem", ["missing", "a directory", "no text"])
def test_keys_are_unavailable_until_the_file_is_read(
    path: Path, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    if problem == "a directory":
        path.mkdir()
    elif problem == "no text":
        path.write_bytes(b"nas.example.com \xff\xfe\n")
    file = KeyFile(path)
    for _ in range(3):
        with pytest.raises(KeysUnavailable, match="key file can't be read"):
            file.accepted()
    (record,) = caplog.records
    assert record.getMessage().endswith("updates are answered 503 until the file can be read.")
    assert "stay in use" not in caplog.text
    if path.is_dir():
        path.rmdir()
    path.write_text(f"nas.example.com {KEY}\n")
    assert file.accepted().newest == {NAS: KEY}
    path.unlink()
    assert file.accepted().newest == {NAS: KEY}
    assert "stay in use" in caplog.records[-1].getMessage()
    assert "restore it before you restart" in caplog.records[-1].getMessage()
