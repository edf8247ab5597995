"""Every key and host reaches its device unchanged: each text is parsed as its target parses it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Callable
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
import yaml
from hypothesis import assume, given, settings, strategies as st

from backend.model import Hostname
from backend.setup_guides import DEVICES, snippet

from .fakes import host

URL = "https://your-backend.example.com:8443/~dyndns"
HOSTS = [
    host("host.example.com"),
    host("*.home.example.com"),
    host("müller.example.com"),
    host("*.straße.example"),
    host("xn--bcher-kva.example.com"),
]
PIECES = [
    *("'", '"', "\\", "%", "$", "#", ": ", "${HOME}", "$(id)", "`id`", "\\n", "''", '\\"', "\\'"),
    *("\\%", "%PATH%", "^", "&", "|", "<", ">", "!", "?", "*", "{", "}", "[", "]", ",", "@", "~"),
    *(
        "yes",
        "0x1f",
        "1e5",
        "null",
        "-",
        "=",
        ";",
        "password=",
        "END",
        "host",
        "ä",
        "€",
        "\u2019",
        "😀",
    ),
]
# A key has no white space and no control characters.
PRINTABLE = st.characters(min_codepoint=33, blacklist_categories=("Z", "C"))
KEYS = st.one_of(
    st.text(PRINTABLE, min_size=1, max_size=40),
    st.lists(st.sampled_from(PIECES).map(str.strip), min_size=1, max_size=8).map("".join),
)
each_login = given(st.sampled_from(HOSTS), KEYS)
# Some examples start a shell.
few = settings(max_examples=60, deadline=None)


def text_for(device: str, name: Hostname, key: str) -> str:
    return snippet(device, name, key, URL).text


def ran_by_sh(script: str, *stubs: str) -> list[list[str]]:
    """Run a script, and return the arguments of each call of the stubs."""
    record = """ { printf '%s\\0' "$@"; printf '\\n\\0'; }; """
    functions = "".join(f"{stub}(){record}" for stub in stubs)
    ran = subprocess.run(["sh", "-euc", functions + script], capture_output=True, check=True)
    assert ran.stderr == b""
    calls = ran.stdout.decode().split("\0\n\0")
    assert calls.pop() == ""
    return [call.split("\0") for call in calls]


@few
@each_login
def test_sh_passes_the_login_to_curl(name: Hostname, key: str) -> None:
    ((*_, option, login, url),) = ran_by_sh(text_for("curl", name, key).splitlines()[0], "curl")
    assert (option, login) == ("-u", f"{name}:{key}")
    assert url == f"{URL}/nic/update?hostname={name}"


def seen_by_debian(command: str) -> str:
    """Return the shell command of a line: a `%` ends it, unless it follows a backslash."""
    command = re.split(r"(?<!\\)%", command)[0]
    return command.replace("\\%", "%")


def seen_by_busybox(command: str) -> str:
    return command


@pytest.mark.parametrize("cron", [seen_by_debian, seen_by_busybox])
@few
@each_login
def test_cron_passes_the_key_to_curl(cron: Callable[[str], str], name: Hostname, key: str) -> None:
    line = text_for("cron", name, key).splitlines()[0]
    *times, command = line.split(None, 5)
    assert times == ["*/5", "*", "*", "*", "*"]
    (words,) = ran_by_sh(cron(command), "curl")
    assert words[words.index("-d") - 1] == f"X-Pre-Shared-Key: {key}"
    assert words[words.index("-d") + 1 :] == [f'{{"fqdn":"{name}"}}', f"{URL}/update"]


def read_uci(text: str) -> list[dict[str, str]]:
    """Return the options of each section; UCI quotes like a POSIX shell."""
    sections: list[dict[str, str]] = []
    for words in map(shlex.split, text.splitlines()):
        if words[:1] == ["config"]:
            sections.append({})
        elif words:
            option, name, value = words
            assert option == "option"
            sections[-1][name] = value
    return sections


@few
@each_login
def test_uci_reads_host_and_key(name: Hostname, key: str) -> None:
    script, _, _ = text_for("openwrt", name, key).partition("\n/etc/init.d/ddns")
    assert ">>/etc/config/ddns" in script
    script = script.replace(">>/etc/config/ddns", "")
    ran = subprocess.run(
        ["sh", "-euc", f"opkg() {{ :; }}\n{script}\n"], capture_output=True, check=True
    )
    sections = read_uci(ran.stdout.decode())
    assert len(sections) == 2
    for section in sections:
        assert section["domain"] == section["username"] == name.text
        assert section["password"] == key
        # dynamic_dns_functions.sh: the host that it looks up may contain no `*`
        assert re.fullmatch(r"[@a-zA-Z0-9.:_-]+", section["lookup_host"])
        assert section["lookup_host"].partition(".")[2] == name.text.partition(".")[2]


@few
@each_login
def test_sh_passes_the_login_to_the_client(name: Hostname, key: str) -> None:
    lines = "\n".join(text_for("client", name, key).splitlines()[:2])
    script = lines.replace("python update_dns.py", 'python "$PRE_SHARED_KEY"')
    assert ran_by_sh(script, "python") == [[key, URL, name.text]]


@each_login
def test_yaml_reads_the_settings_of_the_client(name: Hostname, key: str) -> None:
    text = text_for("client", name, key)
    block = text.partition("In client/docker-compose.yml:\n")[2].partition("\n\n")[0]
    found = yaml.safe_load(block)["environment"]
    written = found.pop("PRE_SHARED_KEY")
    assert found == {"BACKEND_URL": URL, "FQDN": name.text}
    # Compose replaces `$NAME` and `${NAME}`; `$$` is a `$`.
    assert "$" not in written.replace("$$", "")
    assert written.replace("$$", "$") == key


def read_inadyn(text: str) -> dict[str, str]:
    """Return the quoted values as libConfuse reads them."""
    found = re.findall(r'^    ([\w-]+) *= "((?:[^"\\]|\\.)*)"$', text, re.MULTILINE)
    for _, value in found:
        assert "${" not in re.sub(r"\\.", "", value), "libConfuse inserts a variable here"
        assert not re.search(r"(?<!\\)(\\\\)*\\[0-9xabefnrtv]", value), "an escape of libConfuse"
    return {name: re.sub(r"\\(.)", r"\1", value) for name, value in found}


@each_login
def test_inadyn_reads_host_and_key(name: Hostname, key: str) -> None:
    found = read_inadyn(text_for("inadyn", name, key))
    assert found["password"] == key
    assert found["username"] == found["hostname"] == name.text


def routeros_string(text: str) -> str:
    """Return the string that begins after the opening quote of a text."""
    found = re.match(r'((?:[^"\\]|\\.)*)"', text, re.DOTALL)
    assert found is not None
    assert not re.search(r"(?<!\\)(?:\\\\)*\$", found[1]), "RouterOS inserts a variable here"
    text = re.sub(r"\\\n *", "", found[1])
    assert set(re.findall(r"\\(.)", text)) <= set('"\\$?')
    return re.sub(r"\\(.)", r"\1", text)


@each_login
def test_routeros_reads_host_and_key(name: Hostname, key: str) -> None:
    text = text_for("mikrotik", name, key)
    script = routeros_string(text.partition(' source="')[2])
    assert f' url="{URL}/nic/update?hostname={name}" user="{name}" password="' in script
    assert routeros_string(script.partition('" password="')[2]) == key


@each_login
def test_powershell_reads_host_and_key(name: Hostname, key: str) -> None:
    text = text_for("powershell", name, key)
    found = re.search(r"@\{ 'X-Pre-Shared-Key'=(\S+) \} -Body @\{ fqdn='(\S+)' \}\\\"\"$", text)
    assert found is not None
    # These characters have no special meaning in cmd.exe, schtasks and PowerShell.
    assert re.fullmatch(r"'[\w-]*'(\+\[char\][0-9]{1,5}\+'[\w-]*')*", found[1], re.ASCII)
    units = [
        int(number).to_bytes(2, "little") if number else word.encode("utf-16-le")
        for number, word in re.findall(r"\[char\]([0-9]+)|'([^']*)'", found[1])
    ]
    assert b"".join(units).decode("utf-16-le") == key
    assert found[2] == name.text


@pytest.mark.parametrize("device", ["any", "speedport", "vodafone"])
@each_login
def test_a_url_contains_the_login(device: str, name: Hostname, key: str) -> None:
    urls = re.findall(r"https://\S+hostname=\S+", text_for(device, name, key))
    logins = []
    for parts in map(urlsplit, urls):
        query = dict(parse_qsl(parts.query, strict_parsing=True, encoding="utf-8"))
        assert query["hostname"] == name.text
        assert f"{parts.hostname}:{parts.port}" == "your-backend.example.com:8443"
        if parts.password is not None:
            logins.append((parts.username, unquote(parts.password)))
        if "pass" in query:
            logins.append((query["user"], query["pass"]))
    assert set(logins) == {(name.text, key)}


SHOW_DDCLIENT = """
require "/usr/bin/ddclient";
my (%config, %globals);
ddclient::read_config($ARGV[0], \\%config, \\%globals);
print join "\\n", map { "$_\\n$config{$_}{login}\\n$config{$_}{password}" } keys %config;
"""


@pytest.mark.real("ddclient", "perl")
@settings(max_examples=15, deadline=None)  # each starts Perl
@each_login
def test_ddclient_reads_host_and_key(
    tmp_path_factory: pytest.TempPathFactory, name: Hostname, key: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "ddclient.conf"
    file.write_text(f"{text_for('ddclient', name, key)}\n", encoding="utf-8")
    file.chmod(0o600)
    command = ["perl", "-e", SHOW_DDCLIENT, str(file)]
    ran = subprocess.run(command, capture_output=True, check=True)
    assert ran.stdout.decode().split("\n") == [name.text, name.text, key]


@pytest.mark.real("inadyn")
@few
@each_login
def test_inadyn_accepts_the_file(
    tmp_path_factory: pytest.TempPathFactory, name: Hostname, key: str
) -> None:
    file = Path(tmp_path_factory.getbasetemp()) / "inadyn.conf"
    file.write_text(f"{text_for('inadyn', name, key)}\n", encoding="utf-8")
    subprocess.run(["inadyn", "--check-config", "-f", str(file)], check=True)


@few
@each_login
def test_compose_reads_the_settings_of_the_client(name: Hostname, key: str) -> None:
    found = yaml.safe_load(text_for("compose", name, key))["services"]["client"]["environment"]
    written = found.pop("PRE_SHARED_KEY")
    assert found == {"BACKEND_URL": URL, "FQDN": name.text}
    assert "$" not in written.replace("$$", "")
    assert written.replace("$$", "$") == key


CLIENTS_IN_SH = {
    "lego": ("lego", "HTTPREQ_ENDPOINT", "HTTPREQ_USERNAME", "HTTPREQ_PASSWORD", "/acme"),
    "acme.sh": (
        *("acme.sh", "ACMEDNS_BASE_URL", "ACMEDNS_USERNAME", "ACMEDNS_PASSWORD"),
        "/acme-dns",
    ),
}


@pytest.mark.parametrize("device", CLIENTS_IN_SH)
@few
@each_login
def test_sh_passes_the_login_to_a_client_of_acme(device: str, name: Hostname, key: str) -> None:
    program, url, user, secret, path = CLIENTS_IN_SH[device]
    script, _ = text_for(device, name, key).split("\n\n", 1)
    script = re.sub(rf"^{re.escape(program)} .*", "env -0", script, flags=re.MULTILINE)
    ran = subprocess.run(["sh", "-euc", script], capture_output=True, check=True)
    found = dict(one.split("=", 1) for one in ran.stdout.decode().split("\0") if one)
    assert (found[url], found[user], found[secret]) == (f"{URL}{path}", name.text, key)


@few
@each_login
def test_the_hook_of_certbot_passes_the_login_to_curl(name: Hostname, key: str) -> None:
    script, _ = text_for("certbot", name, key).split("\n\nThen, as root:\n")
    variables = "CERTBOT_DOMAIN=home.example.com CERTBOT_VALIDATION=value; set -- present\n"
    # The key isn't an argument, which other users of the machine could see.
    ((*_, fqdn, _, value, url),) = ran_by_sh(f"{variables}{script}", "curl")
    assert (fqdn, value) == ("fqdn=_acme-challenge.home.example.com", "value=value")
    assert url == f"{URL}/acme/present"
    script = f"curl() {{ cat; }}\n{variables}{script}"
    ran = subprocess.run(["sh", "-euc", script], capture_output=True, check=True, text=True)
    # In quotes, curl removes the backslash before a character.
    found = re.fullmatch(r'user = "((?:[^"\\]|\\.)*)"\n', ran.stdout)
    assert found
    assert re.sub(r"\\(.)", r"\1", found[1]) == f"{name}:{key}"


@few
@each_login
def test_yaml_reads_the_settings_of_traefik(name: Hostname, key: str) -> None:
    text = text_for("traefik", name, key)
    block = text.partition("of Traefik:\n")[2].partition("\n\n")[0]
    found = yaml.safe_load(block)["environment"]
    written = found["HTTPREQ_PASSWORD"]
    assert (found["HTTPREQ_ENDPOINT"], found["HTTPREQ_USERNAME"]) == (f"{URL}/acme", name.text)
    assert "$" not in written.replace("$$", "")
    assert written.replace("$$", "$") == key


@few
@each_login
def test_kubernetes_reads_the_account_of_cert_manager(name: Hostname, key: str) -> None:
    text = text_for("cert-manager", name, key).rpartition("\n\n")[0]
    secret, issuer = yaml.safe_load_all(text)
    parent = name.text[2:] if name.is_wildcard else name.text
    account = json.loads(secret["stringData"]["acmedns.json"])[parent]
    assert (account["username"], account["password"]) == (name.text, key)
    (solver,) = issuer["spec"]["acme"]["solvers"]
    assert solver["dns01"]["acmeDNS"]["host"] == f"{URL}/acme-dns"


@pytest.mark.real("caddy")
@settings(max_examples=15, deadline=None)  # each starts Caddy
@each_login
def test_caddy_reads_the_login(
    tmp_path_factory: pytest.TempPathFactory, name: Hostname, key: str
) -> None:
    # No Caddyfile can contain these: {$NAME} is a variable, and nothing else escapes a backtick.
    assume("{$" not in key and not ("`" in key and "\\" in key))
    lines = text_for("caddy", name, key).splitlines()
    tokens = [line.split(maxsplit=1)[1] for line in lines if line.startswith("\t\t\t")]
    file = tmp_path_factory.getbasetemp() / "Caddyfile"
    file.write_text(
        ":1 {\n" + "".join(f"respond /{n} {t}\n" for n, t in enumerate(tokens)) + "}\n", "utf-8"
    )
    command = ["caddy", "adapt", "--config", str(file), "--adapter", "caddyfile"]
    ran = subprocess.run(command, capture_output=True, check=True)
    bodies = set(re.findall(r'"body":("(?:[^"\\]|\\.)*")', ran.stdout.decode()))
    assert set(map(json.loads, bodies)) == {name.text, key, f"{URL}/acme-dns"}


def test_every_device_with_its_own_syntax_is_tested() -> None:
    key = "a'b\\c%d$e\"f"
    quoting = {one for one in DEVICES if text_for(one, HOSTS[0], key).count(key) == 0}
    assert quoting == {
        *("openwrt", "mikrotik", "inadyn", "curl", "cron", "powershell", "client"),
        *("lego", "traefik", "certbot", "acme.sh", "cert-manager", "compose"),
    }, "a new device needs a test here"
