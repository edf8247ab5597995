"""What the operator's pages share: filters, regions that are refreshed in place, compression."""

from __future__ import annotations

import functools
import hashlib
import re
import threading
import zlib
from typing import Callable, Iterable, Mapping
from urllib.parse import quote, urlencode

from flask import Response, after_this_request, g, make_response, redirect, request, url_for
from flask.blueprints import BlueprintSetupState
from flask.typing import ResponseReturnValue
from markupsafe import Markup, escape
from werkzeug.exceptions import HTTPException

from backend.model import Hostname, shown
from backend.text import duration, moment, rough

_JUST_NOW = 5  # seconds
_SMALLEST = 1000  # bytes; compressing less isn't worth it
_DONE_COOKIE, _DONE_SECONDS = "dyndns-done", 60
_LEVEL, _GZIP = 5, 31  # of compression; 31 stands for the gzip format
_TURN = threading.Lock()
# The script of the page keeps these up to date itself, so they don't count as a change.
_VARYING = re.compile(r"(<time [^>]*>)[^<]*(?=</time>)")
# The path of a page of ours, perhaps with a query: where an action leads back to.
_BACK = re.compile(r"/(hosts/[\w.*%-]+)?(\?[\w.*%&=+:/~-]*)?", re.ASCII)
_DONE: Mapping[str, str] = {
    "retry": "{host}: the service is retrying its update.",
    "drop": "{host}: the failed update was dropped.",
    "nothing": "{host}: nothing was changed, because it has no such update any more.",
    "mute": "{host}: notifications about its loss are muted.",
    "unmute": "{host}: notifications are on again.",
    "rotate": "{host} has a new key, and the old key is no longer valid. Enter the new key into "
    "its device now.",
    "updated": "{host}: Hetzner has accepted the address.",
    "unchanged": "{host} has this address already.",
    "refused": "{host}: Hetzner refuses the address. The hint below says what to do.",
    "waits": "{host}: Hetzner isn't available now. The stored address will be published later.",
    "set": "{host}: the settings were saved.",
    "added": "{host} was added. Enter the settings below into its device.",
    "added-all": "The hosts were added. The page of each host shows what to enter into its device.",
    "renamed": "{host} is the new name. Enter it in the device.",
    "removed": "{host} was removed, and its key is invalid.",
    "tested": "The test message was sent: check that it has arrived.",
    "untested": "No notifications are set up: set NTFY_URL and NTFY_TOPIC, or NOTIFY_URLS.",
}
# The classes of those messages of `_DONE` that report no success.
_NOT_DONE: Mapping[str, str] = {"refused": "bad", "untested": "bad", "waits": "", "nothing": ""}
# The colour of the favicon for each state of all hosts together.
ICONS: Mapping[str, str] = {
    "ok": "#1a6b45",
    "waiting": "#b36b00",
    "bad": "#c0261f",
}
_SIGNS = {
    "ok": "M4.5 8.3l2.4 2.4 4.6-5",
    "waiting": "M8 4v4.3l2.6 1.7",
    "bad": "M8 3.8v5M8 11.3v.9",
}


def icon(state: str) -> str:
    """Return the favicon for a state, a key of `ICONS`, as a data URI."""
    image = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>"
        f"<circle cx='8' cy='8' r='8' fill='{ICONS[state]}'/><path d='{_SIGNS[state]}' fill='none' "
        "stroke='#fff' stroke-width='2' stroke-linecap='round'/></svg>"
    )
    return "data:image/svg+xml," + quote(image, safe="=:/'")


def _ago(at: float | None, now: float) -> Markup:
    if at is None:
        return Markup("never")
    words = "just now" if now - at < _JUST_NOW else f"{rough(now - at)} ago"
    return _time(at, words, "ago")


def _time(at: float, words: str, form: str) -> Markup:
    """Return words for a time. The script shows them in the reader's time zone, by their form."""
    exact = moment(at, "%Y-%m-%d %H:%M:%S UTC")
    text = Markup('<time datetime="%s" title="%s" data-form="%s">%s</time>')
    return text % (_iso(at), exact, form, words)


def _iso(at: float) -> str:
    return moment(at, "%Y-%m-%dT%H:%M:%SZ")


def _name(host: Hostname) -> Markup:
    name = shown(host)
    if name == host.text:
        return escape(name)
    return Markup('<span title="{}">{}</span>').format(host.text, name)


FILTERS: Mapping[str, Callable[..., str]] = {
    "ago": _ago,
    "lasting": lambda at, now: _time(at, rough(now - at), "lasting"),
    "until": lambda at, now: _time(at, "now" if at <= now else f"in {rough(at - now)}", "until"),
    "minute": lambda at: _time(at, moment(at, "%Y-%m-%d %H:%M"), "minute"),
    "clock": lambda at: _time(at, moment(at, "%H:%M:%S UTC"), "clock"),
    "since": lambda at: _time(at, moment(at, "%Y-%m-%d %H:%M UTC"), "since"),
    "iso": _iso,
    "duration": duration,
    "name": _name,
}


def live(id: str, tag: str = "div", *, caller: Callable[[], str], **attributes: str) -> Markup:  # noqa: A002
    """Return an element that the script of the page refreshes in place.

    A browser that has this version of the element already, by the header `X-Have`, gets an empty
    element with the same id.
    """
    body = caller()
    # Underscores: `class` is a word of Python, and attributes have hyphens.
    named = ((name.strip("_").replace("_", "-"), value) for name, value in attributes.items())
    extra = Markup("").join(Markup(' %s="%s"') % one for one in named)
    text = "\n".join((id, extra, _VARYING.sub(r"\1", body)))
    version = hashlib.sha256(text.encode("utf-8")).hexdigest()[:12]
    if version in request.headers.get("X-Have", "").split(","):
        return Markup('<%s id="%s" data-live="%s" data-same></%s>') % (tag, id, version, tag)
    text = Markup('<%s id="%s" data-live="%s"%s>%s</%s>')
    return text % (tag, id, version, extra, body, tag)


def refreshing() -> bool:
    """Return whether only the elements that `live` makes are needed."""
    return "X-Have" in request.headers


def back_path() -> str:
    """Return the page that the current form was on; empty if it names none of our pages."""
    try:
        sent = request.form.get("back", "")
    except HTTPException:  # a body that is too large, or can't be read
        return ""
    return sent if _BACK.fullmatch(sent) else ""


def leave(done: str, host: Hostname | None = None, section: str = "") -> Response:
    """Redirect to the page with the form, which says what was done to which host."""
    return lead_to(back_path() or ("/" if host is None else host_path(host)), done, host, section)


def lead_again(name: str = "") -> Response:
    """Redirect a GET of an action, such as a reload, to the page of its host, or to the list."""
    page = url_for("operator.host", name=name) if name else url_for("operator.overview")
    return make_response(redirect(page, 303))


def lead_to(path: str, done: str, host: Hostname | None = None, section: str = "") -> Response:
    """Redirect to a page of ours, which says what was done to which host.

    The message is in a cookie, not in the URL: otherwise a link on another site could show a
    message about something that wasn't done.
    """
    target = request.script_root + path
    response = make_response(redirect(f"{target}#{section}" if section else target, 303))
    if done:
        response.set_cookie(
            _DONE_COOKIE,
            f"{done}:{host or ''}",
            max_age=_DONE_SECONDS,
            secure=g.is_secure,
            httponly=True,
            samesite="Strict",
        )
    return response


def host_path(host: Hostname) -> str:
    """Return the path of the page of a host, as `lead_to` takes it."""
    return f"/hosts/{quote(host.text, safe='*')}"


def message() -> tuple[str, str]:
    """Return once what the last action has done, and its class; empty if there was none."""
    sent = request.cookies.get(_DONE_COOKIE)
    if sent is None or refreshing():
        return "", ""

    @after_this_request
    def delete_cookie(response: Response) -> Response:
        response.delete_cookie(_DONE_COOKIE, secure=g.is_secure, httponly=True, samesite="Strict")
        return response

    done, _, name = sent.partition(":")
    text = _DONE.get(done, "").format(host=shown(Hostname(name)))
    return text, _NOT_DONE.get(done, "good")


def arguments() -> Mapping[str, str]:
    """Return the parameters of the current page that links and forms keep.

    A link on another site can't choose the URL that devices send their keys to.
    """
    is_foreign = g.get("is_foreign")
    return {name: value for name, value in request.args.items() if name != "url" or not is_foreign}


def here(**changes: object) -> str:
    """Return the link to the current page, with some parameters changed or left out."""
    return request.script_root + place(**changes)


def place(**changes: object) -> str:
    """Return what `here` does, without the path that the proxy serves this service below."""
    found = {**arguments(), **changes}
    query = urlencode({name: value for name, value in found.items() if value not in (None, "")})
    path = quote(request.path, safe="/*")
    return f"{path}?{query}" if query else path


def in_turn(view: Callable[[], ResponseReturnValue]) -> Callable[[], ResponseReturnValue]:
    """Wrap a view that reads all hosts, so that a process runs only one such view at a time.

    Otherwise many of them at once would take much memory, and delay updates.
    """

    @functools.wraps(view)
    def run() -> ResponseReturnValue:
        with _TURN:
            return view()

    return run


def compress(response: Response) -> Response:
    """Compress a page. A page with a key isn't compressed, so that its size reveals nothing."""
    has_text = response.mimetype in ("text/html", "text/plain") and not response.is_streamed
    if has_text and not g.get("has_key") and "Content-Encoding" not in response.headers:
        response.vary.add("Accept-Encoding")
        if _accepts_gzip() and len(response.get_data()) >= _SMALLEST:
            fill(response, response.iter_encoded())
    return response


def fill(response: Response, parts: Iterable[bytes]) -> Response:
    """Set the body of a response, compressed if the browser accepts that."""
    response.vary.add("Accept-Encoding")
    if _accepts_gzip():
        packer = zlib.compressobj(_LEVEL, wbits=_GZIP)
        parts = [packer.compress(part) for part in parts]
        parts.append(packer.flush())
        response.headers["Content-Encoding"] = "gzip"
    response.set_data(b"".join(parts))
    return response


def _accepts_gzip() -> bool:
    return request.accept_encodings.quality("gzip") > 0


def prepare(state: BlueprintSetupState) -> None:
    """Give the templates of the application their filters and functions."""
    environment = state.app.jinja_env
    environment.filters.update(FILTERS)
    functions = (live, icon, arguments, here, place, message, refreshing, shown)
    environment.globals.update({one.__name__: one for one in functions})
    environment.trim_blocks = environment.lstrip_blocks = True
