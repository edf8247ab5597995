"""A page of another origin can't attack through the operator's logged-in browser."""

from __future__ import annotations

import contextlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Iterator, Mapping
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.e2e.browsing import browsers
from tests.e2e.processes import HOSTS, Backend, Hetzner

pytestmark = pytest.mark.real("chromium")

HOST, FIRST = HOSTS[0], "198.51.100.7"
SET = f"hostname={HOST}&myip=203.0.113.66"
OFFLINE = f"hostname={HOST}&offline=YES"
JSON = f'{{"fqdn": "{HOST}", "ip": "203.0.113.66"}}'
FORM = f'<input name="hostname" value="{HOST}"><input name="fqdn" value="{HOST}">'
FORM += '<input name="myip" value="203.0.113.66"><input name="ip" value="203.0.113.66">'
FETCH = '<script>fetch("{}", {{mode: "no-cors", credentials: "include", {}}})</script>'
SUBMIT = "<script>document.forms[0].submit()</script>"
CLICK = "<script>document.links[0].click()</script>"

# TARGET is replaced by the URL of the service.
ATTACKS: Mapping[str, str] = {
    "link": f'<a href="TARGET/nic/update?{SET}">x</a>{CLICK}',
    "link without referrer": f'<a rel="noreferrer" href="TARGET/v3/update?{OFFLINE}">x</a>{CLICK}',
    "image": f'<img src="TARGET/nic/update?{SET}">',
    "image that deletes": f'<img src="TARGET/nic/update/?{OFFLINE}">',
    "frame": f'<iframe src="TARGET/nic/update?{SET}"></iframe>',
    "form GET": f'<form action="TARGET/nic/update">{FORM}</form>{SUBMIT}',
    "form POST": f'<form method="post" action="TARGET/nic/update">{FORM}</form>{SUBMIT}',
    "form POST to /update": f'<form method="post" action="TARGET/update">{FORM}</form>{SUBMIT}',
    "sandboxed frame": '<iframe sandbox="allow-forms allow-scripts" srcdoc=\''
    f'<form method="post" action="TARGET/update">{FORM}</form>{SUBMIT}\'></iframe>',
    "fetch": FETCH.format(f"TARGET/nic/update?{SET}", ""),
    "fetch HEAD": FETCH.format(f"TARGET/nic/update?{SET}", 'method: "HEAD"'),
    "fetch POST": FETCH.format("TARGET/update", f"method: 'POST', body: '{JSON}'"),
    "redirect": f'<img src="/redirect?TARGET/nic/update?{SET}">',
}


class _Site(BaseHTTPRequestHandler):
    """A web site of another origin that serves the attack named by its query."""

    target = ""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", url.query)
            self.end_headers()
            return
        name = parse_qs(url.query).get("attack", [""])[0]
        page = ATTACKS.get(name, "").replace("TARGET", self.target).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def backend(hetzner: Hetzner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Return a backend that logs each answer."""
    with Backend(tmp_path_factory.mktemp("backend"), hetzner, DEBUG_LOGGING="1") as backend:
        yield backend


@pytest.fixture(scope="module")
def site(backend: Backend) -> Iterator[int]:
    """Return the port of a web site of another origin."""
    handler = type("_SiteOfTest", (_Site,), {"target": backend.url})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def page(backend: Backend) -> Iterator[Any]:
    """Return a page in a Chromium that has the operator's login and sends it."""
    for browser in browsers(backend):
        page = browser.open("/").context.new_page()
        answer = page.goto(f"{backend.url}/nic/update?hostname={HOST}&myip={FIRST}")
        assert answer.status == 200, "a URL typed into the address bar must be allowed"
        yield page
        browser.close()


def refusals(backend: Backend) -> int:
    """Return how many requests the service has answered with 403."""
    return len(re.findall(r" /\S*update\S* -> 403$", backend.output, re.MULTILINE))


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_from_another_origin_changes_nothing(  # noqa: PLR0913, PLR0917
    backend: Backend,
    hetzner: Hetzner,
    page: Any,  # noqa: ANN401
    site: int,
    name: str,
    attack: str,
) -> None:
    hetzner.control("DELETE", "calls")
    before = refusals(backend)
    with contextlib.suppress(Exception):  # some attacks navigate away before the page has loaded
        page.goto(f"http://{name}:{site}/?attack={attack}", wait_until="commit")
    backend.wait_until(lambda: refusals(backend) > before, f"to refuse: {attack}")
    assert hetzner.calls_about(HOST) == []
    assert backend.update(HOST, FIRST)["status"] == "unchanged"
