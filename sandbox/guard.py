"""What happens before and after a call is executed: token, limits, faults, journal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NoReturn, Sequence

from flask import Flask, Response, g, request

from sandbox.faults import Fault, Faults
from sandbox.journal import Journal
from sandbox.limits import Limits
from sandbox.refusal import ApiError

TOKEN_LENGTH = 64
# Recorded at Hetzner, with its order of keys and its final newline.
_UNAUTHORIZED = (
    '{"error":{"code":"unauthorized","details":null,'
    '"message":"the token you have provided is invalid"}}\n'
)
_API = "/v1"


@dataclass(frozen=True)
class Tokens:
    """The valid tokens; those in `read_only` have read permission only."""

    every: Sequence[str]
    read_only: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for a token that Hetzner wouldn't issue."""
        for token in self.every:
            if len(token) != TOKEN_LENGTH or not token.isalnum():
                raise ValueError(f"a token has {TOKEN_LENGTH} letters and digits, not {len(token)}")

    def index(self, authorization: str) -> int | None:
        """Return the index of the token in this header, or None if it isn't valid."""
        scheme, _, token = authorization.partition(" ")
        known = scheme.lower() == "bearer" and token in self.every
        return self.every.index(token) if known else None


class Silence(Response):
    """Closes the connection instead of answering."""

    def __call__(self, *_: object) -> NoReturn:
        """Raise the error on which the server closes the connection."""
        raise ConnectionResetError("this call gets no answer")


@dataclass(frozen=True)
class Guard:
    """Checks each call, and records it in the journal."""

    tokens: Tokens
    limits: Limits
    faults: Faults
    journal: Journal

    def register(self, app: Flask) -> None:
        """Check all requests to an app."""
        app.before_request(self.enter)
        app.after_request(self.leave)

    def enter(self) -> Response | None:
        """Return the answer to a call that must not be executed, or None."""
        g.number = g.fault = g.allowance = None
        if not request.path.startswith(_API):
            return None
        path = request.path[len(_API) :]
        index = self.tokens.index(request.headers.get("Authorization", ""))
        query = request.query_string.decode("latin-1")
        # Before the call is in the journal: a reset that follows must wake this call.
        held_back = self.faults.hold(request.method, path)
        g.number = self.journal.begin(request.method, path, query, _body(), index)
        if held_back():
            return Silence()
        g.fault = self.faults.take_fault(request.method, path)
        if index is not None:
            g.project = self.tokens.every[index]
            g.allowance = self.limits.take(g.project, request.method, request.path)
        if g.fault and not g.fault.after:
            return _answer(g.fault)
        return None if index is not None and self._is_allowed() else _unauthorized()

    def leave(self, response: Response) -> Response:
        """Add Hetzner's headers, and record the answer."""
        if g.number is None:
            return response
        if g.fault and g.fault.after:
            response = _answer(g.fault)
        if g.allowance:
            response.headers["X-Correlation-Id"] = f"{g.number:032x}"
            response.headers["Vary"] = "Accept-Encoding"
            for name, value in g.allowance.headers().items():
                response.headers.setdefault(name, value)
        silent = isinstance(response, Silence)
        self.journal.end(g.number, None if silent else response.status_code)
        return response

    def _is_allowed(self) -> bool:
        if not g.allowance.granted:
            message = f"limit of {g.allowance.limit} requests per hour reached"
            raise ApiError(429, message)
        if request.method != "GET" and g.project in self.tokens.read_only:
            raise ApiError(401, "token is only allowed to read", code="token_readonly")
        return True


def _answer(fault: Fault) -> Response:
    if fault.silent:
        return Silence()
    return Response(fault.content(), fault.answer_status(), fault.answer_headers())


def _unauthorized() -> Response:
    return Response(_UNAUTHORIZED, 401, mimetype="application/json")


def _body() -> object:
    text = request.get_data().decode(errors="replace")
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text
