"""The operator's face: who may see it, what every answer carries, and what a form has to bring."""

from __future__ import annotations

import functools
import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import Callable, Mapping, Optional, Sequence, Tuple, Type

from flask import Response, after_this_request, g, render_template, request

from backend import errors
from backend.auth.addresses import UpdateRequest
from backend.auth.authorizer import Authorizer
from backend.auth.keys import Credentials, same
from backend.model import Requester
from backend.web.request import (
    CHALLENGE,
    Network,
    answer_for,
    base_url,
    client_address,
    credentials,
    whole_seconds,
)
from backend.web.sites import is_cross_site

_COOKIE = "dyndns-browser"
_COOKIE_SECONDS = 90 * 24 * 3600
_FORM_SECONDS = 12 * 3600  # a form is good for one to two of these

# Which status and headline an error has here; a class that isn't listed has its parent's.
ANSWERS: Mapping[Type[errors.DyndnsError], Tuple[int, str]] = {
    errors.DyndnsError: (500, "Something went wrong"),
    errors.CallerError: (400, "That can't be done"),
    errors.Unauthorized: (401, "Log in"),
    errors.HostNotAllowed: (404, "No such host"),
    errors.TooManyFailures: (429, "Too many failed logins"),
    errors.OperatorError: (502, "The set-up is wrong"),
    errors.TransientError: (503, "Not now"),
}

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With `no-referrer` a browser would send our own forms with the origin "null".
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class FormRefused(errors.CallerError):
    """A form that this page hasn't made, or long ago."""


@dataclass(frozen=True)
class Forms:
    """Signs forms, and the cookie of a browser that has logged in."""

    signing_key: Callable[[], bytes]

    @functools.cached_property
    def _key(self) -> bytes:
        return self.signing_key()

    def sign(self, *words: str) -> str:
        """Return what only a process of this service can make of some words."""
        text = "\n".join(words).encode("utf-8", "surrogatepass")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()

    def form_token(self, current_credentials: Credentials, age: int = 0) -> str:
        """Return the token for forms of somebody who has logged in so."""
        span = int(time.time() // _FORM_SECONDS) - age
        return self.sign(
            "form", str(span), current_credentials.user or "", current_credentials.secret
        )

    def check_form(self, current_credentials: Credentials, proxies: Sequence[Network]) -> None:
        """Make sure that a form is of this page; raise `FormRefused` otherwise."""
        sent = request.form.get("token", "")
        tokens = [self.form_token(current_credentials, age) for age in (0, 1)]
        is_ours = any(hmac.compare_digest(sent.encode(), token.encode()) for token in tokens)
        if not is_ours or is_cross_site(request, proxies):
            raise FormRefused(
                "This form is too old, or another site has sent it: reload the page and try again."
            )


def authorize_operator(authorizer: Authorizer, forms: Forms, proxies: Sequence[Network]) -> None:
    """Let the operator in; raise `Unauthorized` or `TooManyFailures` for anybody else."""
    source = client_address(request, proxies)
    current_credentials = credentials(request)
    token = _browser_token(forms, current_credentials)
    is_known = bool(token) and same(request.cookies.get(_COOKIE, ""), token)
    g.operator = authorizer.authorize_operator(
        UpdateRequest("page", source, current_credentials), is_known=is_known
    )
    g.credentials = current_credentials
    if token and not is_known:
        is_secure = base_url(request, proxies).startswith("https:")
        after_this_request(lambda response: _remember(response, token, is_secure=is_secure))


def _browser_token(forms: Forms, current_credentials: Optional[Credentials]) -> str:
    """Return the cookie by which a browser that has logged in is recognized later.

    A guesser from the same source can't forge the cookie, and so can't delay the operator's
    browser. Empty without a login, and while the store is unavailable.
    """
    if current_credentials is None:
        return ""
    try:
        return forms.sign("browser", current_credentials.user or "", current_credentials.secret)
    except errors.StoreUnavailable:
        return ""


def _remember(response: Response, token: str, *, is_secure: bool) -> Response:
    response.set_cookie(
        _COOKIE,
        token,
        max_age=_COOKIE_SECONDS,
        secure=is_secure,
        httponly=True,
        samesite="Strict",
    )
    return response


def current_operator() -> Requester:
    """Return who has logged in."""
    requester: Requester = g.operator
    return requester


def current_credentials() -> Credentials:
    """Return what the operator has logged in with."""
    given: Credentials = g.credentials
    return given


def guarded(response: Response) -> Response:
    """Put on an answer what every one of this face carries."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def refusal(error: errors.DyndnsError) -> Response:
    """Answer an error with a page that says what to do."""
    status, title = answer_for(ANSWERS, error)
    return error_page(status, title, str(error), getattr(error, "retry_after", None))


def error_page(status: int, title: str, text: str, retry_after: Optional[float] = None) -> Response:
    """Answer with a page that says one thing."""
    response = Response(render_template("error.html", title=title, text=text), status)
    if status == 401:  # noqa: PLR2004
        response.headers["WWW-Authenticate"] = CHALLENGE
    if retry_after is not None:
        response.headers["Retry-After"] = whole_seconds(retry_after)
    return guarded(response)
