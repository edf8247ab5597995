"""The composition root: builds all parts of the service."""

from __future__ import annotations

import contextlib
import functools
import time
from dataclasses import dataclass
from typing import Callable, Sequence

from flask import Flask

from backend import __version__
from backend.admin.actions import Actions
from backend.admin.checks import check_all, inspect
from backend.admin.status import Overview
from backend.auth.authorizer import Authorizer, Rejections
from backend.auth.registry import Keys, Registry, open_keys
from backend.auth.throttle import Alarm, FailedLogins
from backend.errors import StoreUnavailable
from backend.hetzner.zones import Zones, open_projects
from backend.metrics import Meters, Slots
from backend.monitor import TICK_SECONDS, Collector, Watcher
from backend.notify.channels import Heartbeat, open_channels, send_test_or_fail
from backend.notify.outbox import Grouping, Outbox
from backend.notify.reporter import Reporter
from backend.server.loops import Health, Loop
from backend.settings import CHALLENGE_SLOTS, MOST_QUEUED, Settings
from backend.store import Store
from backend.store.leases import LeaderElection
from backend.sync.challenges import Challenges
from backend.sync.publisher import Publisher
from backend.sync.reconciler import Reconciler
from backend.sync.updater import ActivityBuffer, HostSlots, Updater
from backend.sync.verifier import Verifier, reads_zones
from backend.web import json_api
from backend.web.app import create_app
from backend.web.dashboard import Dashboard
from backend.web.host_page import HostPages
from backend.web.session import Session

_AGENT = f"hetzner-dyndns/{__version__}"
_DRAIN_SECONDS = 3.0
# If several processes notice a problem with a channel within this time, only one logs it.
_CHANNEL_PROBLEM_SECONDS = 60.0
_HEARTBEAT_SECONDS = 57.0  # a tick later, a minute is over
# If the machine that sends the pushes dies, another one continues after this time.
_PUSH_LEASE_SECONDS = 30.0


@dataclass(frozen=True)
class Service:
    """The parts that one worker process runs."""

    app: Flask
    loops: Sequence[Loop]
    pushes: Grouping
    keys: Keys
    stop_updates: Callable[[], None]
    # These resign from leader elections, and write data that is only in memory.
    endings: Sequence[Callable[[], None]]
    close: Callable[[], None]

    def start(self) -> None:
        """Start the background threads."""
        self.pushes.start()
        for loop in self.loops:
            loop.start()

    def stop(self) -> None:
        """Stop the background threads, and write data that is only in memory."""
        for loop in self.loops:
            loop.stop(seconds=1)
        self.stop_updates()
        with contextlib.suppress(StoreUnavailable):
            for ending in self.endings:
                ending()
        self.pushes.stop(_DRAIN_SECONDS)
        self.close()


def build(settings: Settings, slots: Slots | None = None) -> Service:
    """Build the service. All workers share `slots`."""
    access, cache_ttl = settings.access, settings.records.request_cache_ttl

    channels = open_channels(settings.ntfy)
    meters = Meters(slots, [channel.name for channel in channels])
    store = Store(settings.store.url, pool_size=settings.server.threads)
    activities = ActivityBuffer(store.hosts)
    is_first = store.leases.first("channels", _CHANNEL_PROBLEM_SECONDS, without_store=True)
    outboxes = [
        Outbox(
            channel, store.pushes, is_first, count=functools.partial(meters.pushed, channel.name)
        )
        for channel in channels
    ]
    election = LeaderElection(store.leases, "pushes", _PUSH_LEASE_SECONDS)
    grouping = Grouping(store.pushes, election, outboxes)
    pushes_changes = settings.ntfy.on_change or settings.log.debug
    reporter = Reporter(grouping.put, pushes_routine=pushes_changes)

    keys = open_keys(settings, store.registrations)
    hosts = Registry(access, store.hosts, store.registrations, keys)

    is_first = store.leases.first("failed logins", access.failure_window)
    alarm = Alarm(reporter, is_first, transaction=store.transaction)
    failures = FailedLogins(access.failure_limit, access.failure_window, store.failed_logins)
    authorizer = Authorizer(
        hosts,
        failures,
        alarm,
        Rejections(store.history.add_once, reporter, transaction=store.transaction),
        operator=access.operator,
        allow_private=access.allow_private,
        meters=meters,
    )

    projects = open_projects(settings, _AGENT, meters.called)
    zones = Zones(projects, settings.hetzner.zone_cache_ttl)
    verifies_zones = functools.partial(reads_zones, hosts, cache_ttl)
    publisher = Publisher(
        store,
        zones,
        reporter,
        cache_ttl=cache_ttl,
        ttl_of=lambda host: hosts.current.own(host).ttl,
        is_checked_elsewhere=verifies_zones,
        pushes_changes=pushes_changes,
    )
    days = settings.store.history_days
    reconciler = Reconciler(store, publisher, zones, projects, reporter, history_days=days)
    verifier = Verifier(
        store, publisher, zones, projects, cache_ttl=cache_ttl, is_needed=verifies_zones
    )
    threads = settings.server.threads
    updater = Updater(
        *(store, publisher, activities, reporter),
        threads=threads,
        queued=MOST_QUEUED,
        meters=meters,
    )

    slots_of_challenges = HostSlots(CHALLENGE_SLOTS, "send the challenge again")
    challenges = Challenges(
        store, zones, reporter, publisher.shares, slots_of_challenges, meters=meters
    )
    collector = Collector(store, projects, reporter)
    lost_after, interval = settings.watch.lost_after, settings.watch.interval
    watcher = Watcher(store, hosts, reporter, lost_after=lost_after, interval=interval)

    inspected = functools.partial(inspect, zones)
    actions = Actions(store, hosts, keys, reporter, inspected, updater.apply)
    health = Health(store.ping, functools.partial(store.probe, mark=True), slots)
    loops = [
        Loop("activity", 3, activities.flush),
        Loop("failed logins", 2, failures.flush),
        Loop("alarm", 2, alarm.report),
        Loop("host locks", 5, publisher.keep_locks),
        Loop("reconciler", 1, reconciler.tick),
        Loop("verifier", 5, verifier.tick),
        Loop("challenges", 3, challenges.tick),  # those from before ACME_DNS was switched off, too
        Loop("collector", 3, collector.tick),
        # Takes the lease soon, or the dashboard would report that no process does this job.
        Loop("watcher", min(TICK_SECONDS, interval), watcher.tick, first=1),
        Loop("registered hosts", 2, hosts.refresh),
        Loop("registrations", 5, lambda: store.hosts.extend_registrations(hosts, time.time())),
        Loop("removed hosts", 5, actions.finish),
        Loop("store probe", 5, health.probe),
        Loop("pulse", 5, health.pulse),
    ]
    if outboxes:
        loops.append(Loop("pushes", 1, grouping.tick))
    if settings.ntfy.heartbeat_url:
        is_due = store.leases.first("heartbeat", _HEARTBEAT_SECONDS)
        heartbeat = Heartbeat(settings.ntfy.heartbeat_url, is_due, health.problems)
        loops.append(Loop("heartbeat", 5, heartbeat.tick))
    health.watched = [*(loop.problem for loop in loops), grouping.problem]

    session = Session(store.signing_key, authorizer.authorize_operator, access.trusted_proxies)
    overview = Overview(store, hosts, lost_after, access.failure_window)
    pages = HostPages(session, overview, actions, store.history, days)
    dashboard = Dashboard(
        session,
        hosts.refresh,
        overview,
        actions,
        pages.register,
        meters,
        check=functools.partial(check_all, projects, hosts),
        send_test=functools.partial(send_test_or_fail, settings.ntfy, "the dashboard"),
    )
    app = create_app(
        hosts.access,
        authorizer.authorize,
        updater.apply,
        updater.repeat,
        health.problems,
        access.trusted_proxies,
        dashboard.blueprint() if access.operator_name else None,
        json_api.challenges(
            *(authorizer.authorize_challenge, challenges.present, challenges.clean_up),
            access.trusted_proxies,
        )
        if access.acme_dns
        else None,
    )
    return Service(
        app=app,
        loops=loops,
        pushes=grouping,
        keys=keys,
        stop_updates=updater.stop,
        endings=[
            reconciler.stop,
            verifier.stop,
            watcher.stop,
            activities.flush,
            alarm.report,
        ],
        close=store.close,
    )
