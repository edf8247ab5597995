"""The channels to the operator: ntfy, and those of the apprise library."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from backend.notify.apprise import AppriseChannel, check_urls
from backend.notify.ntfy import Ntfy, Push, PushFailed, PushRefused
from backend.settings import NtfySettings

_TEST_SECONDS = 30.0


class Channel(Protocol):
    """Sends pushes to one place. Not safe to share between threads."""

    name: str  # for the log; contains no secret

    def publish(self, push: Push, seconds: float) -> None:
        """Send one push; raise `PushRefused` or `PushFailed`."""


class Delivery(NamedTuple):
    """Whether a channel accepted a test message. The texts contain no secret."""

    channel: str
    is_sent: bool
    found: str
    hint: str = ""


def open_channels(settings: NtfySettings) -> list[Channel]:
    """Return all channels of the settings."""
    channels: list[Channel] = []
    if settings.url:
        ntfy = Ntfy(
            settings.url,
            settings.topic,
            username=settings.username,
            password=settings.password,
            token=settings.token,
            ca_bundle=settings.ca_bundle,
        )
        channels.append(ntfy)
    channels += [AppriseChannel(number, url) for number, url in enumerate(settings.urls, 1)]
    return channels


def send_test(settings: NtfySettings, sender: str) -> list[Delivery]:
    """Send a test message to all channels at the same time; return a result for each of them.

    Raises:
        SettingUnusable: as `check_urls` does.

    """
    check_urls(settings.urls)
    push = Push("Test of hetzner-dyndns", f"Notifications work: {sender} sent this.")
    channels = open_channels(settings)
    found: dict[int, Delivery] = {}
    threads = []
    for number, channel in enumerate(channels):
        # A daemon, because a channel that hangs must not keep a command from its end.
        thread = threading.Thread(
            target=lambda number=number, channel=channel: found.update(
                {number: _try(channel, push, settings)}
            ),
            daemon=True,
        )
        thread.start()
        threads.append(thread)
    end = time.monotonic() + _TEST_SECONDS
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    late = f"There was no answer within {_TEST_SECONDS:g} s."
    return [
        found.get(number, Delivery(channel.name, False, late, "Check the server."))
        for number, channel in enumerate(channels)
    ]


def _try(channel: Channel, push: Push, settings: NtfySettings) -> Delivery:
    is_ntfy = isinstance(channel, Ntfy)
    name = channel.name
    try:
        channel.publish(push, _TEST_SECONDS)
    except PushRefused as error:
        hint = "Check NTFY_URL, NTFY_TOPIC and the login."
        return Delivery(name, False, f"The test message was refused: {error}.", hint)
    except PushFailed as error:
        hint = "Check NTFY_URL and the ntfy server."
        if not is_ntfy:
            hint = "`apprise -vv -b test URL` shows the reason; its output contains secrets."
        return Delivery(name, False, f"The test message wasn't delivered: {error}.", hint)
    place = f" to topic {settings.topic} at {urlsplit(settings.url).hostname}" if is_ntfy else ""
    return Delivery(name, True, f"Sent a test message{place}.")
