from __future__ import annotations

from typing import Mapping

import pytest

from backend.errors import BadAddress
from backend.events import PrefixIgnored
from backend.hetzner.dns import RRSet
from backend.model import Deadline, Hostname, Prefix, RecordType, Update
from backend.store import Store
from backend.sync.updater import HostParts
from tests.unit.fakes import ROUTER, RecordingSink, host


def test_an_invalid_aaaa_record_has_no_host_part(store: Store, sink: RecordingSink) -> None:
    invalid = {RecordType.AAAA: RRSet({"no address": ""}, None)}
    reads = []

    def read(name: Hostname, _deadline: Deadline) -> Mapping[RecordType, RRSet]:
        reads.append(name)
        return invalid

    parts = HostParts(read, store.history, sink)
    update = Update(host(), (), ROUTER, Prefix.parse("2001:db8:1:2::/64"))
    for _ in range(2):
        with pytest.raises(BadAddress, match="is unknown: send its address once"):
            parts.complete(update, {}, Deadline(5))
    assert reads == [host()]
    (event,) = sink.heard(PrefixIgnored)
    (entry,) = store.history.find(host())
    assert (entry.event, entry.source) == ("rejected", event.source)
