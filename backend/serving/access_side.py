"""Builds what decides who may update what."""

from __future__ import annotations

import contextlib
import time

from backend.access.alarm import TELL_SECONDS, Alarm
from backend.access.credentials import Credentials
from backend.access.failures import FLUSH_SECONDS, FailedLogins
from backend.access.gate import Gate
from backend.access.keys import KeyFile
from backend.access.rejections import Rejections
from backend.errors import StoreUnavailable
from backend.reporting.reporter import Reporter
from backend.settings import AccessSettings
from backend.store import Store
from backend.workers.loops import Loop
from backend.workers.meters import Meters


class AccessSide:
    """The gate, and the loops behind it."""

    def __init__(
        self, settings: AccessSettings, store: Store, reporter: Reporter, meters: Meters
    ) -> None:
        self._settings = settings
        self._store = store
        self.key_file = KeyFile(settings.key_file)
        self._alarm = Alarm(reporter, self._is_first_to_tell)
        failures = FailedLogins(
            settings.failure_limit, settings.failure_window, store.failed_logins
        )
        self.gate = self._gate(failures, Rejections(reporter), meters)
        self.loops = (
            Loop("failed logins", FLUSH_SECONDS, failures.flush),
            Loop("alarm", TELL_SECONDS, self._alarm.tell),
        )

    def stop(self) -> None:
        """Tell what is still to be told; raise `StoreUnavailable`."""
        self._alarm.tell()

    def _gate(self, failures: FailedLogins, rejections: Rejections, meters: Meters) -> Gate:
        access = self._settings
        operator = Credentials(access.operator_name, access.operator_password)
        return Gate(
            access.hosts,
            self.key_file,
            failures,
            self._alarm,
            rejections,
            operator=operator if access.operator_name else None,
            allow_private=access.allow_private,
            interface_ids=access.interface_ids,
            meters=meters,
        )

    def _is_first_to_tell(self, what: str) -> bool:
        with contextlib.suppress(StoreUnavailable):
            window = self._settings.failure_window
            return self._store.leases.is_first(what, time.time(), window)
        return False
