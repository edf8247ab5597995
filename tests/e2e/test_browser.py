"""The operator's pages in a real Chromium."""

from __future__ import annotations

import json
import re
from typing import Any, Iterator

import pytest

from tests.e2e.browsing import (
    SCHEMES,
    SIZES,
    VNU,
    Browser,
    browsers,
    need,
    shoot,
    small_targets,
    violations,
)
from tests.e2e.processes import OPERATOR, Backend, Hetzner, run, until

pytestmark = pytest.mark.real("chromium", "curl")

SCRIPT = "<script>alert('gotcha')</script>"


@pytest.fixture(scope="module")
def chromium(backend: Backend) -> Iterator[Browser]:
    yield from browsers(backend)


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    chromium.errors.clear()
    yield chromium
    chromium.close()


def row(page: Any, host: str) -> Any:  # noqa: ANN401
    return page.locator(f'[id="host-{host}"]')


def wait_for(locator: Any, text: str) -> None:  # noqa: ANN401
    until(
        lambda: text in "".join(locator.all_inner_texts()),
        f"{text!r} in the page",
        locator.page.locator("body").inner_text,
    )


def refuse(backend: Backend, hetzner: Hetzner, host: str, message: str = "protected") -> None:
    """Make Hetzner refuse one update of a host."""
    wait_for_leader(backend)
    body = json.dumps({"error": {"code": "protected", "message": message, "details": None}})
    path = "/zones/example.com/rrsets*"
    hetzner.control("POST", "fail", status=403, body=body, path=path, method="POST", count=1)
    answer = backend.session.post(
        f"{backend.url}/update",
        json={"fqdn": host, "ip": "198.51.100.7"},
        auth=OPERATOR,
        timeout=20,
    )
    assert answer.status_code == 502, answer.text


def wait_for_leader(backend: Backend) -> None:
    """Wait until a process is elected to retry updates, which starts with refused updates.

    The same process polls actions.
    """
    backend.update("host59.example.com", "198.51.100.59")
    states = "SELECT state FROM records WHERE host = 'host59.example.com'"
    until(lambda: backend.query(states) == [("published",)], "an address to be published")


def request_url(folder: Any, url: str, login: str = "") -> str:  # noqa: ANN401
    """Request a URL with curl, as a router does."""
    ran = run(["curl", "-sS", *(["-u", login] if login else []), url], folder)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_refused_host_is_ok_after_a_retry(
    browser: Browser, backend: Backend, hetzner: Hetzner, host: str
) -> None:
    refuse(backend, hetzner, host)
    page = browser.open("/")
    first = page.locator("table.hosts tbody").first
    assert first.get_attribute("id") == f"host-{host}"
    text = first.inner_text()
    assert "refused" in text
    assert "To do: Lift the change protection of the record." in text
    first.get_by_role("button", name="Retry now").click()
    assert f"{host}: the service is retrying" in page.locator("#done").inner_text()
    wait_for(page.locator("#chips"), "ok")
    page.goto(f"/?q={host}")
    wait_for(row(page, host), "ok")
    hetzner.expect(host, "198.51.100.7")


def test_a_refresh_keeps_focus_and_scroll_position(browser: Browser, backend: Backend) -> None:
    page = browser.open("/?q=host1")
    watched, other = "host19.example.com", "host11.example.com"
    link = page.locator(f'[id="link-{watched}"]')
    link.focus()
    page.evaluate("scrollTo(0, 60)")
    before = page.evaluate("document.activeElement.id"), page.evaluate("scrollY")
    assert before == (f"link-{watched}", 60)
    page.evaluate("document.activeElement.mark = document.body.mark = 'the same element'")
    backend.update(other, "198.51.100.11")
    wait_for(row(page, other), "198.51.100.11")
    assert (page.evaluate("document.activeElement.id"), page.evaluate("scrollY")) == before
    assert page.evaluate("document.body.mark") == "the same element"
    assert page.evaluate("document.activeElement.mark") == "the same element"


def test_an_error_page_does_not_refresh(browser: Browser, host: str) -> None:
    for page, is_asked_for in (
        (browser.open(f"/hosts/{host}"), True),
        (browser.open("/hosts/none.test"), False),
    ):
        asked: list[str] = []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.evaluate("new Promise(done => setTimeout(done, 500))")
        assert bool(asked) is is_asked_for


def test_a_refresh_keeps_typed_text_and_open_details(browser: Browser, backend: Backend) -> None:
    page = browser.open("/")
    page.get_by_label("Search").fill("half a na")
    page.locator("#service-summary").click()
    before = page.locator("#fresh").get_attribute("data-now")
    until(lambda: page.locator("#fresh").get_attribute("data-now") != before, "a refresh")
    assert page.get_by_label("Search").input_value() == "half a na"
    assert page.locator("#service").get_attribute("open") is not None
    assert backend.is_running


def test_a_copied_fritzbox_snippet_works(
    browser: Browser,
    backend: Backend,
    hetzner: Hetzner,
    host: str,
    folder: Any,  # noqa: ANN401
) -> None:
    page = browser.open(f"/hosts/{host}")
    key = backend.key_of(host)
    assert key not in page.content()
    page.get_by_role("button", name="Show key").click()
    page.locator("#key").wait_for()
    page.wait_for_load_state()  # before that, the script can't notice the choice
    page.get_by_label("Device", exact=True).select_option("fritzbox")
    page.locator("[data-snippet=fritzbox]").wait_for()
    assert page.locator("#key").inner_text() == key
    contact = page.locator("#contact")
    assert "Waiting for the first update" in contact.inner_text()
    url, name, password = (copy(page, field) for field in ("Update URL", "User name", "Password"))
    assert (name, password) == (host, key)
    for placeholder, value in (
        ("<domain>", copy(page, "Domain name")),
        ("<ipaddr>", "198.51.100.80"),
        ("<ip6addr>", ""),
    ):
        url = url.replace(placeholder, value)
    assert request_url(folder, url, f"{name}:wrong").strip() == "badauth"
    wait_for(contact, "Wrong key from 127.0.0.1, once in the last 15 min")
    assert request_url(folder, url, f"{name}:{password}").startswith("good ")
    wait_for(contact, "Last good update")
    hetzner.expect(host, "198.51.100.80")
    page.get_by_role("button", name="Hide key").click()
    page.get_by_role("button", name="Show key").wait_for()
    assert key not in page.content()
    assert page.get_by_label("Device", exact=True).input_value() == "fritzbox"


def copy(page: Any, field: str) -> str:  # noqa: ANN401
    """Press the button that copies a field; return what it has copied."""
    page.get_by_role("button", name=f"Copy {field}").first.click()
    until(lambda: "Copied" in page.locator("#copied").inner_text(), "the text to be copied")
    copied: str = page.evaluate("navigator.clipboard.readText()")
    page.evaluate("document.getElementById('copied').textContent = ''")
    return copied


def test_times_are_shown_in_the_time_zone_of_the_reader(
    browser: Browser, backend: Backend, host: str
) -> None:
    backend.update(host, "198.51.100.92")
    page = browser.open(f"/hosts/{host}?days=1", timezone_id="Asia/Kolkata")
    now, exact = (page.locator("#fresh time").get_attribute(n) for n in ("datetime", "title"))
    hours, minutes = divmod(int(now[11:13]) * 60 + int(now[14:16]) + 330, 60)
    assert exact[11:16] == f"{hours % 24:02}:{minutes:02}"
    assert "GMT+5:30" in page.locator("[data-zone]").text_content()


def test_a_tap_on_the_timeline_shows_details(browser: Browser, backend: Backend, host: str) -> None:
    backend.update(host, "198.51.100.90")
    page = browser.open(f"/hosts/{host}", "phone", has_touch=True)

    def has_details() -> bool:
        # A refresh may move the picture just now: then the tap is lost.
        bar = page.locator(".timeline g.bar").first
        bar.scroll_into_view_if_needed()
        box = bar.bounding_box()
        # The bar of a new address is narrower than a finger, and at the edge of the picture.
        page.touchscreen.tap(box["x"] - 10, box["y"] + box["height"] / 2)
        return "198.51.100.90" in page.locator("#detail").inner_text()

    until(has_details, "the details")
    assert "UTC" not in page.locator("#detail").inner_text()


def test_the_first_host_in_need_is_in_the_first_screen_of_a_phone(
    browser: Browser, backend: Backend, hetzner: Hetzner, host: str
) -> None:
    refuse(backend, hetzner, host)
    page = browser.open("/", "phone")
    first = page.locator("table.hosts tbody").first
    text = first.inner_text()
    assert host in text
    assert "To do: Lift the change protection" in text
    bottom = first.bounding_box()["y"] + first.bounding_box()["height"]
    assert bottom <= SIZES["phone"][1]
    need = page.locator("h1").inner_text()
    assert re.match(r"\d+ of 60 hosts needs? you", need)
    assert page.title().startswith(need)


def test_a_finger_hits_every_link_and_button(browser: Browser, backend: Backend, host: str) -> None:
    backend.update(host, "198.51.100.91")
    for path in ("/", "/add", f"/hosts/{host}?device=fritzbox&kind=changes"):
        page = browser.open(path, "phone")
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert small_targets(page) == []


def test_a_refresh_sends_only_what_has_changed(browser: Browser) -> None:
    page = browser.open("/")
    with page.expect_response(lambda answer: answer.request.headers.get("x-have")) as waiting:
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    answer = waiting.value
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) < 4000
    assert answer.text().count("data-same") >= 50
    assert page.locator("table.hosts tbody tr").count() >= 50


def test_a_rotated_key_replaces_the_old_one(
    browser: Browser,
    backend: Backend,
    host: str,
    folder: Any,  # noqa: ANN401
) -> None:
    old = backend.key_of(host)
    page = browser.open(f"/hosts/{host}")
    page.get_by_text("Replace the key").click()
    page.get_by_role("button", name="Generate a new key").click()
    page.locator("#key").wait_for()
    new = page.locator("#key").inner_text()
    assert new not in ("", old)
    place = backend.url.replace("http://", "")
    for key, answer in ((old, "badauth"), (new, "good 198.51.100.81"), (old, "badauth")):
        login = f"{host}:{key}@{place}"
        url = f"http://{login}/nic/update?hostname={host}&myip=198.51.100.81"
        assert request_url(folder, url).strip() in (answer, answer.replace("good", "nochg"))


def test_a_host_is_muted_and_unmuted(browser: Browser, host: str) -> None:
    page = browser.open(f"/hosts/{host}")
    page.get_by_text("Mute notifications").click()
    page.get_by_label("Until").fill("2090-01-02")
    page.get_by_role("button", name="Mute", exact=True).click()
    assert "2090-01-02" in page.locator("#mute-box").inner_text()
    page.get_by_role("button", name="Unmute").click()
    assert "are on again" in page.locator("#done").inner_text()


def test_everything_works_without_javascript(
    browser: Browser, backend: Backend, hetzner: Hetzner, host: str
) -> None:
    refuse(backend, hetzner, host)
    page = browser.open("/", java_script_enabled=False)
    page.get_by_label("Search").fill(host)
    page.get_by_role("button", name="Search").click()
    assert page.locator("table.hosts tbody").count() == 1
    page.get_by_role("link", name=host).click()
    page.locator("#entries-summary").click()
    page.get_by_label("Show", exact=True).select_option("failures")
    page.locator("form", has=page.locator("#kind")).get_by_role("button").click()
    assert "desired 198.51.100.7" in page.locator("table.entries").inner_text()
    if page.locator("#setup-box").get_attribute("open") is None:  # closed once the host is seen
        page.locator("#setup-summary").click()
    page.wait_for_load_state()
    page.get_by_label("Device", exact=True).select_option("curl")
    page.locator("form", has=page.locator("#device")).get_by_role("button").click()
    assert page.locator("[data-snippet=curl] pre").is_visible()
    page.get_by_role("button", name="Show key").click()
    assert page.locator("#key").inner_text() == backend.key_of(host)
    page.goto(f"/hosts/{host}")
    page.get_by_role("button", name="Retry now").click()
    # Chromium may refuse a reload while the page after the click still loads.
    page.wait_for_load_state("load")

    def is_ok() -> bool:
        page.goto(f"/hosts/{host}")
        return "ok" in page.locator("#now").inner_text()

    until(is_ok, "the host to be ok")


def test_foreign_text_is_escaped(
    browser: Browser, backend: Backend, hetzner: Hetzner, host: str
) -> None:
    refuse(backend, hetzner, host, f"{SCRIPT}\"'\n</table>")
    page = browser.open(f"/?q={host}")
    assert SCRIPT in row(page, host).inner_text()
    page.goto(f"/hosts/{host}?kind=failures")
    assert SCRIPT in page.locator("table.entries").inner_text()
    assert SCRIPT in page.locator("#now").inner_text()
    page.goto(f"/?q={SCRIPT}")
    assert page.get_by_label("Search").input_value() == SCRIPT


def test_all_actions_work_with_the_keyboard(browser: Browser, host: str) -> None:
    page = browser.open(f"/?q={host}")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == f"link-{host}":
            break
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/hosts/{host}")


def test_only_the_login_opens_the_pages(browser: Browser, backend: Backend) -> None:
    page = browser.open("/")
    assert page.locator("h1.sentence").is_visible()
    answer = backend.session.get(f"{backend.url}/", timeout=20)
    assert answer.status_code == 401


@pytest.fixture(scope="module")
def gallery(backend: Backend, hetzner: Hetzner) -> tuple[str, ...]:
    """Pages of hosts in many states."""
    refused = "host50.example.com"
    for number in range(51, 55):
        backend.update(f"host{number}.example.com", f"198.51.100.{number}")
        backend.update(f"host{number}.example.com", f"2001:db8::{number}")
    for last in (1, 2, 3):
        backend.update(refused, f"198.51.100.{last}")
    refuse(backend, hetzner, refused)
    return (
        "/",
        f"/hosts/{refused}",
        "/hosts/host51.example.com?device=fritzbox&kind=changes",
        "/?q=nothing",
        "/hosts/none.test",
        "/add",
    )


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_no_page_is_wider_than_the_screen(
    browser: Browser, gallery: tuple[str, ...], size: str, scheme: str
) -> None:
    for path in gallery:
        page = browser.open(path, size, scheme)
        name = re.sub(r"\W+", "-", path).strip("-") or "hosts"
        shoot(page, name, size, scheme)
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        shoot(page, f"{name}-unfolded", size, scheme)
    page = browser.open("/", size, scheme)
    page.get_by_role("button", name="Check everything").click()
    page.locator("#ended").wait_for()
    shoot(page, "check", size, scheme)
    page.goto(gallery[2])
    page.get_by_role("button", name="Show key").click()
    page.locator("#key").wait_for()
    shoot(page, "key", size, scheme)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_no_serious_violation(
    browser: Browser, gallery: tuple[str, ...], size: str, scheme: str
) -> None:
    for path in gallery:
        page = browser.open(path, size, scheme)
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert violations(page) == [], path
    page = browser.open(f"{gallery[1]}?device=fritzbox", size, scheme)
    page.get_by_role("button", name="Show key").click()
    page.locator("#key").wait_for()
    assert violations(page) == []


def test_the_pages_are_valid_html(backend: Backend, gallery: tuple[str, ...], folder: Any) -> None:  # noqa: ANN401
    if not VNU.exists():
        need("vnu-jar (npm install --prefix .cache/node vnu-jar@24.10.17)")
    files = []
    for number, path in enumerate(gallery):
        files.append(folder / f"{number}.html")
        answer = backend.session.get(f"{backend.url}{path}", auth=OPERATOR, timeout=20)
        files[-1].write_bytes(answer.content)
    ran = run(["java", "-jar", str(VNU), *map(str, files)], folder)
    assert (ran.returncode, ran.stderr) == (0, "")
