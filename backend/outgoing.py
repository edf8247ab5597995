"""Sessions for calls to other servers, with limits on the time and size of a whole answer.

The timeout of a Python socket limits one call of `recv`, not an answer: a server that sends single
bytes never exceeds it (https://docs.python.org/3/library/socket.html, "Notes on socket timeouts").
requests and urllib3 use this timeout to read. The other calls, in CPython 3.8 to 3.13:

- `sendall` and a TLS handshake are limited as a whole (since 3.5). `sendall` over TLS limits each
  record of 16 KiB; a request of this service is one or two.
- `connect` is limited as a whole, but urllib3 calls it for each address of a name. This module
  gives all addresses together twice the time of one.

Name lookups, the handshake of a SOCKS proxy, and TLS inside of TLS (with a proxy at an https://
URL) have no limit.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any, Mapping

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, ProxyManager, Timeout, exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

# Head, body and chunk sizes of an answer.
_MAX_BYTES = 8 * 1024 * 1024
_CHUNK = 64 * 1024


class _BoundedReader(io.RawIOBase):
    """Reads one answer, and applies the socket's timeout to the whole of it."""

    def __init__(self, raw: Any, sock: socket.socket) -> None:  # noqa: ANN401
        self._raw = raw
        self._sock = sock
        self._seconds = sock.gettimeout()
        self._end = time.monotonic() + (self._seconds or 0)
        self._bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # noqa: ANN401
        left = None if self._seconds is None else self._end - time.monotonic()
        if left is not None and left <= 0:
            raise socket.timeout("timed out")
        if self._bytes > _MAX_BYTES:
            raise http.client.HTTPException("the answer is too long")
        self._sock.settimeout(left)
        try:
            number: int | None = self._raw.readinto(buffer)
        finally:
            # The next request on this connection is sent with this timeout.
            self._sock.settimeout(self._seconds)
        self._bytes += number or 0
        return number

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    """http.client reads the answers to a request and to CONNECT with this class."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_BoundedReader(self.fp.detach(), sock))


class _BoundedHTTPConnection(HTTPConnection):
    response_class = _BoundedResponse

    def _new_conn(self) -> socket.socket:
        """Try the addresses of the host; all of them together get twice the time of one."""
        host, seconds = self._dns_host, self.timeout
        if seconds is None:
            return super()._new_conn()
        end = time.monotonic() + 2 * seconds
        failure: Exception = NewConnectionError(self, f"{host} has no address")
        for address in self._addresses():
            left = end - time.monotonic()
            if left <= 0:
                break
            self._dns_host, self.timeout = address, min(seconds, left)
            try:
                sock = super()._new_conn()
            except (ConnectTimeoutError, NewConnectionError) as error:
                failure = error
            else:
                sock.settimeout(seconds)
                return sock
            finally:
                self._dns_host, self.timeout = host, seconds
        raise failure

    def _addresses(self) -> list[str]:
        host = self._dns_host.strip("[]")
        try:
            found = socket.getaddrinfo(host, self.port, 0, socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise NewConnectionError(self, f"{host} is not found: {error}") from error
        return [str(address[0]) for *_, address in found]


class _BoundedHTTPSConnection(_BoundedHTTPConnection, HTTPSConnection):
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _BoundedHTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _BoundedHTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class _BoundedAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        base: Any = super()  # has no types on Python 3.8
        base.init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        base: Any = super()
        manager = base.proxy_manager_for(*args, **kwargs)
        if isinstance(manager, ProxyManager):  # a manager for SOCKS has its own pools
            manager.pool_classes_by_scheme = _POOLS
        return manager


class Session(requests.Session):
    """A session for calls to one URL by `ask`.

    It never follows a redirect: a POST would become a GET that succeeds. It asks for no
    compression, so that a small answer can't expand to a large one. It takes proxies and
    certificates from the environment, which requests would otherwise read at each call, but no
    login from .netrc: all logins are in the settings.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        for scheme in ("http://", "https://"):
            self.mount(scheme, _BoundedAdapter())
        self.headers["Accept-Encoding"] = "identity"
        found = self.merge_environment_settings(url, {}, None, None, None)
        self.proxies, self.verify = found["proxies"], found["verify"]
        self.trust_env = False

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002
        """Ignore Location. Otherwise, requests reads the whole body of a redirect first."""
        return


class Bearer(AuthBase):
    """Sends a token as `auth`: requests would let a login in the URL replace a plain header."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class NoAnswer(Exception):
    """No complete answer came in time.

    The message contains the reason, but not the URL, because a URL may contain a login.

    If `was_sent`, the server may have received the request and be slow.
    """

    def __init__(self, cause: str, *, was_sent: bool = False) -> None:
        super().__init__(cause)
        self.was_sent = was_sent


def ask(
    session: Session,
    method: str,
    url: str,
    limit: int,
    timeout: float | tuple[float, float],
    **options: Any,  # noqa: ANN401
) -> tuple[int, Mapping[str, str], bytes]:
    """Return status, headers and body; the body ends at the first chunk beyond `limit`.

    `timeout` is `(seconds to connect, seconds in total)`, or one number for both.

    Raises:
        NoAnswer: the answer is missing, late or incomplete.

    """
    body = bytearray()
    connect, total = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    options["timeout"] = Timeout(connect=connect, total=total)
    try:
        with session.request(method, url, stream=True, **options) as response:
            raw = response.raw
            try:
                while len(body) <= limit and (chunk := raw.read(_CHUNK, decode_content=False)):
                    body += chunk
            except ValueError:  # http.client accepts a negative chunk size
                raise NoAnswer("the answer broke off") from None
            return response.status_code, response.headers, bytes(body)
    except requests.exceptions.SSLError:
        raise NoAnswer("TLS failed, check the clock and the CA certificates") from None
    except requests.exceptions.ProxyError:
        raise NoAnswer("the proxy doesn't answer") from None
    except (requests.exceptions.Timeout, exceptions.TimeoutError) as error:
        was_sent = not isinstance(error, requests.exceptions.ConnectTimeout)
        raise NoAnswer("no complete answer in time", was_sent=was_sent) from None
    except requests.exceptions.ConnectionError as error:
        raise NoAnswer(_root(error)) from None
    except (requests.RequestException, exceptions.HTTPError):
        raise NoAnswer("the answer broke off") from None
    except OSError:  # requests wraps all others: see above
        raise NoAnswer("the file with the CA certificates can't be read") from None


def _root(error: BaseException) -> str:
    """Return the operating system's reason, from the end of a chain of errors."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, socket.gaierror):
            return "the host name can't be resolved, check DNS"
        if isinstance(below, OSError) and below.strerror:
            return below.strerror.lower()
        if isinstance(below, http.client.HTTPException):
            return "the answer broke off or isn't HTTP"
        below = below.__cause__ or below.__context__
    return "no connection"


def retry_after(headers: Mapping[str, str], lowest: float, highest: float) -> float | None:
    """Return the seconds in Retry-After, within bounds; `None` without a number.

    Neither Hetzner nor ntfy sends the other form of the header, a date.
    """
    try:
        return min(highest, max(lowest, float(headers["retry-after"])))
    except (KeyError, ValueError):
        return None
