"""Keys that are replaced while the service runs."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from backend.auth.keys import KeyFile
from backend.errors import KeyFileUnusable
from tests.unit.auth.full_disk import output_of
from tests.unit.fakes import host

pytestmark = pytest.mark.usefixtures("short_wait_for_edits")

NAS, HOME = host("nas.example.com"), host("home.example.com")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pre-shared-key"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"nas.example.com old\n", b"nas.example.com %s\n"),
        (b"nas.example.com old", b"nas.example.com %s"),
        (b"\xef\xbb\xbfnas.example.com old\n", b"\xef\xbb\xbfnas.example.com %s\n"),
        (b"# nas.example.com old\n\n  NAS.example.com.\told  # old\r\n# end", None),
        (b"nas.example.com nas\n", b"nas.example.com %s\n"),
        (b"nas.example.com first\nnas.example.com old\n", None),
        (b"", b"nas.example.com %s\n"),
        (b"# nothing yet", b"# nothing yet\nnas.example.com %s\n"),
    ],
)
def test_a_rotation_changes_only_the_key(path: Path, before: bytes, after: bytes | None) -> None:
    path.write_bytes(before)
    file = KeyFile(path)
    file.accepted()
    key = "n" * 43
    file.replace(NAS, key)
    assert file.accepted().newest == {NAS: key}
    if after is not None:
        assert path.read_bytes() == after % key.encode()
    else:
        head, _, tail = path.read_bytes().partition(key.encode())
        assert before.startswith(head)
        assert before.endswith(tail)
        assert len(head) + len(tail) + len("old") == len(before)


def test_replacing_a_key_leaves_other_hosts_unchanged(path: Path) -> None:
    path.write_text("home.example.com one-key-for-two\nnas.example.com old\n# end\n")
    file = KeyFile(path)
    file.replace(NAS, "one-key-for-two")
    assert path.read_text() == (
        "home.example.com one-key-for-two\nnas.example.com one-key-for-two\n# end\n"
    )


def test_a_shorter_key_replaces_a_longer_one_completely(path: Path) -> None:
    path.write_text(f"nas.example.com {'x' * 200}\nhome.example.com abc\n")
    KeyFile(path).replace(NAS, "short")
    assert path.read_text() == "nas.example.com short\nhome.example.com abc\n"


def test_the_file_is_written_in_place(path: Path) -> None:
    path.write_text("nas.example.com old\n")
    inode = path.stat().st_ino
    KeyFile(path).replace(NAS, "new")
    assert path.stat().st_ino == inode


def test_readers_never_see_half_a_change(path: Path) -> None:
    keys = ["a" * 20, "b" * 5000]
    path.write_text(f"nas.example.com {keys[0]}\nhome.example.com abc\n")
    writer, reader = KeyFile(path), KeyFile(path)
    done = threading.Event()

    def change() -> None:
        for turn in range(200):
            writer.replace(NAS, keys[turn % 2])
        done.set()

    thread = threading.Thread(target=change)
    thread.start()
    while not done.is_set():
        found = reader.accepted().newest
        assert found[NAS] in keys
        assert found[HOME] == "abc"
    thread.join()
    assert reader.accepted().newest[NAS] == keys[1]


def test_an_invalid_file_is_not_changed(path: Path) -> None:
    path.write_text("nas.example.com old\nrubbish\n")
    with pytest.raises(KeyFileUnusable, match="line 2"):
        KeyFile(path).replace(NAS, "new")
    assert path.read_text() == "nas.example.com old\nrubbish\n"


def test_a_rotation_without_file_fails(path: Path) -> None:
    with pytest.raises(KeyFileUnusable, match="PRE_SHARED_KEY_FILE"):
        KeyFile(path).replace(NAS, "new")


def test_a_full_disk_leaves_the_file_as_it_was(path: Path) -> None:
    before = "nas.example.com old\nhome.example.com abc\n"
    path.write_text(before)
    output = output_of("replace(Hostname.parse('nas.example.com'), 'n' * 43)", path, room=50)
    assert "File too large" in output
    assert path.read_text() == before
