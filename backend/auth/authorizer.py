"""May this caller make this update?"""

from __future__ import annotations

import hmac
import ipaddress
from typing import Dict, Iterable, List, Mapping, Optional, Sequence

from backend.auth.addresses import AddressReader
from backend.auth.keys import NO_KEYS, AcceptedKeys, KeyFile, same
from backend.auth.throttle import Alarm, FailedLogins, LoginQueue, Rejections, network_of
from backend.errors import (
    CallerError,
    DyndnsError,
    ForeignHost,
    HostNotAllowed,
    MissingCredentials,
    MissingHostname,
    TooManyFailures,
    Unauthorized,
)
from backend.metrics import Meters
from backend.model import Credentials, Hostname, Requester, Update, UpdateRequest, digest


class Authorizer:
    """Knows who may do what."""

    def __init__(  # noqa: PLR0913
        self,
        hosts: Iterable[Hostname],
        key_file: KeyFile,
        failures: FailedLogins,
        alarm: Alarm,
        rejections: Rejections,
        *,
        operator: Optional[Credentials] = None,
        queue: Optional[LoginQueue] = None,
        allow_private: bool = False,
        interface_ids: Optional[Mapping[Hostname, ipaddress.IPv6Address]] = None,
        meters: Optional[Meters] = None,
    ) -> None:
        self._hosts = frozenset(hosts)
        self._key_file = key_file
        self._failures = failures
        self._alarm = alarm
        self._rejections = rejections
        self._operator = operator
        self._queue = queue or LoginQueue()
        self._reader = AddressReader(interface_ids or {}, allow_private=allow_private)
        self._meters = meters or Meters()
        self._by_user: Dict[str, List[Hostname]] = {}
        self._stand_in = sorted(self._hosts)[:1]
        for host in sorted(self._hosts):
            for user in {host.text, host.first_label}:
                self._by_user.setdefault(user, []).append(host)

    def authorize(self, request: UpdateRequest, *, is_known: bool = False) -> Update:
        """Return the update that a request may make.

        `is_known`: the same login was right for another host of the same request.

        Raises:
            CallerError: it may not make one; the class says why.
            KeysUnavailable: no key could be read yet.

        """
        host = None
        try:
            host = self._host(request, is_known=is_known)
            update = self._reader.update(host, request)
        except DyndnsError as error:
            self._meters.turned_away(request.protocol, error)
            if host is not None:
                self._rejections.tell(host, request.source, str(error))
            raise
        self._rejections.clear(host)
        return update

    def keys(self) -> AcceptedKeys:
        """Return the accepted keys; what was authorized stays so while they are the same object."""
        return self._key_file.accepted()

    def authorized_again(self, update: Update) -> None:
        """Note that an update came once more, in the words that were admitted before."""
        self._rejections.clear(update.host)

    def authorize_operator(self, request: UpdateRequest, *, is_known: bool = False) -> Requester:
        """Let the operator in, and nobody else.

        `is_known`: the same credentials were right before in the same browser. They are compared
        without delay.

        Raises:
            Unauthorized, TooManyFailures: it is somebody else.

        """
        if request.credentials is None:
            raise MissingCredentials("Log in as the operator.")
        if not is_known:
            self._slow_down(request, request.credentials)
        if not self._is_operator(request.credentials):
            problem = "Wrong user name or password."
            raise self._failed(request, None, request.credentials, problem)
        return Requester(request.source, request.protocol)

    def _host(self, request: UpdateRequest, *, is_known: bool) -> Hostname:
        """Return the host that the request updates, if its login may do that."""
        credentials = request.credentials
        if credentials is None:
            raise MissingCredentials("Send the key of the host, or log in.")
        named = None
        if request.name or credentials.user is None:
            named = Hostname.parse(request.name)
        candidates = self._candidates(named, credentials)
        # An unknown user is checked against a registered host, so that it takes as long.
        checked = candidates or self._stand_in
        keys = self.keys() if checked else NO_KEYS
        right = [host for host in checked if keys.open(host, credentials.digest)]
        if not right or not candidates:
            if not is_known:
                self._slow_down(request, credentials)
            if self._is_operator(credentials):
                return self._operators_choice(named)
            raise self._failed(request, named, credentials)
        if named is None:
            return _only(right, request)
        if named not in self._hosts or not keys.open(named, credentials.digest):
            problem = f"Its login isn't valid for {named}."
            self._rejections.tell(right[0], request.source, problem, named)
            raise ForeignHost("This login isn't valid for this host.")
        if named != right[0]:
            self._rejections.clear(right[0], named)
        return named

    def _slow_down(self, request: UpdateRequest, credentials: Credentials) -> None:
        """Delay a login that may be the operator's if its source is over the limit.

        Every user name is delayed, so that the delay reveals neither the operator's name nor hosts.

        Raises:
            TooManyFailures: too many logins wait already.

        """
        if credentials.user is not None and self._failures.is_over(_counted(request)):
            self._queue.wait(network_of(request.source))

    def _is_operator(self, credentials: Credentials) -> bool:
        if self._operator is None or credentials.user is None:
            return False
        same_user = same(credentials.user, self._operator.user or "")
        return hmac.compare_digest(credentials.digest, self._operator.digest) and same_user

    def _operators_choice(self, named: Optional[Hostname]) -> Hostname:
        if named is None:
            raise MissingHostname("The operator's login opens every host: name one.")
        if named not in self._hosts:
            raise HostNotAllowed(f"{named} isn't registered: add it to REGISTERED_FQDNS.")
        return named

    def _candidates(
        self, named: Optional[Hostname], credentials: Credentials
    ) -> Sequence[Hostname]:
        """Return the registered hosts that the user, or else the name, stands for."""
        if credentials.user is None:
            return [named] if named is not None and named in self._hosts else []
        return self._by_user.get(_user(credentials.user), [])

    def _failed(
        self,
        request: UpdateRequest,
        named: Optional[Hostname],
        credentials: Credentials,
        problem: str = "Wrong key, or unknown host.",
    ) -> CallerError:
        """Count a failed login, and return the error it deserves."""
        self._meters.failed_login()
        host = next(iter(self._candidates(named, credentials)), None)
        keys = [_counted(request), _tried(named, credentials)]
        of_source, of_name = self._failures.count(keys)
        if of_source.number == 1:
            self._alarm.failed(request.source, host)
        if host is not None and of_name.has_crossed:
            self._alarm.blocked(request.source, host)
        wait = max(of_source.wait, of_name.wait)
        if not wait:
            return Unauthorized(problem)
        return TooManyFailures("Too many failed logins: wait, and check the key.", wait)


def _user(text: str) -> str:
    user = text.strip().lower()
    return user[:-1] if user.endswith(".") else user


def _counted(request: UpdateRequest) -> str:
    """Return the key under which the failures of a source are counted."""
    return f"source {network_of(request.source)}"


def _tried(named: Optional[Hostname], credentials: Credentials) -> str:
    """Return what the failures for a host count as: a digest of its first label.

    It is made of the request alone. Were hosts that exist counted otherwise than others, the 429
    would tell which exist. The label is what all ways to name a host have in common; hosts that
    share one share their count, which costs none of them anything. A digest, for people type
    passwords into the field of the user.
    """
    name = _user(credentials.user) if credentials.user is not None else str(named)
    return f"name {digest(name.split('.', 1)[0]).hex()[:32]}"


def _only(hosts: Sequence[Hostname], request: UpdateRequest) -> Hostname:
    if not request.name_follows_login:
        raise MissingHostname("No host name given: send the full name, as in host.example.com.")
    if len(hosts) > 1:
        raise MissingHostname("This login is of several hosts: send the full host name.")
    return hosts[0]
