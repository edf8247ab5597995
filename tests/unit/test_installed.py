"""The installed command finds its settings, and asks for them at its first start."""

from __future__ import annotations

import getpass
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Iterator, Mapping

import pytest

from backend import cli
from tests.meta.documents import blocks

TOKEN, PASSWORD = "t" * 64, "a $long# password"


class Command:
    """Runs the command in a home folder, with answers to its questions."""

    def __init__(self, patch: pytest.MonkeyPatch, home: Path, uid: int) -> None:
        self.home = home
        self.system = (home / "etc.env", home / "var")
        self.ran: list[tuple[list[str], Path]] = []
        self.asked: list[str] = []
        self._patch = patch
        patch.setattr(cli, "OF_SYSTEM", self.system)
        patch.setattr(cli, "run", self._run)
        patch.setattr(os, "geteuid", lambda: uid)
        patch.setenv("HOME", str(home))
        for name in ("HETZNER_TOKEN", "HETZNER_TOKEN_FILE", "XDG_CONFIG_HOME"):
            patch.delenv(name, raising=False)
        patch.chdir(home)

    def _run(self, words: list[str], _environ: Mapping[str, str]) -> int:
        self.ran.append((words, Path.cwd()))
        return 0

    def types(self, *words: str, answers: tuple[str, ...] | None = None) -> object:
        """Run it, in a terminal if there are answers; return what it exits with."""
        left: Iterator[str] = iter(answers or ())

        def ask(prompt: str = "") -> str:
            self.asked.append(prompt)
            answer = next(left, None)
            if answer is None:
                raise EOFError
            return answer

        self._patch.setattr(sys, "argv", ["hetzner-dyndns", *words])
        self._patch.setattr(sys.stdin, "isatty", lambda: answers is not None, raising=False)
        self._patch.setattr(getpass, "getpass", ask)
        self._patch.setattr("builtins.input", ask)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code

    def settings(self, file: Path) -> Mapping[str, str]:
        return cli.read_env_file(str(file))


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    return Command(monkeypatch, tmp_path, uid=1000)


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    return Command(monkeypatch, tmp_path, uid=0)


def test_the_first_start_asks_and_the_next_finds_the_answers(user: Command) -> None:
    folder = user.home / ".config" / "hetzner-dyndns"
    assert user.types(answers=(TOKEN, "", PASSWORD)) == 0
    assert user.settings(folder / ".env") == {
        "HETZNER_TOKEN": TOKEN,
        "BASIC_AUTH_USERNAME": "operator",
        "BASIC_AUTH_PASSWORD": PASSWORD,
        **cli.FIRST,
    }
    assert [stat.S_IMODE(one.stat().st_mode) for one in (folder, folder / ".env")] == [0o700, 0o600]
    assert user.types("hosts", "add", "nas.example.com") == 0
    file = ["--env-file", str(folder / ".env")]
    assert user.ran == [(file, folder), ([*file, "hosts", "add", "nas.example.com"], folder)]


def test_root_has_the_files_of_the_unit(root: Command) -> None:
    file, folder = root.system
    assert root.types(answers=(TOKEN, "me", PASSWORD)) == 0
    assert root.settings(file)["BASIC_AUTH_USERNAME"] == "me"
    assert root.ran == [(["--env-file", str(file)], folder)]


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        (("", "", PASSWORD), "HETZNER_TOKEN is missing"),
        (("t" * 32, "", PASSWORD), "HETZNER_TOKEN: "),
        ((TOKEN, "a:b", PASSWORD), "colon"),
        ((TOKEN, "", "short"), "fewer than 8 characters"),
        ((TOKEN, "", "not-so-short"), "fewer than 16 characters"),
        ((TOKEN, "", "an apostrophe isn't fine"), "apostrophes"),
    ],
)
def test_an_unusable_answer_is_asked_for_again(
    user: Command, capsys: pytest.CaptureFixture[str], answers: tuple[str, ...], problem: str
) -> None:
    assert user.types(answers=(*answers, TOKEN, "", PASSWORD)) == 0
    assert problem in capsys.readouterr().out
    assert len(user.asked) == 6


def test_an_end_instead_of_an_answer_writes_nothing(user: Command) -> None:
    assert "Nothing was written" in str(user.types(answers=(TOKEN, "")))
    assert list(user.home.iterdir()) == []
    assert user.ran == []


def test_without_a_terminal_the_error_names_file_and_variables(user: Command) -> None:
    told = str(user.types())
    assert str(user.home / ".config/hetzner-dyndns/.env") in told
    assert "HETZNER_TOKEN" in told
    assert user.ran == []


def test_a_user_without_settings_is_told_to_use_sudo(user: Command) -> None:
    user.system[0].touch()
    assert "as root" in str(user.types("hosts"))
    assert user.ran == []


@pytest.mark.parametrize("words", [["--env-file", "x"], ["--env-file=x"], ["--help"]])
def test_chosen_settings_keep_the_folder_and_the_arguments(user: Command, words: list[str]) -> None:
    assert user.types(*words, answers=()) == 0
    assert user.ran == [(words, user.home)]


def test_settings_in_the_environment_replace_the_file(
    user: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HETZNER_TOKEN", TOKEN)
    assert user.types(answers=()) == 0
    assert user.ran == [([], user.home)]


def test_an_unwritable_folder_is_reported(user: Command) -> None:
    (user.home / ".config").touch()
    told = str(user.types(answers=(TOKEN, "", PASSWORD)))
    assert f"Can't write {user.home}/.config/hetzner-dyndns/.env" in told


def test_files_of_the_old_version_are_used_where_the_document_moves_them(user: Command) -> None:
    (user.home / "backend").mkdir()
    (user.home / "backend/.secrets").write_text(f"HETZNER_TOKEN={TOKEN}\nREGISTERED_FQDNS=a.b.de")
    (user.home / "backend/pre-shared-key").write_text("a.b.de its-key\n")
    (block,) = (each.text for each in blocks() if "mv backend/.secrets" in each.text)
    subprocess.run(["bash", "-ec", block], check=True)
    folder = user.home / ".config/hetzner-dyndns"
    user.types()
    assert user.ran == [(["--env-file", str(folder / ".env")], folder)]
    assert user.settings(folder / ".env") == {
        "HETZNER_TOKEN": TOKEN,
        "REGISTERED_FQDNS": "a.b.de",
        "LISTEN_ADDRESS": "127.0.0.1",
        "LISTEN_PORT": "8080",
    }
    assert (folder / "pre-shared-key").read_text() == "a.b.de its-key\n"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / ".env")] == [448, 384]
