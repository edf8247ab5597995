from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Sequence

import pytest

from backend.auth.authorizer import Authorizer, Rejections
from backend.auth.keys import AcceptedKeys
from backend.auth.registry import Access, HostList
from backend.auth.throttle import Alarm, FailedLogins, LoginQueue
from backend.errors import (
    AddressMismatch,
    BadAddress,
    BadHostname,
    BadRecordType,
    CallerError,
    ForeignHost,
    HostNotAllowed,
    MissingCredentials,
    MissingHostname,
    PrivateAddress,
    TooManyFailures,
    Unauthorized,
)
from backend.events import LoginFailed, LoginsBlocked, PartlyUsed, Rejected
from backend.model import (
    Address,
    Credentials,
    DesiredRecord,
    Hostname,
    Parameter,
    RecordType,
    Requester,
    Update,
    UpdateRequest,
)
from backend.store import Store
from tests.unit.fakes import Clock, RecordingSink, host

LIMIT, WINDOW = 3, 900
SOURCE = "198.51.100.1"
KEYS = {
    "nas.example.com": "key-of-the-nas",
    "nas.example.org": "key-of-the-other-nas",
    "router.example.com": "key-of-the-router",
    "twin.example.com": "key-of-the-twins",
    "twin.example.org": "key-of-the-twins",
    "new.example.com": None,  # registered, but without a line in the file
}
OPERATOR = Credentials("operator", "operators-password")
HOSTS = HostList(map(host, KEYS))


class Keys:
    """A substitute for the key file."""

    def __init__(self, keys: Mapping[str, str | None]) -> None:
        self.known: dict[Hostname, str] = {host(name): key for name, key in keys.items() if key}
        # A key in the file is invalid while its host isn't registered.
        self.known[host("unregistered.example.com")] = "key-of-an-unregistered-host"
        self.known[host("third-twin.example.com")] = "key-of-the-twins"
        self.before: dict[Hostname, str] = {}

    def accepted(self) -> AcceptedKeys:
        return AcceptedKeys(self.known, self.before)


class Registered:
    """A substitute for `Registry`."""

    def __init__(self, keys: Keys, hosts: HostList = HOSTS) -> None:
        self.current = hosts
        self._keys = keys

    def access(self) -> Access:
        return Access(self.current, self._keys.accepted())

    def refresh_early(self) -> bool:
        return False


@pytest.fixture
def keys() -> Keys:
    return Keys(KEYS)


@pytest.fixture
def registry(keys: Keys) -> Any:  # noqa: ANN401
    return Registered(keys)


@pytest.fixture
def failures(store: Store, clock: Clock) -> FailedLogins:
    return FailedLogins(LIMIT, WINDOW, store.failed_logins, clock)


@pytest.fixture
def alarm(sink: RecordingSink, clock: Clock) -> Alarm:
    return Alarm(sink, clock=clock)


@pytest.fixture
def rejections(store: Store, sink: RecordingSink, clock: Clock) -> Rejections:
    return Rejections(store.history.add_once, sink, clock)


@pytest.fixture
def authorizer(
    registry: Any,  # noqa: ANN401
    failures: FailedLogins,
    alarm: Alarm,
    rejections: Rejections,
) -> Authorizer:
    return Authorizer(registry, failures, alarm, rejections, operator=OPERATOR)


def update_request(
    name: str = "nas.example.com",
    user: str | None = None,
    secret: str | None = "key-of-the-nas",
    source: str = SOURCE,
    addresses: Sequence[str] = (),
    **more: object,
) -> UpdateRequest:
    logins = () if secret is None else (Credentials(user, secret),)
    return UpdateRequest(
        "dyndns2",
        source,
        logins,
        name,
        tuple(Parameter("myip", text) for text in addresses),
        **{"is_lenient": True, **more},
    )


def authorized(authorizer: Authorizer, update_request: UpdateRequest) -> str:
    return authorizer.authorize(update_request).host.text


def refused(authorizer: Authorizer, update_request: UpdateRequest) -> type[CallerError]:
    with pytest.raises(CallerError) as caught:
        authorizer.authorize(update_request)
    for login in update_request.logins:
        assert not login.secret or login.secret not in str(caught.value)
    return type(caught.value)


def desired(authorizer: Authorizer, update_request: UpdateRequest) -> list[tuple[str, str]]:
    return [
        (desired.type.value, str(desired.address))
        for desired in authorizer.authorize(update_request).desired
    ]


def test_a_key_authorizes_its_host(authorizer: Authorizer, sink: RecordingSink) -> None:
    assert authorizer.authorize(update_request(addresses=("203.0.113.7",))) == Update(
        host("nas.example.com"),
        (DesiredRecord(RecordType.A, Address.parse("203.0.113.7")),),
        Requester(SOURCE, "dyndns2"),
    )
    assert sink.events == []


def test_the_previous_key_is_accepted_during_an_edit(authorizer: Authorizer, keys: Keys) -> None:
    nas = host("nas.example.com")
    keys.before[nas] = "the-key-before"
    for secret in ("key-of-the-nas", "the-key-before"):
        assert authorized(authorizer, update_request(secret=secret)) == "nas.example.com"
    assert refused(authorizer, update_request(secret="neither")) is Unauthorized
    del keys.known[nas]
    assert authorized(authorizer, update_request(secret="the-key-before")) == "nas.example.com"


@pytest.mark.parametrize("name", ["NAS.Example.COM", "nas.example.com.", " nas.example.com "])
def test_the_host_name_is_accepted_in_any_spelling(authorizer: Authorizer, name: str) -> None:
    assert authorized(authorizer, update_request(name)) == "nas.example.com"


@pytest.mark.parametrize(
    "user",
    [
        *("nas", "NAS", "nas.example.com", "Nas.Example.Com", "nas.example.com.", " nas "),
    ],
)
@pytest.mark.parametrize("name", ["nas.example.com", ""])
def test_a_user_name_is_the_first_label_or_full_name(
    authorizer: Authorizer, user: str, name: str
) -> None:
    assert authorized(authorizer, update_request(name, user)) == "nas.example.com"


@pytest.mark.parametrize("user", ["na", "nas.example", "nas-", "nas/", "nas.example.com.de", ""])
def test_a_part_of_a_name_is_no_user(authorizer: Authorizer, user: str) -> None:
    assert refused(authorizer, update_request("", user)) is Unauthorized


def test_the_key_selects_between_hosts_with_the_same_label(
    authorizer: Authorizer,
) -> None:
    assert authorized(authorizer, update_request("", "nas", "key-of-the-nas")) == "nas.example.com"
    assert (
        authorized(authorizer, update_request("", "nas", "key-of-the-other-nas"))
        == "nas.example.org"
    )


def test_hosts_with_same_label_and_key_must_be_named(
    authorizer: Authorizer,
) -> None:
    assert refused(authorizer, update_request("", "twin", "key-of-the-twins")) is MissingHostname
    for name in ("twin.example.com", "twin.example.org"):
        assert authorized(authorizer, update_request(name, "twin", "key-of-the-twins")) == name
        assert authorized(authorizer, update_request("", name, "key-of-the-twins")) == name


def test_a_login_may_update_other_hosts_with_the_same_key(authorizer: Authorizer) -> None:
    login = update_request("twin.example.org", "twin.example.com", "key-of-the-twins")
    assert authorized(authorizer, login) == "twin.example.org"


def test_a_shared_key_is_invalid_for_unregistered_hosts(authorizer: Authorizer) -> None:
    for user in ("twin.example.com", "twin"):
        login = update_request("third-twin.example.com", user, "key-of-the-twins")
        assert refused(authorizer, login) is ForeignHost


@pytest.mark.parametrize(
    "name", ["router.example.com", "new.example.com", "unregistered.example.com", "x.example.net"]
)
def test_a_right_login_neither_updates_nor_reveals_other_hosts(
    authorizer: Authorizer, sink: RecordingSink, name: str
) -> None:
    with pytest.raises(ForeignHost) as caught:
        authorizer.authorize(update_request(name, "nas"))
    assert str(caught.value) == f"This login isn't valid for {name}."
    assert sink.heard(LoginFailed) == []


@pytest.mark.parametrize(
    ("name", "user", "secret", "attacked"),
    [
        ("nas.example.com", None, "wrong", "nas.example.com"),
        ("nas.example.com", None, "", "nas.example.com"),
        ("nas.example.com", None, "key-of-the-router", "nas.example.com"),
        ("nas.example.com", None, "key-of-the-na", "nas.example.com"),
        ("nas.example.com", None, "KEY-OF-THE-NAS", "nas.example.com"),
        ("nas.example.com", None, "schlüssel \ud800", "nas.example.com"),
        ("nas.example.com", None, "operators-password", "nas.example.com"),
        ("x.example.net", None, "key-of-the-nas", None),
        ("new.example.com", None, "key-of-the-nas", "new.example.com"),
        ("new.example.com", None, "", "new.example.com"),
        ("unregistered.example.com", None, "key-of-an-unregistered-host", None),
        ("nas.example.com", "nas", "wrong", "nas.example.com"),
        ("nas.example.com", "", "key-of-the-nas", None),
        ("nas.example.com", "nobody", "key-of-the-nas", None),
        ("nas.example.com", "router", "key-of-the-nas", "router.example.com"),
        ("", "nobody", "key-of-the-nas", None),
        ("", "nas", "wrong", "nas.example.com"),
        ("", "new", "", "new.example.com"),
        ("", "unregistered", "key-of-an-unregistered-host", None),
        ("nas.example.com", "operator", "wrong", None),
        ("nas.example.com", "operator", "key-of-the-nas", None),
        ("nas.example.com", "Operator", "operators-password", None),
        ("", "", "", None),
    ],
)
def test_wrong_credentials_get_one_answer_and_a_report(  # noqa: PLR0913, PLR0917
    authorizer: Authorizer,
    sink: RecordingSink,
    name: str,
    user: str | None,
    secret: str,
    attacked: str | None,
) -> None:
    with pytest.raises(Unauthorized) as caught:
        authorizer.authorize(update_request(name, user, secret))
    assert type(caught.value) is Unauthorized
    assert str(caught.value) == "Wrong key, or unknown host."
    assert sink.events == [LoginFailed(SOURCE, host(attacked) if attacked else None)]


@pytest.mark.parametrize(
    ("name", "user"), [("x.example.com", None), ("nas.example.com", "nobody"), ("", "nobody")]
)
def test_unknown_users_and_hosts_cause_one_comparison(
    authorizer: Authorizer, monkeypatch: pytest.MonkeyPatch, name: str, user: str | None
) -> None:
    compared: list[Hostname] = []
    compare = AcceptedKeys.opened

    def counted(
        keys: AcceptedKeys, hosts: Sequence[Hostname], presented: bytes
    ) -> Sequence[Hostname]:
        compared.extend(hosts)
        return compare(keys, hosts, presented)

    monkeypatch.setattr(AcceptedKeys, "opened", counted)
    refused(authorizer, update_request("nas.example.com", None, "wrong"))
    assert len(compared) == 1
    refused(authorizer, update_request(name, user, "wrong"))
    assert len(compared) == 2


def test_no_key_matches_a_host_without_key(
    authorizer: Authorizer,
) -> None:
    secret = "compared with when there is no key, so that it takes as long"
    assert refused(authorizer, update_request("new.example.com", secret=secret)) is Unauthorized
    assert refused(authorizer, update_request("", "new", secret)) is Unauthorized


def test_a_changed_key_is_accepted_at_once(authorizer: Authorizer, keys: Keys) -> None:
    keys.known[host("nas.example.com")] = "rotated-key"
    assert refused(authorizer, update_request()) is Unauthorized
    assert authorized(authorizer, update_request(secret="rotated-key")) == "nas.example.com"


def test_missing_credentials_are_neither_counted_nor_reported(
    authorizer: Authorizer, sink: RecordingSink
) -> None:
    for _ in range(2 * LIMIT):
        assert refused(authorizer, update_request(secret=None)) is MissingCredentials
    assert sink.events == []
    assert refused(authorizer, update_request(secret="wrong")) is Unauthorized


@pytest.mark.parametrize("name", ["nas", "http://nas.example.com", "%h"])
@pytest.mark.parametrize(
    ("user", "secret"),
    [(None, "key-of-the-nas"), ("nas", "key-of-the-nas"), ("operator", "operators-password")],
)
def test_an_invalid_host_name_is_not_a_failed_login(
    authorizer: Authorizer,
    sink: RecordingSink,
    name: str,
    user: str | None,
    secret: str,
) -> None:
    assert refused(authorizer, update_request(name, user, secret)) is BadHostname
    assert sink.heard(LoginFailed) == []
    assert refused(authorizer, update_request(name, user, "wrong")) is Unauthorized
    assert len(sink.heard(LoginFailed)) == 1


def test_an_invalid_host_name_is_reported_for_the_host_of_the_key(
    authorizer: Authorizer, sink: RecordingSink
) -> None:
    for user in (None, "nas"):
        for name in ("%h", "<domain>", "https://nas.example.com/", "nas.example.com:80"):
            assert refused(authorizer, update_request(name, user)) is BadHostname
    (event,) = sink.heard(Rejected)
    assert event.host == host("nas.example.com")
    assert event.source == SOURCE
    assert '"%h"' in event.error


def test_a_key_without_host_name_updates_its_only_host(authorizer: Authorizer) -> None:
    assert authorized(authorizer, update_request("")) == "nas.example.com"


@pytest.mark.parametrize("name", KEYS)
def test_the_operator_can_update_every_registered_host(authorizer: Authorizer, name: str) -> None:
    assert authorized(authorizer, update_request(name, "operator", "operators-password")) == name


@pytest.mark.parametrize("name", ["unregistered.example.com", "x.example.net"])
def test_the_operator_can_not_update_unregistered_hosts(
    authorizer: Authorizer, sink: RecordingSink, name: str
) -> None:
    with pytest.raises(HostNotAllowed, match=f"{name} isn't registered: .*REGISTERED_FQDNS") as c:
        authorizer.authorize(update_request(name, "operator", "operators-password"))
    assert type(c.value) is HostNotAllowed
    assert sink.events == []


def test_the_operator_must_name_a_host(authorizer: Authorizer) -> None:
    assert (
        refused(authorizer, update_request("", "operator", "operators-password")) is MissingHostname
    )


def test_without_an_operator_its_login_is_rejected(
    registry: Any,  # noqa: ANN401
    failures: FailedLogins,
    alarm: Alarm,
    rejections: Rejections,
) -> None:
    registry.current = HostList([host("nas.example.com")])
    authorizer = Authorizer(registry, failures, alarm, rejections)
    assert (
        refused(authorizer, update_request(user="operator", secret="operators-password"))
        is Unauthorized
    )
    assert refused(authorizer, update_request(user="", secret="")) is Unauthorized


def test_without_registered_hosts_every_key_is_rejected(
    registry: Any,  # noqa: ANN401
    authorizer: Authorizer,
) -> None:
    registry.current = HostList()
    assert refused(authorizer, update_request()) is Unauthorized


def fail(authorizer: Authorizer, times: int, **how: str) -> type[CallerError]:
    """Send wrong keys, and return the error of the last time."""
    for _ in range(times - 1):
        refused(authorizer, update_request(secret="wrong", **how))
    return refused(authorizer, update_request(secret="wrong", **how))


def test_failures_over_the_limit_lock_until_the_window_ends(
    authorizer: Authorizer, clock: Clock
) -> None:
    assert fail(authorizer, LIMIT) is Unauthorized
    clock.advance(WINDOW - 60)
    with pytest.raises(TooManyFailures) as caught:
        authorizer.authorize(update_request(secret="wrong"))
    assert caught.value.retry_after == 60
    clock.advance(60)
    assert fail(authorizer, 1) is Unauthorized


def test_many_failures_cause_one_report_per_source_and_host(
    authorizer: Authorizer, alarm: Alarm, clock: Clock, sink: RecordingSink
) -> None:
    nas = host("nas.example.com")
    fail(authorizer, 3 * LIMIT)
    assert sink.events == [LoginFailed(SOURCE, nas)]
    alarm.report()
    assert sink.events[1:] == [LoginsBlocked(SOURCE, nas)]
    fail(authorizer, 1, source="198.51.100.2")
    assert sink.events[2:] == [LoginFailed("198.51.100.2", nas)]
    clock.advance(WINDOW)
    fail(authorizer, LIMIT)
    alarm.report()
    assert sink.events[3:] == [LoginFailed(SOURCE, nas)]


def test_many_failures_for_unregistered_hosts_cause_one_report(
    authorizer: Authorizer, sink: RecordingSink
) -> None:
    fail(authorizer, 3 * LIMIT, name="x.example.net")
    assert sink.events == [LoginFailed(SOURCE, None)]


def test_a_source_is_locked_for_all_hosts(authorizer: Authorizer) -> None:
    for number in range(LIMIT):
        assert fail(authorizer, 1, name=f"x{number}.example.net") is Unauthorized
    assert fail(authorizer, 1, name="nas.example.com") is TooManyFailures
    assert fail(authorizer, 1, name="nas.example.com", source="198.51.100.2") is Unauthorized


def test_a_host_is_locked_for_all_sources(authorizer: Authorizer) -> None:
    for number in range(LIMIT):
        assert fail(authorizer, 1, source=f"198.51.100.{number}") is Unauthorized
    assert fail(authorizer, 1, source="198.51.100.99") is TooManyFailures
    other = {"source": "198.51.100.98", "name": "router.example.com"}
    assert fail(authorizer, 1, **other) is Unauthorized


@pytest.mark.parametrize("user", ["nas.example.com", "router"])
def test_a_host_named_by_the_user_is_locked(authorizer: Authorizer, user: str) -> None:
    for number in range(LIMIT):
        assert (
            fail(authorizer, 1, name="", user=user, source=f"198.51.100.{number}") is Unauthorized
        )
    assert fail(authorizer, 1, name="", user=user, source="198.51.100.99") is TooManyFailures


@pytest.mark.parametrize("known", ["nas", "nobody"])
@pytest.mark.parametrize("named", [("{}.example.com", None), ("", "{}"), ("", "{}.example.com")])
@pytest.mark.parametrize("then", [("{}.example.com", None), ("", "{}"), ("x.example.com", "{}")])
def test_registered_and_unregistered_hosts_have_the_same_limit(
    authorizer: Authorizer,
    known: str,
    named: tuple[str, str | None],
    then: tuple[str, str | None],
) -> None:
    def how(name: str, user: str | None) -> dict[str, str | None]:
        return {"name": name.format(known), "user": user and user.format(known)}

    for number in range(LIMIT):
        source = f"198.51.100.{number}"
        assert fail(authorizer, 1, source=source, **how(*named)) is Unauthorized
    assert fail(authorizer, 1, source="198.51.100.98", **how(*then)) is TooManyFailures


def test_the_typed_user_name_is_not_stored(authorizer: Authorizer, store: Store) -> None:
    refused(authorizer, update_request("", "my-password", "x"))
    with store._database.read() as connection:  # noqa: SLF001
        kept = str(list(connection.exec_driver_sql("SELECT * FROM failed_logins")))
    assert "name " in kept
    assert "password" not in kept


def test_an_ipv6_source_is_locked_with_its_whole_64(authorizer: Authorizer) -> None:
    for number in range(LIMIT):
        how = {"source": f"2001:db8:1:2::{number + 1}", "name": f"x{number}.example.net"}
        assert fail(authorizer, 1, **how) is Unauthorized
    assert fail(authorizer, 1, source="2001:db8:1:2:ffff::1") is TooManyFailures
    assert fail(authorizer, 1, source="2001:db8:1:3::1") is Unauthorized


def test_right_credentials_are_accepted_after_many_failures(authorizer: Authorizer) -> None:
    assert fail(authorizer, 2 * LIMIT) is TooManyFailures
    assert authorized(authorizer, update_request()) == "nas.example.com"
    assert authorized(authorizer, update_request("", "nas")) == "nas.example.com"
    login = update_request("router.example.com", "operator", "operators-password")
    assert authorized(authorizer, login) == "router.example.com"
    assert refused(authorizer, update_request("router.example.com", "nas")) is ForeignHost
    assert refused(authorizer, update_request(secret=None)) is MissingCredentials


def test_a_given_address_precedes_the_detected_one(authorizer: Authorizer) -> None:
    assert desired(authorizer, update_request(addresses=("203.0.113.7",))) == [("A", "203.0.113.7")]
    assert desired(authorizer, update_request(addresses=("2001:db8::7",))) == [
        ("AAAA", "2001:db8::7")
    ]


def test_without_an_address_the_detected_one_is_used(authorizer: Authorizer) -> None:
    assert desired(authorizer, update_request()) == [("A", SOURCE)]
    assert desired(authorizer, update_request(source="2001:db8::7")) == [("AAAA", "2001:db8::7")]


def test_both_records_may_be_set_at_once(authorizer: Authorizer) -> None:
    both = [("A", "203.0.113.7"), ("AAAA", "2001:db8::7")]
    assert desired(authorizer, update_request(addresses=("203.0.113.7", "2001:db8::7"))) == both
    assert desired(authorizer, update_request(addresses=("2001:db8::7", "203.0.113.7"))) == both


def test_of_several_addresses_of_a_family_the_first_counts(authorizer: Authorizer) -> None:
    addresses = ("203.0.113.7", "2001:db8::7", "203.0.113.8", "2001:db8::8")
    assert desired(authorizer, update_request(addresses=addresses)) == [
        ("A", addresses[0]),
        ("AAAA", addresses[1]),
    ]


@pytest.mark.parametrize("garbage", ["router", "fe80::1", "2001:db8:1:2::", "198.51.100.256"])
def test_invalid_addresses_beside_a_valid_one_are_skipped(
    authorizer: Authorizer, garbage: str
) -> None:
    for addresses in ((garbage, "203.0.113.7"), ("203.0.113.7", garbage)):
        assert desired(authorizer, update_request(addresses=addresses)) == [("A", "203.0.113.7")]


@pytest.mark.parametrize("garbage", ["router", "fe80::1", "fe80::/64", "198.51.100.256"])
def test_invalid_addresses_are_not_replaced_by_the_detected_one(
    authorizer: Authorizer, garbage: str
) -> None:
    assert refused(authorizer, update_request(addresses=(garbage, "x"))) is BadAddress


@pytest.mark.parametrize("address", ["192.168.178.20", "10.0.0.1", "100.64.0.1", "fd00::1"])
def test_a_private_address_is_accepted_only_if_given(authorizer: Authorizer, address: str) -> None:
    assert desired(authorizer, update_request(addresses=(address,)))[0][1] == address
    with pytest.raises(PrivateAddress, match=f"{address}.*X-Real-Ip"):
        authorizer.authorize(update_request(source=address))


def test_a_detected_private_address_is_accepted_if_allowed(
    registry: Any,  # noqa: ANN401
    failures: FailedLogins,
    alarm: Alarm,
    rejections: Rejections,
) -> None:
    authorizer = Authorizer(registry, failures, alarm, rejections, allow_private=True)
    assert desired(authorizer, update_request(source="192.168.178.20")) == [("A", "192.168.178.20")]
    assert refused(authorizer, update_request(source="fe80::1")) is BadAddress


@pytest.mark.parametrize("source", ["", "fe80::1", "169.254.1.1"])
def test_an_unpublishable_detected_address_is_refused(authorizer: Authorizer, source: str) -> None:
    assert refused(authorizer, update_request(source=source)) is BadAddress


@pytest.mark.parametrize("kind", ["AAAA", "aaaa", " AAAA "])
def test_a_type_that_fits_the_address_is_fine(authorizer: Authorizer, kind: str) -> None:
    assert desired(authorizer, update_request(addresses=("2001:db8::7",), type=kind)) == [
        ("AAAA", "2001:db8::7")
    ]


@pytest.mark.parametrize(
    ("kind", "addresses"),
    [("A", ("2001:db8::7",)), ("AAAA", ("203.0.113.7",)), ("AAAA", ())],
)
def test_a_type_that_contradicts_the_address_is_refused(
    authorizer: Authorizer, kind: str, addresses: tuple[str, ...]
) -> None:
    assert refused(authorizer, update_request(addresses=addresses, type=kind)) is AddressMismatch


def test_an_unknown_type_is_refused(authorizer: Authorizer) -> None:
    assert refused(authorizer, update_request(type="CNAME")) is BadRecordType
    assert refused(authorizer, update_request(type="CNAME", removes=True)) is BadRecordType


@pytest.mark.parametrize(
    ("kind", "removed"), [("", ["A", "AAAA"]), ("A", ["A"]), ("aaaa", ["AAAA"])]
)
def test_a_removal_removes_both_records_or_the_named_one(
    authorizer: Authorizer, kind: str, removed: list[str]
) -> None:
    claimed = update_request(type=kind, removes=True, source="fe80::1")
    assert desired(authorizer, claimed) == [(one, "None") for one in removed]


def test_invalid_requests_with_wrong_keys_are_failed_logins(authorizer: Authorizer) -> None:
    assert refused(authorizer, update_request(secret="wrong", type="CNAME")) is Unauthorized
    assert refused(authorizer, update_request(secret="wrong", addresses=("x",))) is Unauthorized
    assert refused(authorizer, update_request(secret="wrong", source="10.0.0.1")) is Unauthorized


def test_no_credentials_are_shown_in_a_traceback() -> None:
    assert "key-of-the-nas" not in repr(update_request(user="nas"))
    assert "nas" not in repr(Credentials("nas", "key-of-the-nas"))


class TestTwoLoginsInOneRequest:
    def logins(self, name: str, *logins: tuple[str | None, str]) -> UpdateRequest:
        asked = update_request(name)
        return dataclasses.replace(asked, logins=tuple(Credentials(*one) for one in logins))

    def test_a_guess_beside_a_right_login_is_counted(self, authorizer: Authorizer) -> None:
        asked = self.logins("router.example.com", ("nas", "key-of-the-nas"), ("router", "guess"))
        errors = [refused(authorizer, asked) for _ in range(LIMIT + 1)]
        assert errors == [Unauthorized] * LIMIT + [TooManyFailures]

    def test_a_wrong_login_beside_the_right_one_is_not_counted(
        self, authorizer: Authorizer, sink: RecordingSink
    ) -> None:
        for _ in range(2 * LIMIT):
            authorizer.authorize(
                self.logins("nas.example.com", ("x", "y"), ("nas", "key-of-the-nas"))
            )
        assert sink.heard(LoginFailed) == []

    @pytest.mark.parametrize("order", [1, -1])
    def test_the_operator_may_send_the_login_of_a_host_as_well(
        self, authorizer: Authorizer, order: int
    ) -> None:
        both = [("nas", "key-of-the-nas"), ("operator", "operators-password")][::order]
        asked = self.logins("router.example.com", *both)
        assert authorized(authorizer, asked) == "router.example.com"

    def test_two_wrong_logins_are_one_failure(self, authorizer: Authorizer) -> None:
        asked = self.logins("nas.example.com", ("nas", "wrong"), ("nas", "worse"))
        errors = [refused(authorizer, asked) for _ in range(LIMIT + 1)]
        assert errors == [Unauthorized] * LIMIT + [TooManyFailures]


class TestAProblemInWhatAHostSends:
    def test_is_reported_once_a_day_for_each_cause(
        self, authorizer: Authorizer, sink: RecordingSink, clock: Clock
    ) -> None:
        nas = host("nas.example.com")
        for number in range(4):
            with pytest.raises(BadAddress) as caught:
                authorizer.authorize(update_request(addresses=(f"<{number}>",)))
            if not number:
                assert sink.events[-1] == Rejected(nas, SOURCE, str(caught.value))
        refused(authorizer, update_request(addresses=("224.0.0.1",)))
        assert len(sink.heard(Rejected)) == 2
        clock.advance(24 * 3600 + 1)
        refused(authorizer, update_request(addresses=("x",)))
        assert len(sink.heard(Rejected)) == 3

    def test_is_reported_once_by_all_processes(
        self, store: Store, sink: RecordingSink, clock: Clock
    ) -> None:
        event = Rejected(host("nas.example.com"), SOURCE, "Not an address.")
        for _ in range(2):
            Rejections(store.history.add_once, sink, clock).report(event, "dyndns2")
        assert sink.events == [event]

    def test_is_reported_without_the_store(
        self, store: Store, rejections: Rejections, sink: RecordingSink
    ) -> None:
        event = Rejected(host("nas.example.com"), SOURCE, "Not an address.")
        store.close()
        for _ in range(2):
            rejections.report(event, "dyndns2")
        assert sink.events == [event]

    def test_is_in_the_history(self, authorizer: Authorizer, store: Store) -> None:
        for address in ("x", "y"):
            refused(authorizer, update_request(addresses=(address,)))
        (entry,) = store.history.find(host("nas.example.com"))
        assert (entry.event, entry.source, entry.protocol) == ("rejected", SOURCE, "dyndns2")
        assert 'myip="x"' in entry.why

    def test_never_shows_a_key(self, authorizer: Authorizer, sink: RecordingSink) -> None:
        key = "key-of-the-nas"
        for name in (key, f"https://nas:{key}@nas.example.com/"):
            refused(authorizer, update_request(name, "nas", key))
        refused(authorizer, update_request(addresses=(key,)))
        assert len(sink.heard(Rejected)) == 2
        assert key not in str(sink.events)

    def test_includes_the_name_of_another_host(
        self, authorizer: Authorizer, sink: RecordingSink
    ) -> None:
        assert (
            refused(authorizer, update_request("home.example.com", "nas", "key-of-the-nas"))
            is ForeignHost
        )
        (event,) = sink.heard(Rejected)
        assert event.host.text == "nas.example.com"
        assert "home.example.com" in event.error

    def test_is_reported_once_beside_valid_updates(
        self, authorizer: Authorizer, sink: RecordingSink
    ) -> None:
        for _ in range(5):
            authorizer.authorize(update_request(user="nas"))
            for other in ("home.example.com", "router.example.com"):
                refused(authorizer, update_request(other, "nas", "key-of-the-nas"))
        assert len(sink.heard(Rejected)) == 2

    def test_beside_a_valid_address_is_reported(
        self, authorizer: Authorizer, sink: RecordingSink, store: Store
    ) -> None:
        for garbage in ("x", "y"):
            authorizer.authorize(update_request(addresses=("198.51.100.1", garbage)))
        (event,) = sink.heard(PartlyUsed)
        assert 'myip="x"' in event.error
        assert [one.event for one in store.history.find(event.host)] == ["partial"]

    def test_is_reported_late_after_too_many_reports(
        self, rejections: Rejections, sink: RecordingSink, clock: Clock
    ) -> None:
        for _ in range(2):
            for number in range(25):
                event = Rejected(host(f"h{number}.example.com"), SOURCE, "Not an address.")
                rejections.report(event, "json")
            clock.advance(3600)
        assert len(sink.heard(Rejected)) == 25

    def test_cannot_flood_the_log(self, authorizer: Authorizer, sink: RecordingSink) -> None:
        for number in range(100):
            name = "".join(chr(97 + int(digit)) for digit in str(number))
            refused(authorizer, update_request(f"{name}.example.com", "nas"))
        assert len(sink.heard(Rejected)) == 20

    def test_with_a_wrong_key_is_not_reported(
        self, authorizer: Authorizer, sink: RecordingSink
    ) -> None:
        refused(authorizer, update_request(addresses=("x",), secret="wrong"))
        assert sink.heard(Rejected) == []


def test_the_login_names_the_host_only_in_dyndns2(authorizer: Authorizer) -> None:
    nameless = update_request("", "nas", "key-of-the-nas", is_lenient=False)
    assert refused(authorizer, nameless) is MissingHostname
    wrong = update_request("", "nas", "wrong", is_lenient=False)
    assert refused(authorizer, wrong) is Unauthorized


class TestASourceOverTheLimit:
    """Its logins with a user name are delayed."""

    @pytest.fixture
    def slept(self) -> list[float]:
        return []

    @pytest.fixture
    def authorizer(
        self,
        registry: Any,  # noqa: ANN401
        failures: FailedLogins,
        alarm: Alarm,
        rejections: Rejections,
        slept: list[float],
    ) -> Authorizer:
        queue = LoginQueue(lambda: 0.0, slept.append)
        options: dict[str, Any] = {"operator": OPERATOR, "queue": queue}
        return Authorizer(registry, failures, alarm, rejections, **options)

    @pytest.fixture
    def over(self, authorizer: Authorizer, slept: list[float]) -> Authorizer:
        for _ in range(LIMIT + 1):
            refused(authorizer, update_request(secret="wrong"))
        assert slept == []
        return authorizer

    def test_logins_up_to_the_limit_are_not_delayed(
        self, authorizer: Authorizer, slept: list[float]
    ) -> None:
        for _ in range(LIMIT):
            refused(authorizer, update_request(user="operator", secret="wrong"))
        assert authorized(authorizer, update_request(user=OPERATOR.user, secret=OPERATOR.secret))
        assert slept == []

    @pytest.mark.parametrize("user", ["operator", "nas", "nas.example.com", "nobody", ""])
    def test_every_user_name_is_delayed(
        self, over: Authorizer, slept: list[float], user: str
    ) -> None:
        assert refused(over, update_request(user=user, secret="wrong")) is TooManyFailures
        assert slept == [1.0]

    def test_the_operator_is_accepted_after_the_delay(
        self, over: Authorizer, slept: list[float]
    ) -> None:
        assert authorized(over, update_request(user=OPERATOR.user, secret=OPERATOR.secret))
        assert over.authorize_operator(UpdateRequest("page", SOURCE, (OPERATOR,))) == Requester(
            SOURCE, "page"
        )
        assert slept == [1.0, 1.0]

    def test_a_key_is_not_delayed(self, over: Authorizer, slept: list[float]) -> None:
        assert authorized(over, update_request())
        assert authorized(over, update_request(user="nas.example.com"))
        assert refused(over, update_request(secret="wrong")) is TooManyFailures
        assert slept == []

    def test_the_operator_at_another_source_is_not_delayed(
        self, over: Authorizer, slept: list[float]
    ) -> None:
        over.authorize_operator(UpdateRequest("page", "198.51.100.2", (OPERATOR,)))
        assert slept == []

    def test_a_logged_in_browser_is_not_delayed(self, over: Authorizer, slept: list[float]) -> None:
        over.authorize_operator(UpdateRequest("page", SOURCE, (OPERATOR,)), is_known=True)
        assert slept == []

    def test_the_delay_ends_with_the_window(
        self, over: Authorizer, slept: list[float], clock: Clock
    ) -> None:
        clock.advance(WINDOW)
        over.authorize_operator(UpdateRequest("page", SOURCE, (OPERATOR,)))
        assert slept == []

    def test_a_login_beyond_the_queue_is_not_compared(
        self, over: Authorizer, failures: FailedLogins, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_self: LoginQueue, _source: str) -> None:
            raise TooManyFailures("full", 4)

        monkeypatch.setattr(LoginQueue, "wait", full)
        before = failures.count([f"source {SOURCE}/32"])[0].number
        for secret in (OPERATOR.secret, "wrong"):
            assert (
                refused(over, update_request(user=OPERATOR.user, secret=secret)) is TooManyFailures
            )
            with pytest.raises(TooManyFailures, match="full"):
                over.authorize_operator(
                    UpdateRequest("page", SOURCE, (Credentials("operator", secret),))
                )
        assert failures.count([f"source {SOURCE}/32"])[0].number == before + 1
        assert authorized(over, update_request(user="nas.example.com"))
