from __future__ import annotations

import subprocess
import warnings
from datetime import datetime, timezone
from pathlib import Path

import certifi
import pytest

from .conftest import ClientFor, Lines
from .fake_backend import FakeBackend, good

pytestmark = pytest.mark.real("openssl")

NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
AUTHORITY = ["-subj", "/CN=test", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
PURPOSE = "basicConstraints=critical,CA:FALSE\nsubjectAltName=IP:127.0.0.1\n"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority in ca.pem, and server.pem of it for 127.0.0.1."""
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
    backend.answers(good("198.51.100.7"))
    return backend.url.replace("http:", "https:")


def test_a_bundle_with_the_authority_is_trusted(url: str, client_for: ClientFor, pki: Path) -> None:
    assert client_for(url, CA_BUNDLE=str(pki / "ca.pem")).round()


def test_an_untrusted_certificate_is_said_with_the_bundle_and_gets_no_key(
    url: str, backend: FakeBackend, client_for: ClientFor, lines: Lines
) -> None:
    assert not client_for(url).round()
    assert backend.asked == []
    (line,) = lines()
    assert "certificate" in line
    assert certifi.where() in line
    assert "CA_BUNDLE" in line


def test_bundles_of_other_programs_are_not_asked(
    url: str, client_for: ClientFor, pki: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pki / "ca.pem"))
    assert not client_for(url).round()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    assert client_for(url, CA_BUNDLE=str(pki / "ca.pem")).round()


def test_a_certificate_of_another_name_is_said(
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


def test_a_bundle_without_certificates_is_said(
    url: str, client_for: ClientFor, lines: Lines
) -> None:
    assert not client_for(url, CA_BUNDLE=__file__).round()
    assert __file__ in lines()[0]


def test_a_backend_without_tls_is_said(
    backend: FakeBackend, client_for: ClientFor, lines: Lines
) -> None:
    assert not client_for(backend.url.replace("http:", "https:")).round()
    assert "no TLS with 127.0.0.1: " in lines()[0]


def test_without_verification_no_bundle_is_blamed(
    backend: FakeBackend, client_for: ClientFor, lines: Lines
) -> None:
    assert not client_for(backend.url.replace("http:", "https:"), VERIFY_SSL="0").round()
    assert "check scheme and port of BACKEND_URL" in lines()[0]


@pytest.mark.parametrize(
    ("wrong", "begin", "end"),
    [("expired", "20200101000000Z", "20200201000000Z"), ("not yet", "20990101000000Z", "")],
)
def test_a_certificate_of_another_time_is_said_with_the_time_here(  # noqa: PLR0913, PLR0917
    backend: FakeBackend,
    client_for: ClientFor,
    lines: Lines,
    pki: Path,
    tmp_path: Path,
    wrong: str,
    begin: str,
    end: str,
) -> None:
    """A small computer without a battery begins in 1970, or wherever it was switched off."""
    (tmp_path / "index").touch()
    (tmp_path / "conf").write_text(
        "[ca]\ndefault_ca = it\n[it]\ndatabase = index\nnew_certs_dir = .\nrand_serial = yes\n"
        "default_md = sha256\npolicy = any\n[any]\ncommonName = supplied\n"
    )
    signed_by = ["-cert", str(pki / "ca.pem"), "-keyfile", str(pki / "ca.key")]
    signed_by += ["-in", str(pki / "server.csr"), "-extfile", str(pki / "purpose")]
    dates = ["-startdate", begin, "-enddate", end or "21000101000000Z"]
    command = ["openssl", "ca", "-batch", "-notext", "-config", "conf", "-out", "server.pem"]
    subprocess.run(
        [*command, *signed_by, *dates], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    backend.use_tls(str(tmp_path / "server.pem"), str(pki / "server.key"))
    url = backend.url.replace("http:", "https:")
    assert not client_for(url, CA_BUNDLE=str(pki / "ca.pem")).round()
    (line,) = lines()
    assert wrong in line
    assert f"the clock of this machine says {datetime.now(timezone.utc):%Y-%m-%d}" in line
