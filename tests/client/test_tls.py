from __future__ import annotations

import subprocess
import warnings
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Callable

import certifi
import pytest

from .conftest import ClientFor, Clock, Lines
from .fake_backend import FakeBackend, good

pytestmark = pytest.mark.real("openssl")

NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
AUTHORITY = ["-subj", "/CN=test", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
PURPOSE = "basicConstraints=critical,CA:FALSE\nsubjectAltName=IP:127.0.0.1\n"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create an authority in ca.pem and its certificate for 127.0.0.1 in server.pem."""
    folder = tmp_path_factory.mktemp("pki")
    (folder / "purpose").write_text(PURPOSE)
    made_by_ca = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "purpose"]
    for command in (
        ["req", "-x509", *NEW_KEY, *AUTHORITY, "-keyout", "ca.key", "-out", "ca.pem"],
        ["req", *NEW_KEY, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server"],
        ["x509", "-req", "-in", "server.csr", *made_by_ca, "-out", "server.pem"],
    ):
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def url(backend: FakeBackend, pki: Path) -> str:
    backend.use_tls(str(pki / "server.pem"), str(pki / "server.key"))
    backend.set_answers(good("198.51.100.7"))
    return backend.url.replace("http:", "https:")


def test_a_bundle_with_the_authority_is_trusted(url: str, client_for: ClientFor, pki: Path) -> None:
    assert client_for(url, CA_BUNDLE=str(pki / "ca.pem")).round()


def test_an_untrusted_certificate_is_reported_and_gets_no_key(
    url: str, backend: FakeBackend, client_for: ClientFor, lines: Lines
) -> None:
    assert not client_for(url).round()
    assert backend.requests == []
    (line,) = lines()
    assert "certificate" in line
    assert certifi.where() in line
    assert "CA_BUNDLE" in line


def test_certificate_bundles_of_other_programs_are_ignored(
    url: str, client_for: ClientFor, pki: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pki / "ca.pem"))
    assert not client_for(url).round()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    assert client_for(url, CA_BUNDLE=str(pki / "ca.pem")).round()


def test_a_certificate_of_another_name_is_reported(
    url: str, client_for: ClientFor, lines: Lines, pki: Path
) -> None:
    other = url.replace("127.0.0.1", "localhost")
    assert not client_for(other, CA_BUNDLE=str(pki / "ca.pem")).round()
    assert "localhost" in lines()[0]


def test_verification_can_be_switched_off_without_a_warning_each_time(
    url: str, client_for: ClientFor
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert client_for(url, VERIFY_SSL="0").round()


def test_a_bundle_without_certificates_is_reported(
    url: str, client_for: ClientFor, lines: Lines
) -> None:
    assert not client_for(url, CA_BUNDLE=__file__).round()
    assert __file__ in lines()[0]


def test_a_backend_without_tls_is_reported(
    backend: FakeBackend, client_for: ClientFor, lines: Lines
) -> None:
    assert not client_for(backend.url.replace("http:", "https:")).round()
    assert "no TLS with 127.0.0.1: " in lines()[0]


def test_without_verification_bundles_are_not_mentioned(
    backend: FakeBackend, client_for: ClientFor, lines: Lines
) -> None:
    assert not client_for(backend.url.replace("http:", "https:"), VERIFY_SSL="0").round()
    assert "check the scheme and port of BACKEND_URL" in lines()[0]


@pytest.fixture
def url_of_another_time(backend: FakeBackend, pki: Path, tmp_path: Path) -> Callable[..., str]:
    """Return a backend whose certificate is valid between two dates."""

    def build(begin: str, end: str) -> str:
        (tmp_path / "index").touch()
        (tmp_path / "conf").write_text(
            "[ca]\ndefault_ca = it\n[it]\ndatabase = index\nnew_certs_dir = .\nrand_serial = yes\n"
            "default_md = sha256\npolicy = any\n[any]\ncommonName = supplied\n"
        )
        signed_by = ["-cert", str(pki / "ca.pem"), "-keyfile", str(pki / "ca.key")]
        signed_by += ["-in", str(pki / "server.csr"), "-extfile", str(pki / "purpose")]
        command = ["openssl", "ca", "-batch", "-notext", "-config", "conf", "-out", "server.pem"]
        command += [*signed_by, "-startdate", begin, "-enddate", end]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        backend.use_tls(str(tmp_path / "server.pem"), str(pki / "server.key"))
        return backend.url.replace("http:", "https:")

    return build


@pytest.mark.parametrize(
    ("wrong", "begin", "end"),
    [
        ("expired", "20200101000000Z", "20200201000000Z"),
        ("not yet", "20990101000000Z", "21000101000000Z"),
    ],
)
def test_an_expired_certificate_is_reported_once_with_the_local_time(  # noqa: PLR0913, PLR0917
    url_of_another_time: Callable[..., str],
    client_for: ClientFor,
    lines: Lines,
    pki: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    wrong: str,
    begin: str,
    end: str,
) -> None:
    """The clock of a computer without a battery may be wrong at the start."""
    client = client_for(url_of_another_time(begin, end), CA_BUNDLE=str(pki / "ca.pem"))
    times = (datetime(1970, 1, 1, 0, minute, tzinfo=timezone.utc) for minute in (0, 2))
    clock_here = SimpleNamespace(now=lambda _: next(times))
    monkeypatch.setattr("client.update_dns.datetime", clock_here)
    for _ in range(2):
        assert not client.round()
        clock.now += 120
    assert next(times, None) is None
    (line,) = lines()
    assert wrong in line
    assert "the clock of this machine shows 1970-01-01 00:00 UTC" in line
