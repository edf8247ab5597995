from __future__ import annotations

from pathlib import Path
from typing import Dict, List

import pytest

from backend import cli
from backend.setup_guides import DEVICES

HOST = "nas.example.com"


@pytest.fixture
def environ(tmp_path: Path) -> Dict[str, str]:
    """All it needs of the settings: not even a token."""
    keys = tmp_path / "pre-shared-key"
    keys.write_text(f"{HOST} the-key-of-the-nas\nodd.example.com s&cret\n")
    return {
        "REGISTERED_FQDNS": f"{HOST},odd.example.com,new.example.com",
        "PRE_SHARED_KEY_FILE": str(keys),
    }


@pytest.mark.parametrize("device", DEVICES)
def test_it_prints_what_to_paste_with_the_key_on_standard_output_alone(
    environ: Dict[str, str], device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["setup", HOST, "--for", device, "--url", "https://dyn.example.net/"]
    assert cli.run(words, environ) == 0
    told = capsys.readouterr()
    assert told.err == f"{DEVICES[device]}, for {HOST}:\n\n"
    assert "the-key-of-the-nas" in told.out
    assert "dyn.example.net" in told.out


def test_without_a_device_it_prints_what_any_needs_and_which_are_known(
    environ: Dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["setup", HOST.upper()], environ) == 0
    told = capsys.readouterr()
    assert "the-key-of-the-nas" in told.out
    assert [device for device in DEVICES if f"  {device} " not in told.out] == []
    assert "--url" in told.err
    assert "the-key-of-the-nas" not in told.err


@pytest.mark.parametrize(
    ("host", "url", "note"),
    [
        (HOST, "http://dyn.example.net", "Without TLS"),
        ("odd.example.com", "https://x", "trip over"),
    ],
)
def test_what_may_go_wrong_is_noted(
    environ: Dict[str, str], capsys: pytest.CaptureFixture[str], host: str, url: str, note: str
) -> None:
    assert cli.run(["setup", host, "--url", url], environ) == 0
    assert note in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["other.example.com"], 1, "REGISTERED_FQDNS"),
        (["new.example.com"], 1, "has no key of new.example.com yet: start the service once"),
        (["nas"], 1, "Not a full host name"),
        ([], 2, "HOST"),
        ([HOST, "--for", "toaster"], 2, "toaster"),
        ([HOST, "--url", "dyn.example.net"], 2, "is no URL"),
        ([HOST, "--url", "https://"], 2, "is no URL"),
        ([HOST, "--url", "https://["], 2, "is no URL"),
        ([HOST, "--url", "https://x/';id;'"], 2, "is no URL"),
    ],
)
def test_what_it_cannot_do_is_told_in_a_line(
    environ: Dict[str, str],
    capsys: pytest.CaptureFixture[str],
    words: List[str],
    code: int,
    told: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(["setup", *words], environ)
    assert ended.value.code == code
    printed = capsys.readouterr()
    assert told in printed.err
    assert printed.out == ""


@pytest.mark.parametrize(
    ("file", "hint"),
    [
        ("none", "start the service once"),
        (".", "it is a directory"),
        ("none/none", "create it, or name another file"),
        ("x" * 300, "let this user"),
    ],
)
def test_without_a_key_file_it_is_one_line_that_says_how_to_get_one(
    environ: Dict[str, str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    file: str,
    hint: str,
) -> None:
    with pytest.raises(SystemExit):
        cli.run(["setup", HOST], {**environ, "PRE_SHARED_KEY_FILE": str(tmp_path / file)})
    told = capsys.readouterr().err
    assert hint in told
    assert told.count("\n") == 1
