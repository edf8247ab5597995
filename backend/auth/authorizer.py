"""Decides whether a caller may make an update."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hmac
import re
import threading
import time
from collections import OrderedDict
from typing import Callable, ContextManager, Sequence, TypeVar

from backend.auth.addresses import is_address, requested_update
from backend.auth.registry import Registry
from backend.auth.throttle import Alarm, FailedLogins, LoginQueue
from backend.errors import (
    BadHostname,
    BadRequest,
    DyndnsError,
    ForeignHost,
    HostNotAllowed,
    MissingCredentials,
    MissingHostname,
    StoreUnavailable,
    TooManyFailures,
    Unauthorized,
    not_registered,
)
from backend.events import EventSink, PartlyUsed, Rejected
from backend.metrics import Meters
from backend.model import (
    Credentials,
    Hostname,
    OwnSettings,
    Requester,
    Update,
    UpdateRequest,
    digest,
)
from backend.rate import LineLimit, network_of
from backend.store.challenges import Challenge
from backend.store.leases import SAY_AGAIN
from backend.store.schema import Entry

T = TypeVar("T")

_REJECTIONS_AT_ONCE, _REJECTIONS_A_SECOND = 20.0, 0.1
_MOST_REJECTIONS = 10_000
_TOP_LEVEL_DOMAIN = re.compile(r"\.([^\W\d_]{2,}|xn--[\w-]+)$")
_WRONG_KEY = "Wrong key, or unknown host."
_WORD = re.compile(r"[\w*.-]+")
_SEPARATOR = re.compile(r"[,\s]+")
# The parts of an error text that may differ in each request: quoted texts and addresses.
_VARYING = re.compile(r'"[^"]*"|[0-9a-f]*[0-9:][0-9a-f:.]*', re.IGNORECASE)


class Rejections:
    """Reports problems in updates of callers with a valid key, each problem once a day.

    Safe to share between threads.
    """

    def __init__(
        self,
        add_once: Callable[[Entry, str], bool],
        reporter: EventSink,
        clock: Callable[[], float] = time.time,
        transaction: Callable[[], ContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        """`add_once` is `History.add_once`, `transaction` is `Store.transaction`."""
        self._transaction = transaction
        self._add_once = add_once
        self._reporter = reporter
        self._clock = clock
        self._limits: dict[Hostname, LineLimit] = {}
        self._lock = threading.Lock()
        self._reported: OrderedDict[str, float] = OrderedDict()  # saves reads of the store

    def report(self, event: Rejected, protocol: str) -> None:
        """Report an event, unless the same problem of the host was reported within a day.

        Without the store, each process reports it.
        """
        now = self._clock()
        cause = digest(_VARYING.sub("", f"{type(event).__name__} {event.error}")).hex()[:32]
        key = f"{event.host} {cause}"
        with self._lock:
            if 0 <= now - self._reported.get(key, -SAY_AGAIN) < SAY_AGAIN:
                return
            if event.host not in self._limits:
                limit = LineLimit(_REJECTIONS_AT_ONCE, _REJECTIONS_A_SECOND, self._clock)
                self._limits[event.host] = limit
            if self._limits[event.host].take() is None:
                return
            self._reported[key] = now
            if len(self._reported) > _MOST_REJECTIONS:
                self._reported.popitem(last=False)
        entry = Entry(
            at=now,
            host=event.host.text,
            type="",
            event=event.kind,
            source=event.source,
            protocol=protocol,
            why=event.error,
        )
        try:
            with self._transaction():
                if self._add_once(entry, cause):
                    self._reporter.report(event)
        except StoreUnavailable:
            self._reporter.report(event, quietly=True)


class Authorizer:
    """Decides what a caller may do."""

    def __init__(  # noqa: PLR0913
        self,
        registry: Registry,
        failures: FailedLogins,
        alarm: Alarm,
        rejections: Rejections,
        *,
        operator: Credentials | None = None,
        queue: LoginQueue | None = None,
        allow_private: bool = False,
        meters: Meters | None = None,
    ) -> None:
        self._registry = registry
        self._failures = failures
        self._alarm = alarm
        self._rejections = rejections
        self._operator = operator
        self._queue = queue or LoginQueue()
        self._allow_private = allow_private
        self._meters = meters or Meters()

    def authorize(self, request: UpdateRequest, *, is_known: bool = False) -> Update:
        """Return the update that a request may make.

        `is_known`: the same login was accepted for another host of the same request.

        Raises:
            CallerError: the update isn't allowed, or is invalid.
            KeysUnavailable: this process hasn't read the key file yet.

        """
        read = functools.partial(requested_update, allow_private=self._allow_private)
        (update, skipped), by_operator = self._authorize(request, read, is_known=is_known)
        if skipped:
            partly = PartlyUsed(update.host, request.source, skipped)
            self._rejections.report(partly, request.protocol)
        return dataclasses.replace(update, by_operator=True) if by_operator else update

    def authorize_challenge(self, request: UpdateRequest, value: str) -> Challenge:
        """Return the certificate challenge that a request may set or clear.

        The wildcard host may set the challenge of its parent: if only the wildcard is registered,
        or if the login is that of the wildcard. Raises what `authorize` raises.
        """
        with contextlib.suppress(BadHostname):
            hosts, named = self._registry.current, Hostname.parse(request.name)
            wildcard = Hostname.parse(f"*.{request.name}")
            # A list, so that each request takes the same time.
            users = [wildcard in hosts.of_login(login, named) for login in request.logins]
            is_wildcards = any(users) or named not in hosts.names
            chosen = wildcard if is_wildcards and wildcard in hosts.names else named
            request = dataclasses.replace(request, name=chosen.text)

        def read(request: UpdateRequest, host: Hostname, own: OwnSettings) -> Challenge:
            if own.certificates is False:
                raise HostNotAllowed(f"The operator has switched certificates off for {host}.")
            for parameter in request.unknown:
                if is_address(parameter.value):
                    quoted = request.quote_parameter(parameter)
                    raise BadRequest(f"A challenge has no address: send {quoted} to /update.")
            return Challenge(host, value, Requester(request.source, request.protocol))

        challenge, _ = self._authorize(request, read)
        return challenge

    def _authorize(
        self,
        request: UpdateRequest,
        read: Callable[[UpdateRequest, Hostname, OwnSettings], T],
        *,
        is_known: bool = False,
    ) -> tuple[T, bool]:
        """Find the host of a request, and return what `read` makes of both and its settings.

        Return also whether the operator has sent it.
        """
        named, problem, owner = None, request.problem, None
        try:
            if not request.logins:
                raise MissingCredentials("Send the key of the host, or log in.")
            try:
                named = Hostname.parse(request.name) if request.name else None
            except BadHostname as error:
                problem = problem or BadHostname(f"{request.quote(request.name)}: {error}")
            hosts, wrong = self._hosts_of(request, named)
            if wrong and named not in hosts and self._registry.refresh_early():
                hosts, wrong = self._hosts_of(request, named)
            # A wrong login beside a right one fails if the right one isn't valid for the host.
            if wrong and (not hosts or named not in (None, *hosts)):
                asked = dataclasses.replace(request, logins=tuple(wrong))
                self.authorize_operator(asked, named, is_known=is_known, problem=_WRONG_KEY)
                hosts = []  # the operator may update all
            registered = self._registry.current
            owner = named if named in (hosts or registered.names) else next(iter(hosts), None)
            if problem is not None:
                raise problem
            host = self._host(request, named, hosts)
            unread = (one for login in wrong for one in login.parameters)
            request = dataclasses.replace(request, unknown=(*request.unknown, *unread))
            _check_names(request, host)
            return read(request, host, registered.own(host)), not hosts
        except DyndnsError as error:
            self._meters.turned_away(request.protocol, error)
            if owner is not None:
                rejected = Rejected(owner, request.source, str(error))
                self._rejections.report(rejected, request.protocol)
            raise

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
        logins, operator = request.logins, self._operator
        if not logins:
            raise MissingCredentials(
                "Log in as the operator, with BASIC_AUTH_USERNAME and BASIC_AUTH_PASSWORD."
            )
        names = [login.user for login in logins if login.user is not None]
        network = network_of(request.source)
        if not is_known and names and self._failures.is_over(f"source {network}"):
            self._queue.wait(network)
        for login in logins:
            if operator is not None and login.user is not None:
                # Digests have one length, and both are compared, so that timing reveals nothing.
                is_user = hmac.compare_digest(digest(login.user), digest(operator.user or ""))
                if hmac.compare_digest(login.digest, operator.digest) and is_user:
                    return Requester(request.source, request.protocol)
        self._meters.failed_login()
        # The failures for a host count under the first label that the request names. If registered
        # hosts were counted in another way, the 429 would reveal which exist. Hosts with the same
        # label share a count; right keys are accepted anyway. Only a digest is stored, since people
        # type passwords into the user name field.
        labels = {name.strip().lower().split(".", 1)[0] for name in names or [str(named or "")]}
        digests = [digest(label).hex()[:32] for label in sorted(labels)]
        keys = [f"name {label}" for label in digests]
        # For the page of a host, which shows where wrong logins come from.
        pairs = [f"pair {label} {network}" for label in digests]
        found = self._failures.count([f"source {network}", *keys, *pairs])
        of_source, *of_labels = found[: 1 + len(keys)]
        host = None
        if names or named is not None:
            registered = self._registry.current
            candidates = (host for one in logins for host in registered.of_login(one, named))
            host = next(candidates, None)
        if of_source.number == 1:
            self._alarm.failed(request.source, host)
        if host is not None and any(one.has_crossed for one in of_labels):
            self._alarm.blocked(request.source, host)
        wait = max(one.wait for one in (of_source, *of_labels))
        if wait:
            raise TooManyFailures("Too many failed logins: wait, and check the key.", wait)
        raise Unauthorized(problem)

    def _hosts_of(
        self, request: UpdateRequest, named: Hostname | None
    ) -> tuple[list[Hostname], list[Credentials]]:
        """Return the hosts that the logins of a request are valid for, and the other logins."""
        registered, keys = self._registry.access()
        right: dict[Hostname, None] = {}  # in order
        wrong: list[Credentials] = []
        for login in request.logins:
            candidates = registered.of_login(login, named)
            # Unknown users are checked against a registered host, so that timing doesn't reveal
            # which hosts exist.
            opened = keys.opened(candidates or registered.in_order[:1], login.digest)
            if not (opened and candidates):
                wrong.append(login)
                continue
            right.update(dict.fromkeys(opened))
            if named in registered.names and named not in opened:
                right.update(dict.fromkeys(keys.opened([named], login.digest)))
        return list(right), wrong

    def _host(
        self, request: UpdateRequest, named: Hostname | None, hosts: Sequence[Hostname]
    ) -> Hostname:
        """Return the host to update: the named one, or the only one of the login."""
        if not hosts:
            if named is None:
                raise MissingHostname("The operator may update all hosts: name one.")
            if named not in self._registry.current.names:
                raise not_registered(named)
            return named
        if named is None:
            if request.is_lenient and len(hosts) == 1:
                return hosts[0]
            raise MissingHostname(
                "This login is valid for several hosts: send the full host name."
                if request.is_lenient
                else "No host name given: send the full name, as in host.example.com."
            )
        if named not in hosts:
            raise ForeignHost(f"This login isn't valid for {named}.")
        return named


def _check_names(request: UpdateRequest, host: Hostname) -> None:
    """Raise `BadRequest` if a request names another host where none is expected.

    Whether that host is registered makes no difference, so that no key reveals other hosts.
    """
    for parameter in request.other_names:
        quoted = request.quote_parameter(parameter)
        raise BadRequest(f"{quoted} contradicts the host name {host}: send one of them.")
    given = (*request.addresses, *request.prefixes) if request.is_lenient else ()
    for parameter in (*request.unknown, *given):
        words = _SEPARATOR.split(parameter.value or parameter.name)
        # Without a host name, one may be anywhere in a parameter.
        for word in words if request.name else _WORD.findall(" ".join(parameter)):
            named = word.strip(".-").lower()
            if f".{host}".endswith(f".{named}") or not _TOP_LEVEL_DOMAIN.search(named):
                continue
            with contextlib.suppress(BadHostname):
                if Hostname.parse(named) != host:
                    quoted = request.quote_parameter(parameter)
                    raise BadRequest(f"{quoted} is another host than {host}: send it as hostname.")
