"""A key file that an editor empties and then writes, without a lock."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from pathlib import Path

import pytest

from backend.auth import keys
from backend.auth.keys import AcceptedKeys, KeyFile
from backend.errors import KeyFileUnusable
from backend.model import digest
from tests.unit.fakes import host

NAS, ROUTER = host("nas.example.com"), host("router.example.com")
OLD, OTHER, NEW = "o" * 43, "p" * 43, "n" * 43
BEFORE = f"nas.example.com {OLD}\nrouter.example.com {OTHER}\n"
SECONDS = 20.0
AFTER = f"nas.example.com {NEW}\nrouter.example.com {OTHER}\n"


class Time:
    """The clock of the process, which can be ahead of the file system's clock."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def clock(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def now() -> Time:
    return Time()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that has been unchanged for a long time."""
    path = tmp_path / "pre-shared-key"
    path.write_text(BEFORE)
    os.utime(path, (0, 0))
    return path


@pytest.fixture
def file(path: Path, now: Time) -> KeyFile:
    file = KeyFile(path, clock=now.clock, monotonic=now.monotonic)
    assert file.accepted() == AcceptedKeys({NAS: OLD, ROUTER: OTHER})
    return file


def opens(file: KeyFile, key: str, name: str = "nas.example.com") -> bool:
    return file.accepted().opened([host(name)], digest(key)) != []


@pytest.mark.parametrize("written", range(len(AFTER) + 1))
def test_right_keys_are_accepted_at_every_stage_of_an_edit(
    file: KeyFile, path: Path, written: int
) -> None:
    path.write_text(AFTER[:written])
    assert opens(file, OLD)
    assert opens(file, OTHER, "router.example.com")
    assert not any(opens(file, NEW[:length]) for length in range(1, len(NEW)))
    path.write_text(AFTER)
    assert opens(file, NEW)
    assert opens(file, OLD)


def test_saving_twice_keeps_the_new_key(file: KeyFile, path: Path) -> None:
    path.write_text(AFTER)
    assert opens(file, NEW)
    for half in ("", "nas.example.com nnnn", AFTER):
        path.write_text(half)
        assert opens(file, NEW)


def test_the_old_key_ends_two_seconds_after_the_edit(file: KeyFile, path: Path, now: Time) -> None:
    path.write_text(f"nas.example.com {NEW}\n")
    grace = file.accepted()
    now.ahead = 1.0
    assert file.accepted() is grace
    now.ahead = 2.1
    assert file.accepted() == AcceptedKeys({NAS: NEW})
    assert file.accepted() is file.accepted()


def test_an_unnoticed_old_change_ends_the_old_key_at_once(
    file: KeyFile, path: Path, now: Time
) -> None:
    path.write_text(AFTER)
    now.ahead = 3600.0
    assert not opens(file, OLD)
    assert opens(file, NEW)


def test_a_slow_clock_delays_the_end_by_two_seconds(file: KeyFile, path: Path, now: Time) -> None:
    path.write_text(AFTER)
    later = time.time() + 3600
    os.utime(path, (later, later))
    assert opens(file, OLD)
    now.ahead = 2.1
    assert not opens(file, OLD)


def test_a_long_edit_keeps_the_keys_known_before(file: KeyFile, path: Path, now: Time) -> None:
    for length in range(0, 40, 10):
        path.write_text(AFTER[:length])
        later = now.clock()
        os.utime(path, (later, later))
        assert opens(file, OLD)
        now.ahead += 1.5
    assert opens(file, OLD)


def test_an_unfinished_edit_logs_nothing(
    file: KeyFile, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for content in (b"", b"nas.exam", b"nas.example.com " + OLD.encode() + b" # \xc3"):
        path.write_bytes(content)
        assert opens(file, OLD)
    assert caplog.records == []


@pytest.mark.parametrize("content", ["", "# nothing\n"])
def test_a_file_that_lost_all_keys_invalidates_none(
    file: KeyFile, path: Path, now: Time, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    path.write_text(content)
    for now.ahead in (0.0, 3.0, 3600.0):
        assert opens(file, OLD)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    message = record.getMessage()
    assert "it no longer contains any key: restore its keys before you restart: " in message
    assert message.endswith("The keys read before stay in use.")
    path.write_text(AFTER)
    now.ahead = 7200.0
    assert file.accepted() == AcceptedKeys({NAS: NEW, ROUTER: OTHER})


def test_removing_the_last_key_is_not_taken_for_an_accident(
    file: KeyFile, path: Path, now: Time, caplog: pytest.LogCaptureFixture
) -> None:
    service = KeyFile(path)
    service.move(ROUTER, None, OTHER)
    service.move(NAS, None, OLD)
    assert not opens(file, OLD)
    assert caplog.records == []
    service.complete([ROUTER])
    key = file.accepted().newest[ROUTER]
    assert file.accepted() == AcceptedKeys({ROUTER: key})
    path.write_text("")
    now.ahead = 3.0
    assert opens(file, key, ROUTER.text)
    assert "it no longer contains any key" in caplog.text


def test_a_rotated_key_is_accepted_at_once(file: KeyFile, path: Path) -> None:
    KeyFile(path).replace(NAS, NEW)
    assert file.accepted() == AcceptedKeys({NAS: NEW, ROUTER: OTHER})


def test_a_rotation_waits_for_a_running_edit(path: Path) -> None:
    path.write_text("")
    edit = threading.Timer(0.5, path.write_text, [AFTER])
    edit.start()
    KeyFile(path).replace(ROUTER, OLD)
    assert path.read_text() == AFTER.replace(OTHER, OLD)
    edit.join()


@pytest.mark.parametrize("half", ["", "nas.example.com"])
def test_a_start_during_an_edit_generates_no_keys(path: Path, half: str) -> None:
    path.write_text(half)
    edit = threading.Timer(0.5, path.write_text, [AFTER])
    edit.start()
    KeyFile(path).complete([NAS, ROUTER])
    assert path.read_text() == AFTER
    edit.join()


def test_concurrent_starts_generate_one_key_per_host(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    starts = [threading.Thread(target=KeyFile(path).complete, args=([NAS],)) for _ in range(8)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert path.read_text().count("nas.example.com") == 1


def test_a_process_that_starts_during_an_edit_waits(path: Path) -> None:
    path.write_text("")
    edit = threading.Timer(0.5, path.write_text, [AFTER])
    edit.start()
    file = KeyFile(path)
    file.load()
    assert file.accepted().newest == {NAS: NEW, ROUTER: OTHER}
    edit.join()


@pytest.mark.parametrize("content", [None, "no key at all\n"])
def test_a_process_starts_with_an_unusable_file(path: Path, content: str | None) -> None:
    path.unlink()
    if content is not None:
        path.write_text(content)
    KeyFile(path).load()


def test_many_threads_see_one_change(file: KeyFile, path: Path) -> None:
    path.write_text(AFTER)
    found = []
    threads = [threading.Thread(target=lambda: found.append(file.accepted())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(keys) for keys in found}) == 1


def test_a_file_truncated_during_a_read_is_incomplete(
    file: KeyFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = keys.read_bytes

    def emptied_first(path: Path) -> bytes:
        path.write_text(BEFORE.splitlines()[0])
        return real(path)

    path.write_text(AFTER)
    os.utime(path, (1, 1))
    monkeypatch.setattr(keys, "read_bytes", emptied_first)
    assert opens(file, OTHER, "router.example.com")


def answers(file: KeyFile) -> bool:
    """Whether the old key is accepted within a bounded time."""
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(opens(file, OLD)), daemon=True)
    thread.start()
    thread.join(SECONDS)
    return found == [True]


@pytest.mark.parametrize("kind", ["a pipe", "an endless file", "a huge file"])
def test_a_special_file_blocks_no_request(
    file: KeyFile, path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    path.unlink()
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "an endless file":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as sparse:
            sparse.truncate(1 << 40)
    assert answers(file)
    assert "can't use" in caplog.text


def test_a_pipe_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "pre-shared-key"
    os.mkfifo(path)
    with pytest.raises(KeyFileUnusable, match="it isn't a regular file"):
        KeyFile(path).complete([NAS])


def test_a_permanent_lock_blocks_no_request(file: KeyFile, path: Path, now: Time) -> None:
    with path.open("rb") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        path.write_text(AFTER)
        assert answers(file)
        assert opens(file, NEW)
        now.ahead += keys.GRACE_SECONDS + 1
        assert not opens(file, OLD)
        assert opens(file, NEW)
