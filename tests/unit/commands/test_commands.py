"""The operator's commands, on the store and the key file of a service."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any, Iterator

import pytest

from backend import cli
from backend.auth.keys import KeyFile
from backend.errors import ChangeRefused
from backend.model import Hostname
from backend.store import Store, prepare_store
from backend.store.hosts import State
from backend.store.records import Accepted, Failed
from tests.unit.fakes import host, update

pytestmark = pytest.mark.usefixtures("short_wait_for_edits")

HOME, NAS = host("home.example.com"), host("nas.example.com")
NOW = 1_700_000_000.0


class Shell:
    """Runs commands on the store and the key file of a service."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.key_file = folder / "pre-shared-key"
        self._capture = capture
        self._database = folder / "store.db"
        url = f"sqlite:///{self._database}"
        self.environ = {
            "HETZNER_TOKEN": "t" * 64,
            "REGISTERED_FQDNS": f"{HOME},{NAS}",
            "PRE_SHARED_KEY_FILE": str(self.key_file),
            "STATE_URL": url,
        }
        KeyFile(self.key_file).complete([HOME, NAS])
        prepare_store(url)
        self.store = Store(url)
        self.store.hosts.register([HOME, NAS], NOW)

    def types(self, *words: str) -> tuple[int, str]:
        """Run a command; return its exit status and its output."""
        try:
            status = cli.run(list(words), self.environ)
        except SystemExit as ended:
            status = int(str(ended.code))
        captured = self._capture.readouterr()
        return status, captured.out + captured.err

    def reads(self, *words: str) -> Any:  # noqa: ANN401
        status, output = self.types(*words)
        assert status == 0
        return json.loads(output)

    def keys(self) -> dict[str, str]:
        return {name.text: key for name, key in KeyFile(self.key_file).accepted().newest.items()}

    def publish(self, address: str) -> None:
        """Store an update of HOME as published."""
        self.store.records.set_desired(update(address, name=HOME.text), NOW, 0)
        (record,) = self.store.records.of(HOME).values()
        self.store.records.note(Accepted(record), NOW)

    @contextlib.contextmanager
    def locked_store(self) -> Iterator[None]:
        """Hold a write lock on the store."""
        with contextlib.closing(sqlite3.connect(self._database, isolation_level=None)) as other:
            other.execute("begin immediate")
            yield

    def refuse(self, error: str) -> None:
        """Store an update of HOME as refused."""
        self.store.records.set_desired(update("198.51.100.7", name=HOME.text), NOW, 0)
        (record,) = self.store.records.of(HOME).values()
        self.store.records.note(
            Failed(
                record, State.REFUSED, ChangeRefused(error, hint="create the zone."), NOW + 3600
            ),
            NOW,
        )


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    shell = Shell(tmp_path, capsys)
    yield shell
    shell.store.close()


def muted_until(shell: Shell, name: Hostname) -> float | None:
    (found,) = (one for one in shell.store.hosts.registered(NOW) if one.host == name)
    return found.muted_until


def events(shell: Shell) -> list[str]:
    return [entry.event for entry in shell.store.history.find()]


def test_tables_show_names_as_they_are_written(shell: Shell) -> None:
    books = host("bücher.example.com")
    shell.environ["REGISTERED_FQDNS"] = books.text
    KeyFile(shell.key_file).complete([books])
    shell.store.hosts.register([books], NOW)
    shell.types("hosts", "mute", books.text, "3d")
    for command in (("hosts",), ("hosts", "list", books.text), ("keys", "list"), ("history",)):
        _, output = shell.types(*command)
        assert "bücher.example.com" in output
        assert "xn--" not in output
    assert shell.reads("hosts", "--json")[0]["host"] == books.text


def test_the_list_of_keys_shows_no_key(shell: Shell) -> None:
    status, output = shell.types("keys", "list")
    assert status == 0
    assert "43 characters" in output
    assert [key for key in shell.keys().values() if key in output or key[:6] in output] == []


def test_rotate_shows_the_new_key_and_removes_the_old(shell: Shell) -> None:
    before = shell.keys()
    status, output = shell.types("keys", "rotate", "NAS.example.com")
    after = shell.keys()
    assert status == 0
    assert after["nas.example.com"] in output
    assert len(after["nas.example.com"]) >= 43
    assert after["nas.example.com"] != before["nas.example.com"]
    assert after["home.example.com"] == before["home.example.com"]
    assert before["nas.example.com"] not in output
    assert events(shell) == ["rotated"]


def test_share_gives_the_second_host_the_first_key(shell: Shell) -> None:
    before = shell.keys()
    status, output = shell.types("keys", "share", HOME.text, NAS.text)
    assert (status, set(shell.keys().values())) == (0, {before[HOME.text]})
    assert before[HOME.text] not in output
    assert "shared with home.example.com" in shell.types("keys", "list")[1]


def test_sharing_a_key_again_changes_nothing(shell: Shell) -> None:
    text = f"{NAS} now has the key of {HOME}."
    old = " Its old key is no longer valid."
    assert shell.types("keys", "share", HOME.text, NAS.text) == (0, f"{text}{old}\n")
    before = shell.key_file.read_bytes()
    assert shell.types("keys", "share", HOME.text, NAS.text) == (0, f"{text}\n")
    assert shell.key_file.read_bytes() == before
    assert events(shell) == ["rotated"]


def test_share_mentions_no_old_key_where_none_was(shell: Shell) -> None:
    shell.key_file.write_text(f"{HOME} {'k' * 20}\n")
    text = f"{NAS} now has the key of {HOME}.\n"
    assert shell.types("keys", "share", HOME.text, NAS.text) == (0, text)


def test_a_host_cannot_share_its_key_with_itself(shell: Shell) -> None:
    before = shell.key_file.read_bytes()
    status, output = shell.types("keys", "share", HOME.text, "HOME.example.com.")
    assert status == 1
    assert "can't share its key with itself: name another host." in output
    assert shell.key_file.read_bytes() == before
    assert events(shell) == []


@pytest.mark.parametrize(
    "words", [("list",), ("rotate", HOME.text), ("share", HOME.text, NAS.text)]
)
@pytest.mark.parametrize(
    ("file", "hint"),
    [
        ("none", "run this in the service's folder"),
        (".", "it is a directory"),
        ("none/none", "create it, or name another file"),
    ],
)
def test_an_unusable_key_file_ends_with_a_hint(
    shell: Shell, tmp_path: Path, words: tuple[str, ...], file: str, hint: str
) -> None:
    shell.environ["PRE_SHARED_KEY_FILE"] = str(tmp_path / file)
    status, output = shell.types("keys", *words)
    assert (status, output.count("\n")) == (1, 1)
    assert hint in output


@pytest.mark.parametrize("words", [("rotate", HOME.text), ("share", NAS.text, HOME.text)])
def test_a_replaced_key_is_reported_while_the_store_is_locked(
    shell: Shell, words: tuple[str, ...]
) -> None:
    before = shell.keys()
    with shell.locked_store():
        status, output = shell.types("keys", *words)
    after = shell.keys()
    assert status == 0
    assert before[HOME.text] != after[HOME.text]
    assert "is no longer valid" in output
    assert (after[HOME.text] in output) is (words[0] == "rotate")


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "rotate", "strange.example.com"),
        ("keys", "share", "home.example.com", "strange.example.com"),
        ("keys", "share", "strange.example.com", "home.example.com"),
        ("hosts", "retry", "strange.example.com"),
        ("hosts", "drop", "strange.example.com"),
        ("hosts", "mute", "strange.example.com", "3d"),
        ("keys", "rotate", "no name"),
    ],
)
def test_an_unregistered_host_is_refused_and_nothing_changes(
    shell: Shell, words: tuple[str, ...]
) -> None:
    before = shell.key_file.read_bytes()
    status, output = shell.types(*words)
    assert status == 1
    assert "REGISTERED_FQDNS" in output or "host name" in output
    assert shell.key_file.read_bytes() == before
    assert events(shell) == []


def test_the_history_has_one_line_per_entry_oldest_first(shell: Shell) -> None:
    shell.refuse("a\nnasty <script> \x1b[31m error")
    shell.types("keys", "rotate", NAS.text)
    status, output = shell.types("history")
    lines = output.splitlines()
    assert (status, len(lines)) == (0, 3)
    assert "refused" in lines[1]
    assert "a nasty <script>  [31m error" in lines[1]
    assert "rotated" in lines[2]


def test_the_history_can_be_limited_by_host_time_and_number(shell: Shell) -> None:
    shell.refuse("an error")
    shell.types("keys", "rotate", NAS.text)
    assert [one["event"] for one in shell.reads("history", "--json")] == ["refused", "rotated"]
    assert [one["host"] for one in shell.reads("history", NAS.text, "--json")] == [NAS.text]
    assert [one["event"] for one in shell.reads("history", "--json", "--since", "1h")] == [
        "rotated"
    ]
    assert len(shell.reads("history", "--json", "--limit", "1")) == 1
    assert len(shell.reads("history", "--json", "--limit", "99999999999999999999")) == 2
    assert len(shell.reads("history", "--json", "--since", "2023-11-14")) == 2


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_the_history_of_an_unknown_host_is_an_error(shell: Shell, form: tuple[str, ...]) -> None:
    status, output = shell.types("history", "hoem.example.com", *form)
    assert status == 1
    assert "hoem.example.com isn't registered and has no history" in output
    assert shell.types("history", NAS.text, *form)[0] == 0  # registered, but without entries


def test_a_removed_host_keeps_its_history(shell: Shell) -> None:
    shell.types("keys", "rotate", NAS.text)
    shell.environ["REGISTERED_FQDNS"] = HOME.text
    assert len(shell.reads("history", NAS.text, "--json")) == 1
    assert shell.reads("history", NAS.text, "--json", "--since", "2100-01-01") == []


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5", ""])
def test_a_wrong_limit_is_explained(shell: Shell, limit: str) -> None:
    status, output = shell.types("history", f"--limit={limit}")
    assert status == 2
    assert "a whole number from 1 up" in output


@pytest.mark.parametrize("words", [("history", "--since", "soon"), ("hosts", "mute", "x.y", "?")])
def test_a_wrong_time_is_explained(shell: Shell, words: tuple[str, ...]) -> None:
    status, output = shell.types(*words)
    assert status == 2
    assert "2026-12-01" in output


def test_the_list_of_hosts_shows_errors_and_hints(shell: Shell) -> None:
    shell.refuse(f"No zone for {HOME} in any project of HETZNER_TOKEN")
    status, output = shell.types("hosts", "list")
    assert status == 0
    assert output.splitlines()[1].startswith("home.example.com  refused")
    assert "Create the zone." in output
    first, second = shell.reads("hosts", "list", "--json")
    assert (first["host"], first["state"], first["since"]) == (HOME.text, "refused", NOW)
    assert (second["host"], second["state"]) == (NAS.text, "never seen")


def test_retry_makes_a_refused_update_due_now(shell: Shell) -> None:
    shell.refuse("an error")
    assert shell.store.records.due_retries(NOW + 60, 9) == []
    assert shell.types("hosts", "retry", HOME.text) == (0, f"{HOME}: retrying 1 pending update.\n")
    (due,) = shell.store.records.due_retries(NOW * 2, 9)
    assert due.retry_at > NOW + 3600
    assert shell.types("hosts", "retry", NAS.text) == (0, f"{NAS} has no pending update.\n")


def test_drop_removes_the_update_with_its_error(shell: Shell) -> None:
    shell.refuse("an error")
    status, output = shell.types("hosts", "drop", HOME.text)
    assert (status, output.splitlines()[0]) == (0, f"{HOME}: dropped 1 failed update.")
    lost = "The address 198.51.100.7 will not be published; the record is no longer managed."
    assert f"A: {lost}" in output
    assert shell.store.records.of(HOME) == {}
    assert events(shell) == ["dropped", "refused"]
    assert shell.types("hosts", "drop", HOME.text) == (
        0,
        f"{HOME} has no update that Hetzner refuses.\n",
    )


def test_a_late_answer_to_a_dropped_update_changes_nothing(
    shell: Shell,
) -> None:
    shell.publish("198.51.100.6")
    shell.refuse("an error")
    (before,) = shell.store.records.of(HOME).values()
    shell.types("hosts", "drop", HOME.text)
    shell.store.records.note(Failed(before, State.REFUSED, ChangeRefused("too late"), NOW), NOW)
    (record,) = shell.store.records.of(HOME).values()
    assert (record.error, str(record.desired.address)) == ("", "198.51.100.6")
    assert shell.store.records.due_retries(NOW * 2, 9) == []


def test_a_host_is_muted_until_a_date(shell: Shell) -> None:
    assert shell.types("hosts", "mute", NAS.text, "2030-01-02")[0] == 0
    assert muted_until(shell, NAS) == 1893542400.0
    assert shell.types("hosts", "unmute", NAS.text)[0] == 0
    assert muted_until(shell, NAS) is None
    assert events(shell) == ["unmuted", "muted"]


@pytest.mark.parametrize("until", ["2020-01-01", "0d"])
def test_a_mute_until_the_past_is_refused(shell: Shell, until: str) -> None:
    status, output = shell.types("hosts", "mute", NAS.text, until)
    assert status == 2
    assert "in the future" in output
    assert events(shell) == []


@pytest.mark.parametrize("command", ["history", "hosts", "keys"])
def test_a_command_creates_no_store(shell: Shell, tmp_path: Path, command: str) -> None:
    shell.environ["STATE_URL"] = f"sqlite:///{tmp_path / 'other.db'}"
    status, output = shell.types(command, *([] if command == "history" else ["list"]))
    assert status == 1
    assert "start the service once" in output
    assert not (tmp_path / "other.db").exists()


def test_an_error_is_reported_again_after_its_update_was_dropped(shell: Shell) -> None:
    shell.refuse("an error")
    shell.types("hosts", "drop", HOME.text)
    shell.refuse("an error")
    assert events(shell) == ["refused", "dropped", "refused"]


def test_hosts_alone_lists_and_a_first_label_names_a_host(shell: Shell) -> None:
    assert shell.types("hosts") == shell.types("hosts", "list")
    status, output = shell.types("hosts", HOME.first_label)
    assert status == 0
    assert "origin" in output
    assert "REGISTERED_FQDNS" in output
    (found,) = (one for one in shell.reads("hosts", "--json") if one["host"] == HOME.text)
    assert shell.reads("hosts", HOME.first_label, "--json") == found
    assert found["origin"] == "REGISTERED_FQDNS"


def test_keys_as_json_show_no_key(shell: Shell) -> None:
    found = shell.reads("keys", "--json")
    assert found[0] == {
        "host": HOME.text,
        "registered": True,
        "characters": 43,
        "shared_with": [],
    }
    assert [key for key in shell.keys().values() if key in json.dumps(found)] == []


def test_a_first_label_of_several_hosts_is_refused(shell: Shell) -> None:
    shell.environ["REGISTERED_FQDNS"] = "nas.example.com,nas.example.net"
    status, output = shell.types("hosts", "nas")
    assert status == 1
    assert "name one of nas.example.com, nas.example.net" in output


@pytest.mark.parametrize("name", ["bücher", "BÜCHER", "xn--bcher-kva", "bücher.example.com."])
def test_an_idn_can_be_named_by_its_first_label(shell: Shell, name: str) -> None:
    shell.environ["REGISTERED_FQDNS"] = "bücher.example.com"
    shell.store.hosts.register([Hostname("xn--bcher-kva.example.com")], NOW)
    assert shell.reads("hosts", name, "--json")["host"] == "xn--bcher-kva.example.com"


def test_without_hosts_there_are_no_keys(shell: Shell) -> None:
    shell.key_file.unlink()  # the first start without hosts creates none
    assert "start the service once" in shell.types("keys", "list")[1]
    shell.environ["REGISTERED_FQDNS"] = ""
    assert shell.reads("keys", "list", "--json") == []


def test_a_command_that_calls_nobody_needs_no_token(shell: Shell) -> None:
    del shell.environ["HETZNER_TOKEN"]
    for words in (["hosts"], ["keys"], ["history"], ["setup", HOME.text]):
        assert shell.types(*words)[0] == 0
    status, output = shell.types("hosts", "add", "new.example.com")
    assert status == 1
    assert "HETZNER_TOKEN is missing" in output


def test_settings_come_from_a_file(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "settings"
    lines = [f"export {name}='{value}'" for name, value in shell.environ.items()]
    file.write_text("\ufeff# for the shell\n\n" + "\n".join(lines) + "\n")
    expected = shell.types("hosts")
    shell.environ = {}
    assert shell.types("hosts", "--env-file", str(file)) == expected
    assert shell.types("--env-file", str(file), "hosts", "list") == expected
    shell.environ = {"REGISTERED_FQDNS": HOME.text}  # has priority
    hosts = shell.reads("hosts", "--json", "--env-file", str(file))
    assert [one["host"] for one in hosts if one["origin"] == "REGISTERED_FQDNS"] == [HOME.text]


@pytest.mark.parametrize(
    ("content", "problem"),
    [("no assignment\n", "line 1 of"), (None, "No such file"), ("A=1\n=2\n", "line 2 of")],
)
def test_an_unusable_file_of_settings_is_refused(
    shell: Shell, tmp_path: Path, content: str | None, problem: str
) -> None:
    file = tmp_path / "settings"
    if content is not None:
        file.write_text(content)
    status, output = shell.types("hosts", "--env-file", str(file))
    assert status == 1
    assert problem in output
    assert "assignment" not in output
