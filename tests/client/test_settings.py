from __future__ import annotations

from pathlib import Path

import certifi
import pytest

from client.update_dns import Settings, SettingUnusable, read

from .conftest import KEY

LEAST = {
    "BACKEND_URL": "https://dyndns.example.com",
    "FQDN": "host.example.com",
    "PRE_SHARED_KEY": KEY,
}


def settings(*args: str, **variables: str) -> Settings:
    return read({**LEAST, **variables}, args)[0]


def notes(**variables: str) -> list[str]:
    return read({**LEAST, **variables}, [])[1]


def keys(**variables: str) -> dict[str, str]:
    return {record.host: record.key for record in settings(**variables).records}


def test_a_url_a_name_and_a_key_are_sufficient() -> None:
    found, warned = read(LEAST, [])
    assert found.endpoint == "https://dyndns.example.com/update"
    assert [str(record) for record in found.records] == ["host.example.com A"]
    assert (found.ip, found.interval, found.verify) == (None, 60, certifi.where())
    assert found.heartbeat is None
    assert warned == []


def test_arguments_win_over_variables_and_empty_ones_do_not() -> None:
    found = settings("https://other.example.com", "", "198.51.100.7", IP="198.51.100.1")
    assert found.endpoint == "https://other.example.com/update"
    assert found.records[0].host == "host.example.com"
    assert found.ip == "198.51.100.7"


def test_an_empty_variable_counts_as_absent() -> None:
    empty = ("IP", "INTERVAL", "CA_BUNDLE", "VERIFY_SSL", "RECORD_TYPES", "PRE_SHARED_KEY_FILE")
    assert read({**LEAST, **dict.fromkeys(empty, " ")}, []) == read(LEAST, [])


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://d.example.com/", "https://d.example.com/update"),
        ("https://d.example.com/update", "https://d.example.com/update"),
        ("https://d.example.com/update/", "https://d.example.com/update"),
        ("https://d.example.com/nic/update", "https://d.example.com/update"),
        ("https://d.example.com:8443/dns", "https://d.example.com:8443/dns/update"),
        ("HTTPS://d.example.com", "HTTPS://d.example.com/update"),
        ("http://[::1]:8080", "http://[::1]:8080/update"),
    ],
)
def test_the_url_may_hold_the_path_already(url: str, endpoint: str) -> None:
    assert settings(url).endpoint == endpoint


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"BACKEND_URL": ""}, "BACKEND_URL is not set"),
        (
            {"BACKEND_URL": "dyndns.example.com"},
            "BACKEND_URL 'dyndns.example.com' doesn't begin with http://",
        ),
        ({"BACKEND_URL": "localhost:8080"}, "doesn't begin with http:// or https://"),
        ({"BACKEND_URL": "ftp://dyndns.example.com"}, "doesn't begin with http:// or https://"),
        ({"BACKEND_URL": "https://"}, "BACKEND_URL 'https://' is not a valid URL"),
        ({"BACKEND_URL": "https://d.example.com:port"}, "BACKEND_URL"),
        ({"BACKEND_URL": "https://d.example.com/?key=1"}, "BACKEND_URL"),
        ({"BACKEND_URL": "https://[::1"}, "BACKEND_URL"),
        ({"BACKEND_URL": f"https://host:{KEY}@d.example.com"}, "BACKEND_URL contains a login"),
        ({"FQDN": ""}, "FQDN is not set"),
        ({"FQDN": " , "}, "FQDN is not set"),
        (
            {"FQDN": "https://host.example.com"},
            "FQDN 'https://host.example.com' is not a host name",
        ),
        ({"FQDN": "host.example.com\nERROR"}, r"FQDN 'host.example.com\nERROR' is not a host name"),
        ({"PRE_SHARED_KEY": ""}, "PRE_SHARED_KEY is not set"),
        (
            {"PRE_SHARED_KEY": KEY + "\n2"},
            "PRE_SHARED_KEY of host.example.com contains invalid characters",
        ),
        (
            {"PRE_SHARED_KEY": KEY + "é"},
            "PRE_SHARED_KEY of host.example.com contains invalid characters",
        ),
        ({"PRE_SHARED_KEY_FILE": "x"}, "PRE_SHARED_KEY and PRE_SHARED_KEY_FILE are both set"),
        ({"IP": KEY}, "IP (the third argument) is not an IP address"),
        ({"RECORD_TYPES": "A,CNAME"}, "RECORD_TYPES 'A,CNAME' is unknown"),
        ({"RECORD_TYPES": ","}, "RECORD_TYPES ',' is unknown"),
        ({"CA_BUNDLE": "missing.pem"}, "CA_BUNDLE missing.pem can't be read"),
    ],
)
def test_an_unusable_setting_is_named_without_the_key(
    variables: dict[str, str], named: str
) -> None:
    with pytest.raises(SettingUnusable) as refused:
        settings(**variables)
    assert named in str(refused.value)
    assert KEY not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_key_among_the_arguments_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingUnusable) as refused:
        settings("https://d.example.com", "host.example.com", "198.51.100.7", KEY)
    assert "unknown arguments" in str(refused.value)
    assert KEY not in str(refused.value)


def test_settings_shown_by_accident_do_not_show_the_key() -> None:
    assert KEY not in repr(settings())


@pytest.mark.parametrize("text", ["-1", "soon", "1.5", "1e9", "99999999999", "604801", "²"])
def test_an_invalid_interval_becomes_the_default_with_a_warning(
    text: str,
) -> None:
    found, warned = read({**LEAST, "INTERVAL": text}, [])
    assert found.interval == 60
    assert warned == [f"INTERVAL {text!r} is not a number from 0 to 604800: using 60"]


@pytest.mark.parametrize(("text", "interval"), [("0", 0), ("3600", 3600), (" 5 ", 5)])
def test_an_interval_in_range_is_taken(text: str, interval: int) -> None:
    assert settings(INTERVAL=text).interval == interval


@pytest.mark.parametrize(
    ("variables", "warned"),
    [
        ({"VERIFY_SSL": "0"}, "VERIFY_SSL is 0"),
        ({"VERIFY_SSL": "No", "CA_BUNDLE": "missing.pem"}, "VERIFY_SSL is 0"),
        ({"VERIFY_SSL": "perhaps"}, "VERIFY_SSL 'perhaps' is neither 0 nor 1"),
        ({"BACKEND_URL": "http://dyndns.example.com"}, "BACKEND_URL begins with http://"),
        ({"RECORD_TYPES": "A,AAAA", "IP": "2001:db8::1"}, "RECORD_TYPES is A,AAAA, but"),
    ],
)
def test_risky_or_ignored_settings_cause_one_warning(
    variables: dict[str, str], warned: str
) -> None:
    (only,) = notes(**variables)
    assert warned in only


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_http_is_allowed_on_loopback(host: str) -> None:
    assert notes(BACKEND_URL=f"http://{host}:8080") == []


def test_certificates_are_verified_unless_switched_off() -> None:
    assert settings(VERIFY_SSL="0").verify is False
    assert settings(VERIFY_SSL="perhaps").verify == certifi.where()
    assert settings(CA_BUNDLE=__file__).verify == __file__


@pytest.mark.parametrize(
    ("types", "ip", "records"),
    [
        ("", "", ["A"]),
        ("aaaa", "", ["AAAA"]),
        ("A, AAAA, A", "", ["A", "AAAA"]),
        ("", "198.51.100.7", ["A"]),
        ("", "2001:db8::1", ["AAAA"]),
        ("A,AAAA", "198.51.100.7", ["A"]),
        ("", "::ffff:198.51.100.7", ["A"]),
    ],
)
def test_record_types_follow_the_list_and_the_address(
    types: str, ip: str, records: list[str]
) -> None:
    assert [record.type for record in settings(RECORD_TYPES=types, IP=ip).records] == records


def test_an_address_is_sent_in_canonical_text() -> None:
    assert settings(IP="2001:DB8:0::1").ip == "2001:db8::1"
    assert settings(IP="::ffff:198.51.100.7").ip == "198.51.100.7"


def test_several_names_have_ordered_keys_or_share_one() -> None:
    two = "a.example.com, b.example.com"
    assert keys(FQDN=two, PRE_SHARED_KEY="k1, k2") == {"a.example.com": "k1", "b.example.com": "k2"}
    assert keys(FQDN=two, PRE_SHARED_KEY="k") == {"a.example.com": "k", "b.example.com": "k"}


def test_the_key_of_a_single_name_may_hold_a_comma() -> None:
    assert keys(PRE_SHARED_KEY="one,key") == {"host.example.com": "one,key"}


@pytest.mark.parametrize("given", [f"{KEY},k2", f"{KEY},,k3", f"{KEY},k2,k3,k4"])
def test_as_many_keys_as_names_or_one(given: str) -> None:
    with pytest.raises(SettingUnusable, match=r"PRE_SHARED_KEY: 3 name\(s\) in FQDN") as refused:
        settings(FQDN="a.example.com,b.example.com,c.example.com", PRE_SHARED_KEY=given)
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("k1", ["k1", "k1"]),
        ("# for both\nk1  # here\n\n", ["k1", "k1"]),
        ("k1\nk2\n", ["k1", "k2"]),
        ("k1,k2", ["k1", "k2"]),
        ("\ufeff# all\nB.example.com. k2 # router\n\na.example.com\tk#1\nc k3", ["k#1", "k2"]),
    ],
)
def test_a_key_file_contains_keys_or_a_line_per_host(
    tmp_path: Path, text: str, found: list[str]
) -> None:
    file = tmp_path / "keys"
    file.write_text(text, encoding="utf-8")
    both = "a.example.com,b.example.com"
    read_keys = keys(FQDN=both, PRE_SHARED_KEY="", PRE_SHARED_KEY_FILE=str(file))
    assert list(read_keys.values()) == found


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"other.example.com " + KEY.encode(), "has no line for host.example.com"),
        (b"host.example.com " + KEY.encode() + b"\n" + KEY.encode(), "on every line"),
        (b"host.example.com " + KEY.encode() + b" extra", "on every line"),
        (b"# nothing", "0 key(s)"),
        (KEY.encode() + b"\nk2", "1 name(s) in FQDN, 2 key(s)"),
        (b"\xff\xfe\x00", "can't be read (not UTF-8 text)"),
    ],
)
def test_an_unusable_key_file_is_reported_without_its_keys(
    tmp_path: Path, text: bytes, named: str
) -> None:
    file = tmp_path / "keys"
    file.write_bytes(text)
    with pytest.raises(SettingUnusable) as refused:
        settings(PRE_SHARED_KEY="", PRE_SHARED_KEY_FILE=str(file))
    assert named in str(refused.value)
    assert str(refused.value).startswith("PRE_SHARED_KEY")
    assert KEY not in str(refused.value)


def test_a_missing_key_file_or_a_directory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SettingUnusable, match="Is a directory"):
        settings(PRE_SHARED_KEY="", PRE_SHARED_KEY_FILE=str(tmp_path))
    with pytest.raises(SettingUnusable, match="No such file"):
        settings(PRE_SHARED_KEY="", PRE_SHARED_KEY_FILE=str(tmp_path / "none"))
