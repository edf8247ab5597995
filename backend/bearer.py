"""A token in a request's header, where nothing in the environment can replace it."""

from __future__ import annotations

from requests import PreparedRequest
from requests.auth import AuthBase


class Bearer(AuthBase):
    """Sets the token as `auth`, for a header of that name would lose to an entry in .netrc."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Put the token into a request."""
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request
