"""May this caller make this update?"""

from __future__ import annotations

import hmac
import ipaddress
import threading
import time
from typing import Callable, Iterable, Mapping, Sequence

from backend.auth.addresses import requested_update
from backend.auth.keys import NO_KEYS, KeyFile
from backend.auth.throttle import Alarm, FailedLogins, LoginQueue, network_of
from backend.errors import (
    DyndnsError,
    ForeignHost,
    HostNotAllowed,
    MissingCredentials,
    MissingHostname,
    TooManyFailures,
    Unauthorized,
)
from backend.events import EventSink, Rejected
from backend.metrics import Meters
from backend.model import Credentials, Hostname, Requester, Update, UpdateRequest, digest
from backend.rate import LineLimit

_REJECTIONS_AT_ONCE, _REJECTIONS_A_SECOND = 20.0, 0.1
_MOST_REJECTIONS = 10_000


class Rejections:
    """Reports invalid updates of callers with a valid key. Safe to share between threads.

    A problem is reported when it first occurs, and again after a valid update.
    """

    def __init__(self, reporter: EventSink, clock: Callable[[], float] = time.monotonic) -> None:
        self._reporter = reporter
        self._limit = LineLimit(_REJECTIONS_AT_ONCE, _REJECTIONS_A_SECOND, clock)
        self._lock = threading.Lock()
        # By the host of the key, and the host that the request names.
        self._reported: dict[tuple[Hostname, Hostname], str] = {}

    def report(self, host: Hostname, named: Hostname, source: str, problem: str) -> None:
        """Report a problem with an update of the host `named` with the key of `host`."""
        pair = host, named
        with self._lock:
            if self._reported.get(pair) == problem or self._limit.take() is None:
                return
            self._reported[pair] = problem
            if len(self._reported) > _MOST_REJECTIONS:
                del self._reported[next(iter(self._reported))]
        self._reporter.report(Rejected(host, source, problem))

    def clear(self, host: Hostname, named: Hostname) -> None:
        """Note a valid update."""
        if (host, named) in self._reported:
            with self._lock:
                self._reported.pop((host, named), None)


class Authorizer:
    """Decides what a caller may do."""

    def __init__(  # noqa: PLR0913
        self,
        hosts: Iterable[Hostname],
        key_file: KeyFile,
        failures: FailedLogins,
        alarm: Alarm,
        rejections: Rejections,
        *,
        operator: Credentials | None = None,
        queue: LoginQueue | None = None,
        allow_private: bool = False,
        interface_ids: Mapping[Hostname, ipaddress.IPv6Address] | None = None,
        meters: Meters | None = None,
    ) -> None:
        self._hosts = frozenset(hosts)
        # Returns the accepted keys. Updates stay authorized while it returns the same object.
        self.keys = key_file.accepted
        self._failures = failures
        self._alarm = alarm
        self._rejections = rejections
        self._operator = operator
        self._queue = queue or LoginQueue()
        self._allow_private = allow_private
        self._interface_ids = interface_ids or {}
        self._meters = meters or Meters()
        self._by_user: dict[str, list[Hostname]] = {}
        self._dummy = sorted(self._hosts)[:1]
        for host in sorted(self._hosts):
            for user in {host.text, host.first_label}:
                self._by_user.setdefault(user, []).append(host)

    def authorize(self, request: UpdateRequest, *, is_known: bool = False) -> Update:
        """Return the update that a request may make.

        `is_known`: the same login was accepted for another host of the same request.

        Raises:
            CallerError: the update isn't allowed, or is invalid.
            KeysUnavailable: this process hasn't read the key file yet.

        """
        host = None
        try:
            host = self._host(request, is_known=is_known)
            interface_id = self._interface_ids.get(host)
            update = requested_update(
                host, request, interface_id, allow_private=self._allow_private
            )
        except DyndnsError as error:
            self._meters.turned_away(request.protocol, error)
            if host is not None:
                self._rejections.report(host, host, request.source, str(error))
            raise
        self._rejections.clear(host, host)
        return update

    def authorized_again(self, update: Update) -> None:
        """Note that a request was repeated whose update is still authorized."""
        self._rejections.clear(update.host, update.host)

    def authorize_operator(
        self,
        request: UpdateRequest,
        named: Hostname | None = None,
        *,
        is_known: bool = False,
        problem: str = "Wrong user name or password.",
    ) -> Requester:
        """Return the operator as requester; count any other login as failed.

        A login with a user name is delayed if its source is over the limit. The delay doesn't
        depend on the name, so it reveals neither the operator's name nor hosts.

        `named` is the host that the request names. `is_known`: the same login was accepted before
        in the same browser, or for another host of the same request, so it isn't delayed.

        Raises:
            MissingCredentials: the request has no login.
            Unauthorized: the login is wrong; `problem` is the message.
            TooManyFailures: it is wrong, and its source or host is over the limit, or too many
                logins wait already.

        """
        credentials, operator = request.credentials, self._operator
        if credentials is None:
            raise MissingCredentials("Log in as the operator.")
        user, network = credentials.user, network_of(request.source)
        if not is_known and user is not None and self._failures.is_over(f"source {network}"):
            self._queue.wait(network)
        if operator is not None and user is not None:
            # Digests have one length, and both are compared, so that timing reveals nothing.
            is_user = hmac.compare_digest(digest(user), digest(operator.user or ""))
            if hmac.compare_digest(credentials.digest, operator.digest) and is_user:
                return Requester(request.source, request.protocol)
        self._meters.failed_login()
        # The failures for a host count under the first label that the request names. If registered
        # hosts were counted in another way, the 429 would reveal which exist. Hosts with the same
        # label share a count; right keys are accepted anyway. Only a digest is stored, since people
        # type passwords into the field of the user.
        name = user.strip().lower() if user is not None else str(named)
        label = digest(name.split(".", 1)[0]).hex()[:32]
        of_source, of_label = self._failures.count([f"source {network}", f"name {label}"])
        host = next(iter(self._candidates(named, credentials)), None)
        if of_source.number == 1:
            self._alarm.failed(request.source, host)
        if host is not None and of_label.has_crossed:
            self._alarm.blocked(request.source, host)
        wait = max(of_source.wait, of_label.wait)
        if wait:
            raise TooManyFailures("Too many failed logins: wait, and check the key.", wait)
        raise Unauthorized(problem)

    def _host(self, request: UpdateRequest, *, is_known: bool) -> Hostname:
        """Return the host that the request may update."""
        credentials = request.credentials
        if credentials is None:
            raise MissingCredentials("Send the key of the host, or log in.")
        named = None
        if request.name or credentials.user is None:
            named = Hostname.parse(request.name)
        candidates = self._candidates(named, credentials)
        # Unknown users are checked against a registered host, so that timing doesn't reveal which
        # hosts exist.
        checked = candidates or self._dummy
        keys = self.keys() if checked else NO_KEYS
        right = [host for host in checked if keys.open(host, credentials.digest)]
        if not right or not candidates:
            problem = "Wrong key, or unknown host."
            self.authorize_operator(request, named, is_known=is_known, problem=problem)
            if named is None:
                raise MissingHostname("The operator may update all hosts: name one.")
            if named not in self._hosts:
                raise HostNotAllowed(f"{named} isn't registered: add it to REGISTERED_FQDNS.")
            return named
        if named is None and request.name_follows_login and len(right) == 1:
            return right[0]
        if named is None:
            raise MissingHostname(
                "This login is valid for several hosts: send the full host name."
                if request.name_follows_login
                else "No host name given: send the full name, as in host.example.com."
            )
        if named not in self._hosts or not keys.open(named, credentials.digest):
            problem = f"Its login isn't valid for {named}."
            self._rejections.report(right[0], named, request.source, problem)
            raise ForeignHost("This login isn't valid for this host.")
        if named != right[0]:
            self._rejections.clear(right[0], named)
        return named

    def _candidates(self, named: Hostname | None, credentials: Credentials) -> Sequence[Hostname]:
        """Return the registered hosts of the user, or without a user, the named host."""
        if credentials.user is None:
            return [named] if named is not None and named in self._hosts else []
        user = credentials.user.strip().lower()
        return self._by_user.get(user[:-1] if user.endswith(".") else user, [])
