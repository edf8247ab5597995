"""A reader of the key file waits for another process that is writing it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backend.auth import keys
from tests.unit.fakes import host

WHOLE = "host.example.com the-key-of-the-host\n"
# Writes half of the file under its lock, and the rest when the test asks for it.
WRITER = f"""
import fcntl, sys
with open(sys.argv[1], "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write({WHOLE[:20]!r})
    file.flush()
    print("locked", flush=True)
    sys.stdin.readline()
    file.write({WHOLE[20:]!r})
"""


def test_a_reader_waits_until_another_process_has_written_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "locked\n"
        # The reader sleeps only if it found the lock taken; the writer ends meanwhile.
        monkeypatch.setattr(keys.time, "sleep", lambda _: writer.communicate("\n"))
        found = keys.KeyFile(path).read()
        monkeypatch.undo()
    assert found == {host(): "the-key-of-the-host"}
