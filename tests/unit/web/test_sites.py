from __future__ import annotations

import pytest

from backend.web.caller import is_cross_site
from tests.unit.web.test_wire import CALLER, PROXIES, request

HOST = "dyndns.example.com"


def is_refused(peer: str | None = CALLER, host: str = HOST, **headers: str) -> bool:
    return is_cross_site(request(peer, Host=host, **headers), PROXIES)


def test_requests_without_browser_headers_pass() -> None:
    assert not is_refused()
    assert not is_refused(User_Agent="Mozilla/5.0", Referer="https://evil.example.net/")


@pytest.mark.parametrize(
    ("site", "refused"),
    [
        ("same-origin", False),
        ("none", False),
        ("same-site", True),
        ("cross-site", True),
        ("", True),
        ("Same-Origin", True),
        ("same-origin, same-origin", True),
        ("same-origin,cross-site", True),
        ("none;a=1", True),
        ("nonsense", True),
    ],
)
@pytest.mark.parametrize("origin", [None, f"https://{HOST}", "https://evil.example.net", "null"])
def test_sec_fetch_site_decides_alone(site: str, origin: str | None, *, refused: bool) -> None:
    headers = {"Origin": origin} if origin is not None else {}
    assert is_refused(Sec_Fetch_Site=site, **headers) is refused


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (HOST, "https://dyndns.example.com"),
        (HOST, "http://dyndns.example.com"),
        (HOST, "https://dyndns.example.com:443"),
        (HOST, "http://dyndns.example.com:80"),
        (f"{HOST}:443", "https://dyndns.example.com"),
        (f"{HOST}:80", "http://dyndns.example.com"),
        (f"{HOST}:8080", "http://dyndns.example.com:8080"),
        ("DynDNS.Example.COM", "HTTPS://dyndns.EXAMPLE.com"),
        ("192.168.1.2:8080", "http://192.168.1.2:8080"),
        ("[2001:DB8::1]", "http://[2001:db8::1]"),
        ("[2001:db8::1]:8080", "http://[2001:db8::1]:8080"),
    ],
)
def test_the_own_origin_passes_in_any_spelling(host: str, origin: str) -> None:
    assert not is_refused(host=host, Origin=origin)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (HOST, "https://evil.example.net"),
        (HOST, "https://example.com"),
        (HOST, "https://dyndns.example.com.evil.example.net"),
        (HOST, "https://evildyndns.example.com"),
        (HOST, "https://dyndns.example.com:8443"),
        (HOST, "http://dyndns.example.com:443"),
        (f"{HOST}:8080", "http://dyndns.example.com"),
        (f"{HOST}:8080", "http://dyndns.example.com:8081"),
        (f"{HOST}:443", "http://dyndns.example.com"),
        ("127.0.0.1:8080", "http://localhost:8080"),
        ("[2001:db8::1]:8080", "http://[2001:db8::1]"),
        ("[2001:db8::1]", "http://[2001:db8::2]"),
        (HOST, "null"),
        (HOST, ""),
        (HOST, HOST),
        (HOST, "//dyndns.example.com"),
        (HOST, "file://"),
        (HOST, "ftp://dyndns.example.com"),
        (HOST, "chrome-extension://dyndns.example.com"),
        (HOST, "https://dyndns.example.com/"),
        (HOST, "https://dyndns.example.com/update"),
        (HOST, "https://user@dyndns.example.com"),
        (HOST, "https://dyndns.example.com https://dyndns.example.com"),
        (HOST, "https://dyndns.example.com,https://dyndns.example.com"),
        (HOST, "https://dyndns.example.com, https://evil.example.net"),
        (HOST, "https://dyndns.example.com:x"),
        (HOST, "https://dyndns.example.com:443443"),
        (HOST, "https://["),
        (HOST, "https://[::1"),
        (HOST, "https://"),
        ("", "https://dyndns.example.com"),
        ("", "https://"),
        ("[", "https://["),
    ],
)
def test_any_other_origin_is_refused(host: str, origin: str) -> None:
    assert is_refused(host=host, Origin=origin)


@pytest.mark.parametrize("forwarded", [HOST, f"{HOST}:443", f"{HOST}, inner.example.com"])
def test_a_trusted_proxy_may_set_the_host(forwarded: str) -> None:
    headers = {"Origin": f"https://{HOST}", "X_Forwarded_Host": forwarded}
    assert not is_refused("127.0.0.1", "backend:8080", **headers)
    assert is_refused(CALLER, "backend:8080", **headers)
    assert is_refused(None, "backend:8080", **headers)


def test_a_path_at_the_proxy_makes_no_difference() -> None:
    headers = {"X_Forwarded_Host": HOST, "X_Forwarded_Prefix": "/dyndns"}
    assert not is_refused("127.0.0.1", "backend", Origin=f"https://{HOST}", **headers)
    assert is_refused("127.0.0.1", "backend", Origin=f"https://{HOST}/dyndns", **headers)
