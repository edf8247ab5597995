from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Callable, Iterator, Sequence

import pytest

from backend.errors import SettingUnusable
from backend.server import logs
from backend.settings import LogSettings
from backend.text import secrets_in

SECRET = "the-secret"


@pytest.fixture(autouse=True)
def _root() -> Iterator[None]:
    """Restore the root logger, which `set_up` changes."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level = handlers, level
    root.setLevel(level)


def set_up(*, debug: bool = False, file: Path | None = None, secrets: Sequence[str] = ()) -> None:
    logs.set_up(LogSettings(debug, file, max_bytes=0, backup_count=0, zone=""), secrets)


def lines(folder: Path) -> list[str]:
    """The lines of a log file and of its rotated files."""
    files = sorted(file for file in folder.iterdir() if not file.name.endswith(".lock"))
    return [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def test_a_line_has_its_time_in_utc_and_its_level(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up()
    logging.getLogger("anything").warning("seen %s", "it")
    shape = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ WARNING seen it\n"
    captured = capsys.readouterr()
    assert re.fullmatch(shape, captured.out)
    assert captured.err == ""


def test_the_time_zone_of_the_server_is_ignored(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up()
    values = {"msg": "x", "levelno": logging.INFO, "levelname": "INFO", "created": 1_800_000_000.0}
    record = logging.makeLogRecord(values)
    logging.getLogger().handle(record)
    assert capsys.readouterr().out == "2027-01-15T08:00:00Z INFO x\n"


@pytest.mark.parametrize("debug", [True, False])
def test_debug_lines_are_written_only_in_debug(
    capsys: pytest.CaptureFixture[str], *, debug: bool
) -> None:
    set_up(debug=debug)
    logging.getLogger("backend").debug("details")
    assert ("details" in capsys.readouterr().out) is debug


@pytest.mark.parametrize("name", ["urllib3.connectionpool", "sqlalchemy.engine", "werkzeug"])
def test_details_of_libraries_are_not_logged_in_debug(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    set_up(debug=True)
    logging.getLogger(name).info("details")
    logging.getLogger(name).warning("trouble")
    out = capsys.readouterr().out
    assert "trouble" in out
    assert "details" not in out


def test_a_second_set_up_duplicates_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up()
    set_up()
    logging.getLogger().warning("once")
    assert capsys.readouterr().out.count("once") == 1


def test_secrets_are_masked_anywhere_in_a_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    set_up(file=tmp_path / "log", secrets=[SECRET, ""])
    logging.getLogger().error("%s and x%sx", SECRET, SECRET)
    out = capsys.readouterr().out
    assert out.endswith("ERROR (secret) and x(secret)x\n")
    assert SECRET not in (tmp_path / "log").read_text()


def test_secrets_are_masked_in_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(secrets=[SECRET])
    try:
        int(SECRET)
    except ValueError:
        logging.getLogger().exception("failed")
    out = capsys.readouterr().out
    assert "Traceback" in out
    assert re.search(r"ValueError: invalid literal .*'\(secret\)'", out)
    assert SECRET not in out


def test_a_secret_within_another_one_is_masked_as_a_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_up(secrets=["pass", "password-of-the-store"])
    logging.getLogger().error("it is password-of-the-store")
    assert capsys.readouterr().out.endswith("it is (secret)\n")


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("", set()),
        ("https://ntfy.example.com", set()),
        ("https://ntfy.example.com/a@b:c", set()),
        ("https://me:p%40ss@ntfy.example.com", {"p%40ss", "p@ss", "me:p%40ss", "me:p@ss"}),
        ("http://tk_abc@ntfy.example.com", {"tk_abc"}),
        ("http://:pass@ntfy.example.com", {"pass", ":pass"}),
        ("sqlite:////data/store.db", set()),
        ("postgresql+psycopg://user@/name", set()),
        ("postgresql+psycopg://user:pa/s#s?w:d@db/name", {"pa/s#s?w:d", "user:pa/s#s?w:d"}),
        ("postgresql+psycopg://u:a%2Bb@db/x", {"a%2Bb", "a+b", "u:a%2Bb", "u:a+b"}),
        ("postgresql+psycopg://u:a+b@db/x", {"a+b", "a b", "u:a+b", "u:a b"}),
        (
            "postgresql+psycopg:///x?user=u&password=pw+1&host=db&sslpassword=k%26y",
            {"pw+1", "pw 1", "k%26y", "k&y"},
        ),
    ],
)
def test_a_login_in_a_url_is_secret_encoded_and_decoded(url: str, secrets: set[str]) -> None:
    assert set(secrets_in(url)) - {""} == secrets


def test_lines_go_to_the_file_whose_folder_is_created(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "deep" / "er" / "log"
    set_up(file=file)
    logging.getLogger().warning("bücher")
    assert file.read_text(encoding="utf-8") == capsys.readouterr().out


def test_an_existing_file_is_appended_to(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("before\n")
    set_up(file=file)
    logging.getLogger().warning("after")
    assert [line.split(" ")[-1] for line in file.read_text().splitlines()] == ["before", "after"]


@pytest.mark.parametrize("place", ["a directory", "below a file"])
def test_a_file_that_cannot_be_written_stops_the_start(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    file = tmp_path if place == "a directory" else tmp_path / "file" / "log"
    with pytest.raises(SettingUnusable, match=rf"LOG_FILE: can't write {file} \(.+\).*uid") as c:
        set_up(file=file)
    assert "\n" not in str(c.value)


def logger_of(handler: logging.Handler) -> logging.Logger:
    logger = logging.Logger("of a worker")  # noqa: LOG001 - out of the way of all others
    logger.addHandler(handler)
    return logger


def test_the_file_is_rotated_and_few_old_ones_are_kept(
    tmp_path: Path,
) -> None:
    handler = logs.SharedRotatingFile(tmp_path / "log", 100, 2)
    for number in range(100):
        logger_of(handler).warning("line %06d", number)
    handler.close()
    assert {file.name for file in tmp_path.iterdir()} == {"log", "log.1", "log.2", "log.lock"}
    assert all(file.stat().st_size <= 100 for file in tmp_path.iterdir())
    assert (tmp_path / "log").read_text().splitlines()[-1] == "line 000099"


@pytest.fixture
def _hasty_threads() -> Iterator[None]:
    """Switch threads very often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_hasty_threads")
def test_two_handlers_write_every_line_once_while_rotating(
    tmp_path: Path,
) -> None:
    handlers = [logs.SharedRotatingFile(tmp_path / "log", 300, 100) for _ in range(2)]

    def write(name: str, handler: logging.Handler) -> None:
        for number in range(200):
            logger_of(handler).warning("%s %d", name, number)

    threads = [threading.Thread(target=write, args=pair) for pair in zip("ab", handlers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for handler in handlers:
        handler.close()
    assert sorted(lines(tmp_path)) == sorted(f"{name} {n}" for name in "ab" for n in range(200))


def test_forked_workers_write_every_line_once_while_rotating(
    tmp_path: Path,
) -> None:
    # With gunicorn, the workers are forks of the process that sets up the log.
    script = (
        "import logging, os, sys\n"
        "from backend.server import logs\n"
        "handler = logs.SharedRotatingFile(sys.argv[1], 200, 900)\n"
        "logger = logging.Logger('worker')\n"
        "logger.addHandler(handler)\n"
        "starts, start = os.pipe()\n"
        "workers = []\n"
        "for name in 'abcdef':\n"
        "    worker = os.fork()\n"
        "    if not worker:\n"
        "        os.close(start)\n"
        "        os.read(starts, 1)\n"
        "        for number in range(300):\n"
        "            logger.warning('%s %d', name, number)\n"
        "        os._exit(0)\n"
        "    workers.append(worker)\n"
        "os.close(start)\n"
        "for worker in workers:\n"
        "    os.waitpid(worker, 0)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "log")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Error" not in ran.stderr
    expected = sorted(f"{name} {number}" for name in "abcdef" for number in range(300))
    assert sorted(lines(tmp_path)) == expected


@pytest.mark.parametrize("move", [Path.unlink, lambda path: path.rename(f"{path}.old")])
def test_a_file_that_was_moved_or_deleted_is_created_again(
    tmp_path: Path, move: Callable[[Path], object]
) -> None:
    handler = logs.SharedRotatingFile(tmp_path / "log", 0, 0)
    logger_of(handler).warning("before")
    move(tmp_path / "log")
    logger_of(handler).warning("after")
    handler.close()
    assert (tmp_path / "log").read_text() == "after\n"


@pytest.mark.parametrize("is_fork", [False, True])
def test_logging_does_not_fail_while_the_file_cannot_be_opened(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_fork: bool,
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    handler = logs.SharedRotatingFile(folder / "log", 0, 0)
    logger_of(handler).warning("before")
    folder.rename(tmp_path / "moved")
    if is_fork:  # which needs a lock of its own
        monkeypatch.setattr(os, "getpid", lambda: 0)
    for _ in range(2):
        logger_of(handler).warning("lost")
        assert "FileNotFoundError" in capsys.readouterr().err
    folder.mkdir()
    logger_of(handler).warning("after")
    handler.close()
    assert lines(folder) == ["after"]
