from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from backend import cli
from backend.setup_guides import DEVICES
from tests.stores import empty_store

HOST = "nas.example.com"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The only settings that the command needs: no token."""
    shutil.copy(empty_store(), tmp_path / "store.db")
    keys = tmp_path / "pre-shared-key"
    keys.write_text(f"{HOST} the-key-of-the-nas\nodd.example.com s&cret\n")
    return {
        "REGISTERED_FQDNS": f"{HOST},odd.example.com,new.example.com",
        "PRE_SHARED_KEY_FILE": str(keys),
        "STATE_URL": f"sqlite:///{tmp_path}/store.db",
    }


@pytest.mark.parametrize("device", DEVICES)
def test_the_key_goes_to_standard_output_only(
    environ: dict[str, str], device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["setup", HOST, "--for", device, "--url", "https://dyn.example.net/"]
    assert cli.run(words, {**environ, "ACME_DNS": "1"}) == 0
    printed = capsys.readouterr()
    assert printed.err == f"{DEVICES[device]}, for {HOST}:\n\n"
    assert "the-key-of-the-nas" in printed.out
    assert "dyn.example.net" in printed.out


@pytest.mark.parametrize(("switch", "is_told"), [("", True), ("1", False)])
def test_it_says_that_certificates_need_a_switch(
    environ: dict[str, str], switch: str, capsys: pytest.CaptureFixture[str], *, is_told: bool
) -> None:
    assert cli.run(["setup", HOST, "--for", "acme.sh"], {**environ, "ACME_DNS": switch}) == 0
    assert ("the service needs ACME_DNS=1" in capsys.readouterr().err) is is_told


def test_without_a_device_it_lists_all_devices(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["setup", HOST.upper()], environ) == 0
    printed = capsys.readouterr()
    assert "the-key-of-the-nas" in printed.out
    assert [device for device in DEVICES if f"  {device} " not in printed.out] == []
    assert "--url" in printed.err
    assert "the-key-of-the-nas" not in printed.err


@pytest.mark.parametrize(
    ("host", "url", "note"),
    [
        (HOST, "http://dyn.example.net", "Without TLS"),
        ("odd.example.com", "https://x", "don't accept this key"),
    ],
)
def test_a_risky_key_or_url_causes_a_note(
    environ: dict[str, str], capsys: pytest.CaptureFixture[str], host: str, url: str, note: str
) -> None:
    assert cli.run(["setup", host, "--url", url], environ) == 0
    assert note in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["other.example.com"], 1, "REGISTERED_FQDNS"),
        (["new.example.com"], 1, "new.example.com has no key yet: start the service once"),
        (["nowhere"], 1, "Not a full host name"),
        ([], 2, "HOST"),
        ([HOST, "--for", "toaster"], 2, "toaster"),
        ([HOST, "--url", "dyn.example.net"], 2, "is not a URL"),
        ([HOST, "--url", "https://"], 2, "is not a URL"),
        ([HOST, "--url", "https://["], 2, "is not a URL"),
        ([HOST, "--url", "https://x/';id;'"], 2, "is not a URL"),
    ],
)
def test_a_wrong_argument_ends_with_an_error(
    environ: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    error: str,
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(["setup", *words], environ)
    assert ended.value.code == code
    printed = capsys.readouterr()
    assert error in printed.err
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
def test_an_unusable_key_file_ends_with_a_hint(
    environ: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    file: str,
    hint: str,
) -> None:
    with pytest.raises(SystemExit):
        cli.run(["setup", HOST], {**environ, "PRE_SHARED_KEY_FILE": str(tmp_path / file)})
    printed = capsys.readouterr().err
    assert hint in printed
    assert printed.count("\n") == 1
