"""Login, signed tokens, response headers and error pages of the operator's pages."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import time
from dataclasses import astuple
from typing import Callable, Mapping, Sequence

from flask import Response, after_this_request, g, render_template, request
from itsdangerous import BadSignature, TimestampSigner

from backend import errors
from backend.model import Network, Requester, UpdateRequest
from backend.web.caller import base_url, client_address, is_cross_site
from backend.web.pages import back_path
from backend.web.request import answer_for, header_logins

_COOKIE, _KEY_COOKIE = "dyndns-browser", "dyndns-key"
_COOKIE_SECONDS = 90 * 24 * 3600
_KEY_SECONDS = 15 * 60  # for which the page of a host shows the key after it was asked to
FORM_SECONDS = 24 * 3600

# Status and headline of each error; a class that isn't listed has those of its parent.
ANSWERS: Mapping[type[errors.DyndnsError], tuple[int, str]] = {
    errors.DyndnsError: (500, "Something went wrong"),
    errors.CallerError: (400, "The request can't be carried out"),
    errors.RequestTooLarge: (413, "The request is too large"),
    errors.Unauthorized: (401, "Log in"),
    errors.HostNotAllowed: (404, "Unknown host"),
    errors.TooManyFailures: (429, "Too many failed logins"),
    errors.OperatorError: (502, "The set-up is wrong"),
    errors.TransientError: (503, "Temporarily unavailable"),
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
    """A form has no valid token, or another site has sent it."""


class Session:
    """Logs the operator in, and makes tokens that any process of this service accepts.

    The words that a token is bound to are part of its signing key; the token doesn't reveal them.
    """

    def __init__(
        self,
        signing_key: Callable[[], bytes],
        authorize: Callable[..., Requester],
        proxies: Sequence[Network],
    ) -> None:
        """`authorize` is `Authorizer.authorize_operator`."""
        self._signing_key = functools.lru_cache(maxsize=1)(signing_key)
        self._authorize = authorize
        self.proxies = proxies

    def token(self, *words: str | None) -> str:
        """Return a token for a purpose, bound to the other words.

        Raises:
            StoreUnavailable: the signing key can't be read.

        """
        return self._signer(words).sign("1").decode()

    def is_valid(self, token: str, seconds: float, *words: str | None) -> bool:
        """Return whether a token was made for these words within the last `seconds`."""
        try:
            _, made_at = self._signer(words).unsign(token, return_timestamp=True)
        except BadSignature:
            return False
        # `unsign(max_age=…)` would refuse a token of a machine whose clock is ahead of ours.
        return time.time() - made_at.timestamp() <= seconds

    def _signer(self, words: Sequence[str | None]) -> TimestampSigner:
        key, salt = self._signing_key(), json.dumps(words)
        return TimestampSigner(key, salt, key_derivation="hmac", digest_method=hashlib.sha256)

    def form_token(self) -> str:
        """Return the token for the forms of a page, bound to the operator's credentials."""
        return self.token("form", *astuple(g.credentials))

    def check_form(self) -> Requester:
        """Return the operator; raise `FormRefused` unless our own page has sent the form."""
        token = request.form.get("token", "")
        is_ours = self.is_valid(token, FORM_SECONDS, "form", *astuple(g.credentials))
        if not is_ours or g.is_foreign:
            raise FormRefused(
                "This form has expired, or another site has sent it. Nothing was changed: go back "
                "to the page, and try again."
            )
        operator: Requester = g.operator
        return operator

    def log_in(self) -> None:
        """Log the operator in; raise what `Authorizer.authorize_operator` raises for anyone else.

        A browser that has logged in keeps a cookie. Someone who guesses passwords from the same
        source can't forge the cookie, and so can't delay the operator's browser.
        """
        login = next(iter(header_logins(request)), None)
        sent = request.cookies.get(_COOKIE, "")
        cookie, is_known = "", False
        if login is not None:
            with contextlib.suppress(errors.StoreUnavailable):  # must not log anyone out
                words = ("browser", *astuple(login))
                cookie = self.token(*words)
                is_known = self.is_valid(sent, _COOKIE_SECONDS, *words)
        g.is_foreign = is_cross_site(request, self.proxies)
        g.is_secure = base_url(request, self.proxies).startswith("https:")
        source = client_address(request.environ, self.proxies)
        page = UpdateRequest("page", source, (login,) if login else ())
        g.operator = self._authorize(page, is_known=is_known)
        g.credentials = login
        if cookie and not is_known:

            @after_this_request
            def remember(response: Response) -> Response:
                self._set_cookie(response, _COOKIE, cookie, _COOKIE_SECONDS, "/")
                return response

    def show_key(self, response: Response, key: str | None, path: str) -> Response:
        """Let the page at a path show a key in this browser; `None` hides the key again."""
        cookie = "" if key is None else self.token(*self._key_words(key, path))
        self._set_cookie(response, _KEY_COOKIE, cookie, _KEY_SECONDS if cookie else 0, path)
        return response

    def shows_key(self, key: str, path: str) -> bool:
        """Return whether this browser was asked to show this key; another site can't ask it to."""
        sent = request.cookies.get(_KEY_COOKIE, "")
        return self.is_valid(sent, _KEY_SECONDS, *self._key_words(key, path))

    def _key_words(self, key: str, path: str) -> Sequence[str | None]:
        return ("key", key, path, *astuple(g.credentials))

    @staticmethod
    def _set_cookie(response: Response, name: str, value: str, seconds: int, path: str) -> None:
        response.set_cookie(
            name,
            value,
            max_age=seconds,
            path=path,
            secure=g.is_secure,
            httponly=True,
            samesite="Strict",
        )


def with_headers(response: Response) -> Response:
    """Add the headers that every response of these pages has."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def refusal(error: errors.DyndnsError) -> Response:
    """Answer an error with a page that says what to do."""
    status, title, headers = answer_for(ANSWERS, error)
    response = error_page(status, title, str(error))
    response.headers.update(headers)
    return response


def error_page(status: int, title: str, text: str) -> Response:
    """Answer with a page that shows one message, and leads back to the page with the form."""
    page = render_template("error.html", title=title, text=text, back=back_path())
    return with_headers(Response(page, status))
