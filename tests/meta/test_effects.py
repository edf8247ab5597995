"""Each setting has its effect: a start gives its value to every part that needs it."""

from __future__ import annotations

import shutil
from pathlib import Path

import certifi
import pytest

from backend.readers import Variable
from backend.server import gunicorn
from backend.settings import VARIABLES
from tests.meta import effects
from tests.ports import free_port

# Two values of each kind of setting.
VALUES = {
    "line": ("one-text-of-some-length", "other-text-of-some-length"),
    "password": ("one-password-of-some-length", "other-password-of-some-length"),
    "tokens": ("a" * 64, "b" * 64),
    "number": ("30", "31"),
    "switch": ("0", "1"),
    "hosts": ("home.example.com", "home.example.com,nas.example.com"),
    "interface_ids": ("home.example.com=::1", "home.example.com=::2"),
    "networks": ("10.0.0.0/8", "192.168.0.0/16"),
    "url": ("https://one.example.com", "https://other.example.com"),
    "path": ("one", "other"),
    "key_file": ("one", "other"),
    "channels": ("json://one.example.com", "json://other.example.com"),
    "certificates": ("one.pem", "other.pem"),
    "zone": ("UTC", "Etc/UTC"),
}
SPECIAL = {"LISTEN_ADDRESS": ("127.0.0.1", "127.0.0.2"), "RECORD_TTL": ("60", "61")}
# Who uses a setting, where that isn't only the service; logs leave out every secret.
CONSUMERS: dict[str, set[str]] = {
    "DEBUG_LOGGING": {"log", "service"},
    "TZ": set(),  # it sets the time zone of the process
    "LOG_FILE": {"log"},
    "LOG_MAX_BYTES": {"log"},
    "LOG_BACKUP_COUNT": {"log"},
    "LISTEN_ADDRESS": {"socket"},
    "LISTEN_PORT": {"socket"},
    "WEB_CONCURRENCY": {"gunicorn"},
    "THREADS": {"gunicorn", "service"},
    "ACME_DNS": {"gunicorn", "service"},
}


def values(variable: Variable) -> tuple[str, str]:
    if variable.name == "LISTEN_PORT":
        return str(free_port()), str(free_port())
    kind = variable.read.__name__
    one, other = SPECIAL.get(variable.name, VALUES[kind])
    if variable.name == "STATE_URL":
        return f"sqlite:///{one}", f"sqlite:///{other}"
    if kind in ("path", "key_file"):
        return f"{variable.name}-{one}", f"{variable.name}-{other}"
    return one, other


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_a_setting_reaches_all_its_consumers(
    variable: Variable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # The library may be missing here, and it would refuse these values.
    monkeypatch.setattr(gunicorn, "check_urls", lambda _: None)
    for name in VALUES["certificates"]:
        shutil.copy(certifi.where(), name)
    environ = {one.name: values(one)[0] for one in VARIABLES}
    if variable.name in ("NTFY_USERNAME", "NTFY_PASSWORD"):
        del environ["NTFY_TOKEN"]  # which counts before them
    changed = {**environ, variable.name: values(variable)[1]}
    before, again, after = map(effects.of, (environ, environ, changed))
    reached = {
        consumer
        for consumer, parts in before.items()
        # Differences between two equal starts are random.
        if effects.differences(parts, after[consumer]) - effects.differences(parts, again[consumer])
    }
    default = {"log", "service"} if variable.is_secret else {"service"}
    assert reached == CONSUMERS.get(variable.name, default)
