from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path
from typing import Any, Callable

import certifi
import pytest

from backend.errors import SettingUnusable
from backend.readers import Variable
from backend.settings import VARIABLES, Settings, read
from backend.text import is_zone

from .fakes import host

TOKEN = "t" * 64
NEEDED = {"HETZNER_TOKEN": TOKEN, "REGISTERED_FQDNS": "host.example.com"}
_PRIVATE_RANGES = (
    *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"),
    *("::1/128", "fc00::/7", "fe80::/10"),
)
SECRETS = [
    *("HETZNER_TOKEN", "BASIC_AUTH_PASSWORD", "STATE_URL", "NTFY_PASSWORD", "NTFY_TOKEN"),
    *("NOTIFY_URLS", "HEARTBEAT_URL"),
]
URLS = ["NOTIFY_URLS", "HEARTBEAT_URL"]
PASSWORDS = ["BASIC_AUTH_PASSWORD", "NTFY_PASSWORD"]
# Settings that need another one.
PARTNERS = {
    "NTFY_URL": {"NTFY_TOPIC": "dyndns"},
    "NTFY_TOPIC": {"NTFY_URL": "https://ntfy.example.com"},
    "BASIC_AUTH_USERNAME": {"BASIC_AUTH_PASSWORD": "the-operators-password"},
    "BASIC_AUTH_PASSWORD": {"BASIC_AUTH_USERNAME": "admin"},
}


def settings(**environ: str) -> Settings:
    """Return the settings; these variables cause no warning."""
    found, warnings = read({**NEEDED, **environ})
    assert warnings == []
    return found


def warned(**environ: str) -> tuple[Settings, list[str]]:
    found, warnings = read({**NEEDED, **environ})
    return found, [str(warning) for warning in warnings]


def refused(**environ: str) -> str:
    with pytest.raises(SettingUnusable) as caught:
        read({**NEEDED, **environ})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def outcome(environ: dict[str, str]) -> tuple[Settings | None, list[str]]:
    """Return the settings and the warnings, or the error."""
    try:
        found, warnings = read(environ)
    except SettingUnusable as error:
        return None, [str(error)]
    return found, list(map(str, warnings))


def value(found: Settings, variable: Variable) -> object:
    carrier, attribute = variable.home.split(".")
    return getattr(getattr(found, carrier), attribute)


DEFAULTS: dict[str, Any] = {
    "HETZNER_TOKEN": (TOKEN,),
    "HETZNER_API_URL": "https://api.hetzner.cloud/v1",
    "ZONE_CACHE_TTL": 86400,
    "RECORD_TTL": 21600,
    "REQUEST_CACHE_TTL": 300,
    "REGISTERED_FQDNS": (host("host.example.com"),),
    "PRE_SHARED_KEY_FILE": Path("pre-shared-key"),
    "BASIC_AUTH_USERNAME": "",
    "BASIC_AUTH_PASSWORD": "",
    "TRUSTED_PROXIES": tuple(map(ipaddress.ip_network, _PRIVATE_RANGES)),
    "ALLOW_PRIVATE_ADDRESSES": False,
    "ACME_DNS": False,
    "IPV6_INTERFACE_IDS": {},
    "AUTH_FAILURE_LIMIT": 10,
    "AUTH_FAILURE_WINDOW": 900,
    "STATE_URL": "sqlite:///hetzner-dyndns.db",
    "HISTORY_DAYS": 90,
    "NTFY_URL": "",
    "NTFY_TOPIC": "",
    "NTFY_USERNAME": "",
    "NTFY_PASSWORD": "",
    "NTFY_TOKEN": "",
    "NTFY_CA_BUNDLE": None,
    "NOTIFY_URLS": (),
    "HEARTBEAT_URL": "",
    "NOTIFY_ON_CHANGE": False,
    "LOST_CONNECTION_TIMEOUT": 10800,
    "CONNECTION_CHECK_INTERVAL": 60,
    "DEBUG_LOGGING": False,
    "TZ": "",
    "LOG_FILE": None,
    "LOG_MAX_BYTES": 1048576,
    "LOG_BACKUP_COUNT": 3,
    "LISTEN_ADDRESS": "",
    "LISTEN_PORT": 80,
    "WEB_CONCURRENCY": 2,
    "THREADS": 8,
}

CHOSEN: dict[str, tuple[str, Any]] = {
    "HETZNER_TOKEN": ("one, two,one,", ("one", "two")),
    "HETZNER_API_URL": ("http://127.0.0.1:8090/v1//", "http://127.0.0.1:8090/v1"),
    "ZONE_CACHE_TTL": ("1", 1),
    "RECORD_TTL": ("60", 60),
    "REQUEST_CACHE_TTL": ("0", 0),
    "REGISTERED_FQDNS": (
        " B.example.com., a.example.com,,bücher.example.com,b.example.com",
        tuple(map(host, ("b.example.com", "a.example.com", "xn--bcher-kva.example.com"))),
    ),
    "PRE_SHARED_KEY_FILE": ("/pre-shared-key", Path("/pre-shared-key")),
    "BASIC_AUTH_USERNAME": ("admin", "admin"),
    "BASIC_AUTH_PASSWORD": ("a b:c of 16 letters", "a b:c of 16 letters"),
    "TRUSTED_PROXIES": (
        "192.0.2.1, 198.51.100.7/24,2001:db8::/32",
        tuple(map(ipaddress.ip_network, ("192.0.2.1/32", "198.51.100.0/24", "2001:db8::/32"))),
    ),
    "ALLOW_PRIVATE_ADDRESSES": ("1", True),
    "ACME_DNS": ("1", True),
    "IPV6_INTERFACE_IDS": (
        " Host.example.com. = ::211:32ff:fe11:2233 ,",
        {host("host.example.com"): ipaddress.IPv6Address("::211:32ff:fe11:2233")},
    ),
    "AUTH_FAILURE_LIMIT": ("1", 1),
    "AUTH_FAILURE_WINDOW": ("60", 60),
    "STATE_URL": ("postgresql+psycopg://u:p@db/x", "postgresql+psycopg://u:p@db/x"),
    "HISTORY_DAYS": ("1", 1),
    "NTFY_URL": ("https://ntfy.example.com/", "https://ntfy.example.com"),
    "NTFY_TOPIC": ("dyndns", "dyndns"),
    "NTFY_USERNAME": ("user", "user"),
    "NTFY_PASSWORD": ("pass word", "pass word"),
    "NTFY_TOKEN": ("tk_x", "tk_x"),
    "NTFY_CA_BUNDLE": (certifi.where(), Path(certifi.where())),
    "NOTIFY_URLS": (
        "json://a.example.com/x?to=a,b, mailto://me:p,w@b.example.com\ntgram://1:x/2",
        ("json://a.example.com/x?to=a,b", "mailto://me:p,w@b.example.com", "tgram://1:x/2"),
    ),
    "HEARTBEAT_URL": ("https://hc.example.com/a1/", "https://hc.example.com/a1"),
    "TZ": ("UTC", "UTC"),
    "NOTIFY_ON_CHANGE": ("1", True),
    "LOST_CONNECTION_TIMEOUT": (" 300 ", 300),
    "CONNECTION_CHECK_INTERVAL": ("5", 5),
    "DEBUG_LOGGING": ("1", True),
    "LOG_FILE": ("/log/dyndns.log", Path("/log/dyndns.log")),
    "LOG_MAX_BYTES": ("0", 0),
    "LOG_BACKUP_COUNT": ("0", 0),
    "LISTEN_ADDRESS": ("127.0.0.1", "127.0.0.1"),
    "LISTEN_PORT": ("65535", 65535),
    "WEB_CONCURRENCY": ("1", 1),
    "THREADS": ("1", 1),
}

# Name: too low, too high.
BOUNDS = {
    "ZONE_CACHE_TTL": ("0", "31536001"),
    "RECORD_TTL": ("59", "2147483648"),
    "REQUEST_CACHE_TTL": ("-1", "31536001"),
    "AUTH_FAILURE_LIMIT": ("0", "2147483648"),
    "AUTH_FAILURE_WINDOW": ("0", "31536001"),
    "HISTORY_DAYS": ("0", "36501"),
    "LOST_CONNECTION_TIMEOUT": ("0", "31536001"),
    "CONNECTION_CHECK_INTERVAL": ("0", "31536001"),
    "LOG_MAX_BYTES": ("-1", "2147483648"),
    "LOG_BACKUP_COUNT": ("-1", "1001"),
    "LISTEN_PORT": ("0", "65536"),
    "WEB_CONCURRENCY": ("0", "65"),
    "THREADS": ("0", "257"),
}


each_variable = pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)


def empty_warnings(name: str) -> list[str]:
    """Return the warnings that an empty value causes."""
    return [f"{name} is empty: using the default, {DEFAULTS[name]}."] if name in BOUNDS else []


@each_variable
def test_an_absent_setting_has_its_default(variable: Variable) -> None:
    assert variable.name in DEFAULTS, "a new setting needs an example here"
    assert value(settings(), variable) == DEFAULTS[variable.name]


@each_variable
@pytest.mark.parametrize("text", ["", " ", "\t\n", '""', "''", ' " " '])
def test_an_empty_setting_equals_an_absent_one(variable: Variable, text: str) -> None:
    name = variable.name
    if name == "HETZNER_TOKEN":
        assert refused(HETZNER_TOKEN=text).startswith("HETZNER_TOKEN is missing")
        return
    found, warnings = warned(**{name: text})
    assert value(found, variable) == (() if name == "REGISTERED_FQDNS" else DEFAULTS[name])
    quotes = [warning for warning in warnings if "quotes" in warning]
    assert [warning for warning in warnings if warning not in quotes] == empty_warnings(name)
    assert len(quotes) == ("'" in text or '"' in text)
    assert all(warning.startswith(f"{name} has quotes") for warning in quotes)


@each_variable
def test_every_setting_can_be_chosen(variable: Variable) -> None:
    assert variable.name in CHOSEN, "a new setting needs an example here"
    text, expected = CHOSEN[variable.name]
    environ = {variable.name: text, **PARTNERS.get(variable.name, {})}
    found = value(settings(**environ), variable)
    assert found == expected
    assert type(found) is type(expected)


@each_variable
@pytest.mark.parametrize("form", ['"{}"', "'{}'", ' " {} " ', "{name}={}", 'export {name}="{}"'])
def test_quotes_and_the_own_name_are_removed_with_a_warning(variable: Variable, form: str) -> None:
    name = variable.name
    text, expected = CHOSEN[name]
    found, warnings = warned(**{**PARTNERS.get(name, {}), name: form.format(text, name=name)})
    if name in PASSWORDS and "name" not in form:
        expected = form.format(text).strip()
    assert value(found, variable) == expected
    assert len(warnings) == len({*warnings}) == ("name" in form) + ("'" in form or '"' in form)
    assert all(warning.startswith(name) for warning in warnings)
    assert all(text not in warning for warning in warnings)


@pytest.mark.parametrize("name", ["HETZNER_TOKEN", "REGISTERED_FQDNS", "TRUSTED_PROXIES"])
def test_quotes_around_items_are_removed_with_one_warning(name: str) -> None:
    text, expected = CHOSEN[name]
    items = ",".join(f'"{item.strip()}"' for item in text.split(","))
    found, warnings = warned(**{name: items})
    (variable,) = (one for one in VARIABLES if one.name == name)
    assert value(found, variable) == expected
    assert warnings == [f"{name} has quotes around its value: they are ignored; remove them."]


@each_variable
@pytest.mark.parametrize("text", ['"', "'x", '"x', "\x07", "=", "a\nb", "\u200b", "x" * 3000])
def test_garbage_is_used_or_reported_with_the_settings_name(variable: Variable, text: str) -> None:
    found, said = outcome({**NEEDED, **PARTNERS.get(variable.name, {}), variable.name: text})
    assert all(variable.name in line for line in said)
    assert all(len(line.splitlines()) == 1 for line in said)
    if found is not None and not said:
        assert value(found, variable) in (text, (text,), Path(text), tuple(text.split()))


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("text", ["soon", "1.5", "6e4", "0x50", "1 000", "low", "high"])
def test_an_invalid_number_falls_back_with_a_warning(name: str, text: str) -> None:
    low, high = BOUNDS[name]
    found, warnings = warned(**{name: {"low": low, "high": high}.get(text, text)})
    (variable,) = (one for one in VARIABLES if one.name == name)
    assert value(found, variable) == DEFAULTS[name]
    (warning,) = warnings
    assert warning.startswith(f"{name} ")
    assert f"using the default, {DEFAULTS[name]}." in warning


def test_the_bounds_of_every_number_are_tested() -> None:
    numbers = {name for name, default in DEFAULTS.items() if type(default) is int}
    assert numbers == set(BOUNDS), "each number needs its bounds in BOUNDS"


@pytest.mark.parametrize("name", ["ALLOW_PRIVATE_ADDRESSES", "DEBUG_LOGGING", "NOTIFY_ON_CHANGE"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("1", True), ("true", True), ("YES", True), ("on", True)),
        *(("0", False), ("False", False), ("no", False), ("off", False)),
    ],
)
def test_a_switch_accepts_common_spellings(name: str, text: str, *, expected: bool) -> None:
    (variable,) = (one for one in VARIABLES if one.name == name)
    assert value(settings(**{name: text}), variable) is expected


@pytest.mark.parametrize("text", ["2", "maybe", "1 1"])
def test_an_invalid_switch_is_off_with_a_warning(text: str) -> None:
    found, warnings = warned(ALLOW_PRIVATE_ADDRESSES=text)
    assert found.access.allow_private is False
    (warning,) = warnings
    assert warning.startswith("ALLOW_PRIVATE_ADDRESSES must be 0 or 1: ")


@pytest.mark.parametrize(
    ("text", "chosen"),
    [("3600", 3600), ("21600", 21600), ("", None), ("soon", None), ("59", None)],
)
def test_existing_records_get_only_a_chosen_ttl(text: str, chosen: object) -> None:
    found, _ = warned(RECORD_TTL=text)
    assert found.records.chosen_ttl == chosen


@pytest.mark.parametrize(
    ("name", "partner"),
    [
        ("BASIC_AUTH_USERNAME", "BASIC_AUTH_PASSWORD"),
        ("BASIC_AUTH_PASSWORD", "BASIC_AUTH_USERNAME"),
        ("NTFY_URL", "NTFY_TOPIC"),
        ("NTFY_TOPIC", "NTFY_URL"),
    ],
)
def test_half_a_pair_is_refused_with_both_names(name: str, partner: str) -> None:
    error = refused(**{name: CHOSEN[name][0]})
    assert name in error
    assert partner in error


def test_an_operator_name_with_a_colon_is_refused() -> None:
    error = refused(BASIC_AUTH_USERNAME="ad:min", BASIC_AUTH_PASSWORD="pw")
    assert error.startswith("BASIC_AUTH_USERNAME can't contain a colon")


@pytest.mark.parametrize("text", ["", " ", ",", " , "])
def test_a_missing_token_is_refused_with_a_hint(text: str) -> None:
    error = refused(HETZNER_TOKEN=text)
    assert error.startswith("HETZNER_TOKEN is missing")
    assert "Read & Write" in error


@pytest.mark.parametrize(
    "text",
    ["to ken", "t\u00f6ken", '"token', "TOKEN=x", "to\u200bken", "to\x07ken", "good,b\u00e4d"],
)
def test_a_token_with_an_invalid_character_is_refused_unshown(text: str) -> None:
    error = refused(HETZNER_TOKEN=text)
    assert error.startswith("HETZNER_TOKEN")
    assert text not in error


def test_a_token_of_the_old_api_causes_a_warning() -> None:
    _, warnings = warned(HETZNER_TOKEN=f"{TOKEN},{'o' * 32}")
    (warning,) = warnings
    assert warning.startswith("HETZNER_TOKEN: ")
    assert "old DNS API" in warning
    assert "o" * 32 not in warning


def test_a_host_part_may_include_a_network_number() -> None:
    found = settings(IPV6_INTERFACE_IDS="host.example.com=::3:211:32ff:fe11:2233")
    (part,) = found.access.interface_ids.values()
    assert str(part) == "::3:211:32ff:fe11:2233"


def test_the_list_of_hosts_may_be_empty() -> None:
    found, warnings = warned(REGISTERED_FQDNS="")
    assert (found.access.hosts, warnings) == ((), [])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("REGISTERED_FQDNS", "host"),
        ("REGISTERED_FQDNS", "good.example.com,bad_name.example.com"),
        ("REGISTERED_FQDNS", "good.example.com;other.example.com"),
        ("REGISTERED_FQDNS", "https://host.example.com"),
        ("TRUSTED_PROXIES", "proxy.example.com"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("TRUSTED_PROXIES", "10.0.0.1 10.0.0.2"),
        ("IPV6_INTERFACE_IDS", "nas.example.com"),
        ("IPV6_INTERFACE_IDS", "nas.example.com="),
        ("IPV6_INTERFACE_IDS", "nas.example.com=::"),
        ("IPV6_INTERFACE_IDS", "nas.example.com=::1%eth0"),
        ("IPV6_INTERFACE_IDS", "nas.example.com=2001:db8:1:2:211:32ff:fe11:2233"),
        ("IPV6_INTERFACE_IDS", "nas.example.com=198.51.100.1"),
        ("IPV6_INTERFACE_IDS", "nas=::1"),
        ("HETZNER_API_URL", "api.hetzner.cloud/v1"),
        ("HETZNER_API_URL", "ftp://api.hetzner.cloud/v1"),
        ("HETZNER_API_URL", "https://"),
        ("HETZNER_API_URL", "https://[::1"),
        ("HETZNER_API_URL", "http://127.0.0.1:port/v1"),
        ("HETZNER_API_URL", "http://127.0.0.1:99999/v1"),
        ("NTFY_URL", "ntfy.example.com"),
        ("NTFY_URL", "https://ntfy example.com"),
    ],
)
def test_an_unusable_value_is_refused_with_its_name(name: str, text: str) -> None:
    error = refused(**{name: text, **PARTNERS.get(name, {})})
    assert error.startswith((f"{name}: ", f"{name} isn't a full URL"))


def test_the_invalid_host_name_is_named_among_many() -> None:
    assert "bad_name.example.com" in refused(
        REGISTERED_FQDNS="a.example.com,bad_name.example.com,b.example.com"
    )


@pytest.mark.parametrize("name", [name for name in SECRETS if name not in URLS])
class TestASecret:
    def read(self, name: str, environ: dict[str, str]) -> object:
        needed = {key: text for key, text in NEEDED.items() if key != name}
        found, _ = read({**needed, **PARTNERS.get(name, {}), **environ})
        (variable,) = (one for one in VARIABLES if one.name == name)
        text = value(found, variable)
        return text[0] if isinstance(text, tuple) else text

    def test_may_come_from_a_file(self, name: str, tmp_path: Path) -> None:
        file = tmp_path / "secret"
        file.write_text(" from-file\r\n")
        assert self.read(name, {f"{name}_FILE": str(file)}) == "from-file"

    def test_may_come_from_a_file_that_windows_wrote(self, name: str, tmp_path: Path) -> None:
        file = tmp_path / "secret"
        file.write_text("from-file\r\n", encoding="utf-8-sig")
        assert self.read(name, {f"{name}_FILE": str(file)}) == "from-file"

    def test_in_the_variable_precedes_the_file(self, name: str, tmp_path: Path) -> None:
        environ = {name: "from-variable", f"{name}_FILE": str(tmp_path / "absent")}
        assert self.read(name, environ) == "from-variable"

    def test_in_an_empty_variable_comes_from_the_file(self, name: str, tmp_path: Path) -> None:
        file = tmp_path / "secret"
        file.write_text("from-file")
        assert self.read(name, {name: " ", f"{name}_FILE": str(file)}) == "from-file"

    @pytest.mark.parametrize(
        "form", ["{}=x-y-z-x-y-z", " export {} = 'x-y-z-x-y-z'\n", '{}="x-y-z-x-y-z"\r\n']
    )
    def test_in_a_file_with_its_name_causes_a_warning(
        self, name: str, tmp_path: Path, form: str
    ) -> None:
        file = tmp_path / "secret"
        file.write_text(form.format(name))
        environ = {**PARTNERS.get(name, {}), **NEEDED, name: "", f"{name}_FILE": str(file)}
        if name == "STATE_URL":
            environ["STATE_URL"] = ""
        found, warnings = read(environ)
        (variable,) = (one for one in VARIABLES if one.name == name)
        assert value(found, variable) in ("x-y-z-x-y-z", ("x-y-z-x-y-z",))
        texts = [str(warning) for warning in warnings if "16 characters" not in str(warning)]
        assert texts[0] == f"{name}_FILE contains `{name}=`: write only the value."
        assert len(texts) == 1 + ("'" in form or '"' in form)
        assert "x-y-z-x-y-z" not in "".join(texts)

    def test_in_a_file_in_quotes_causes_a_warning(self, name: str, tmp_path: Path) -> None:
        file = tmp_path / "secret"
        file.write_text('"from-file"\n')
        text = self.read(name, {f"{name}_FILE": f"'{file}'"})
        assert text == ('"from-file"' if name in PASSWORDS else "from-file")

    def test_in_a_file_of_many_settings_is_refused(self, name: str, tmp_path: Path) -> None:
        file = tmp_path / "secret"
        file.write_text(f"NTFY_TOPIC=a topic\n{name}=from-file\n")
        with pytest.raises(SettingUnusable, match=f"^{name} has ") as caught:
            self.read(name, {f"{name}_FILE": str(file)})
        assert "from-file" not in str(caught.value)

    @pytest.mark.parametrize("problem", ["absent", "directory", "no text"])
    def test_in_an_unreadable_file_is_refused(
        self, name: str, tmp_path: Path, problem: str
    ) -> None:
        file = tmp_path / "secret"
        if problem == "directory":
            file.mkdir()
        elif problem == "no text":
            file.write_bytes(b"secret\xff")
        with pytest.raises(SettingUnusable) as caught:
            self.read(name, {f"{name}_FILE": str(file)})
        assert str(caught.value).startswith(f"{name}_FILE: can't read {file}")
        assert caught.value.__suppress_context__


def test_every_secret_is_tested_here() -> None:
    assert {variable.name for variable in VARIABLES if variable.is_secret} == set(SECRETS)


def test_a_file_may_have_a_token_on_each_line(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# one project\none\n\n# the other one\n'two'\n")
    found, (warning,) = warned(HETZNER_TOKEN="", HETZNER_TOKEN_FILE=str(file))
    assert found.hetzner.tokens == ("one", "two")
    assert warning.startswith("HETZNER_TOKEN has quotes")


def test_an_empty_file_is_an_absent_secret(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("\n")
    assert settings(STATE_URL_FILE=str(file)).store.url == "sqlite:///hetzner-dyndns.db"
    with pytest.raises(SettingUnusable, match="HETZNER_TOKEN is missing"):
        read({"HETZNER_TOKEN_FILE": str(file)})


def test_hosts_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("a.example.com,b.example.com\n c.example.com\r\n\na.example.com\n")
    hosts = settings(REGISTERED_FQDNS="", REGISTERED_FQDNS_FILE=str(file)).access.hosts
    assert list(map(str, hosts)) == ["a.example.com", "b.example.com", "c.example.com"]


def test_the_file_of_hosts_may_have_comments(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("# firewalls, of both houses\na.example.com\n  #b.example.com\nc.example.com\n")
    hosts = settings(REGISTERED_FQDNS="", REGISTERED_FQDNS_FILE=str(file)).access.hosts
    assert [host.text for host in hosts] == ["a.example.com", "c.example.com"]
    with pytest.raises(SettingUnusable, match="# firewalls"):
        settings(REGISTERED_FQDNS="# firewalls")


@pytest.mark.parametrize("is_file", [False, True])
def test_a_short_operator_password_causes_a_warning(tmp_path: Path, *, is_file: bool) -> None:
    def warnings(password: str) -> list[str]:
        given = {"BASIC_AUTH_PASSWORD": password}
        if is_file:
            path = tmp_path / "password"
            path.write_text(f"{password}\n", encoding="utf-8")
            given = {"BASIC_AUTH_PASSWORD_FILE": str(path)}
        return warned(BASIC_AUTH_USERNAME="admin", **given)[1]

    (error,) = warnings("fifteen-letters")
    for part in ("BASIC_AUTH_PASSWORD", "16 characters", "choose a longer password"):
        assert part in error
    assert "fifteen" not in error
    assert warnings("sixteen-letters!") == []


def test_only_secrets_and_hosts_come_from_files(tmp_path: Path) -> None:
    assert settings(NTFY_TOPIC_FILE=str(tmp_path / "absent")).ntfy.topic == ""


@pytest.mark.parametrize("show", [repr, str])
def test_the_text_of_the_settings_has_no_secret(show: Callable[[object], str]) -> None:
    secrets = {
        "HETZNER_TOKEN": "SECRET-1",
        "BASIC_AUTH_PASSWORD": "SECRET-2-of-an-operator",
        "STATE_URL": "postgresql+psycopg://u:SECRET-3@db/x",
        "NTFY_PASSWORD": "SECRET-4",
        "NTFY_TOKEN": "SECRET-5",
        "NOTIFY_URLS": "json://host.example.com/SECRET-7",
        "HEARTBEAT_URL": "https://host.example.com/SECRET-8",
    }
    assert set(secrets) == set(SECRETS)
    logins = {
        "NTFY_URL": "https://u:SECRET-6@ntfy.example.com",
        "NTFY_TOPIC": "dyndns",
        "HETZNER_API_URL": "https://SECRET-7@api.example.com",
    }
    found = settings(BASIC_AUTH_USERNAME="admin", **secrets, **logins)
    assert "SECRET" not in show(found)
    for field in dataclasses.fields(found):
        assert "SECRET" not in show(getattr(found, field.name))
    assert "host.example.com" in show(found), "other values are shown"


def test_variables_of_other_programs_are_ignored() -> None:
    assert settings(PATH="/bin", RECORD_TTLS="x") == settings()


def test_every_setting_has_its_own_name_and_field() -> None:
    assert len({variable.name for variable in VARIABLES}) == len(VARIABLES)
    assert len({variable.home for variable in VARIABLES}) == len(VARIABLES)


def test_every_secret_and_every_login_in_a_url_is_masked() -> None:
    settings, _ = read(
        {
            "HETZNER_TOKEN": "token-one,token-two",
            "BASIC_AUTH_USERNAME": "admin",
            "BASIC_AUTH_PASSWORD": "the-operators",
            "NTFY_URL": "https://me:ntfy%20url@ntfy.example.com",
            "NTFY_TOPIC": "dyndns",
            "NTFY_PASSWORD": "ntfy-password",
            "NTFY_TOKEN": "ntfy-token",
            "HETZNER_API_URL": "https://api-token@api.example.com",
            "STATE_URL": "postgresql+psycopg://dyndns:p%40ss@db/name",
        }
    )
    secrets = set(settings.secrets())
    assert secrets >= {
        *("token-one", "token-two", "the-operators", "ntfy-password", "ntfy-token"),
        *("ntfy%20url", "ntfy url", "api-token", "p%40ss", "p@ss"),
        "postgresql+psycopg://dyndns:p%40ss@db/name",
    }
    assert not secrets & {"admin", "dyndns", "me"}


def test_an_unknown_time_zone_is_utc_with_a_warning() -> None:
    settings, warnings = read({**NEEDED, "TZ": "Europe/Atlantis"})
    assert settings.log.zone == ""
    assert "TZ: 'Europe/Atlantis' isn't a time zone of this system: using UTC." in str(warnings[0])


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "Europe", "UTC\n", "a b"])
def test_a_time_zone_is_a_name(name: str) -> None:
    assert not is_zone(name)


@pytest.mark.parametrize(("text", "reason"), [(None, "No such file"), ("x", "no certificate")])
def test_unusable_certificates_stop_the_start(
    tmp_path: Path, text: str | None, reason: str
) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingUnusable, match=f"NTFY_CA_BUNDLE: can't read .*{reason}"):
        read({**NEEDED, "NTFY_CA_BUNDLE": str(file)})


def test_all_parts_of_channels_and_the_heartbeat_are_secret() -> None:
    urls = "mailto://me:pw@mail.example.com?to=owner@example.com,tgram://123456789:AAx%2Bsecret/555"
    heartbeat = "https://hc.example.com/6e1f0c3a-uuid"
    settings, _ = read({**NEEDED, "NOTIFY_URLS": urls, "HEARTBEAT_URL": heartbeat})
    secrets = set(settings.secrets())
    assert {*urls.split(","), "pw", "123456789", "AAx+secret", "AAx%2Bsecret"} <= secrets
    assert {heartbeat, "6e1f0c3a-uuid"} <= secrets
    assert not secrets & {"mail.example.com", "example.com", "hc.example.com"}
    assert "secret" not in repr(settings)
    assert "6e1f0c3a" not in repr(settings)


def test_urls_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("# mail\njson://a.example.com/x\njson://b.example.com\n", encoding="utf-8")
    urls = settings(NOTIFY_URLS_FILE=str(file)).ntfy.urls
    assert urls == ("json://a.example.com/x", "json://b.example.com")
    file.write_text("https://hc.example.com/a1\n", encoding="utf-8")
    assert settings(HEARTBEAT_URL_FILE=str(file)).ntfy.heartbeat_url == "https://hc.example.com/a1"
