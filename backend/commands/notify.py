"""Sends a test message to every notification channel."""

from __future__ import annotations

import argparse
from typing import Mapping

from backend.commands.context import print_table
from backend.errors import SettingUnusable
from backend.notify.channels import send_test
from backend.settings import read


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["test"], help="send a test message")


def run(_arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the result for each channel; return 1 if one of them fails."""
    settings, _ = read(environ)
    deliveries = send_test(settings.ntfy, "`notify test`")
    if not deliveries:
        hint = "set NTFY_URL and NTFY_TOPIC, or NOTIFY_URLS."
        raise SettingUnusable("No notifications are set up", hint=hint)
    rows = []
    for one in deliveries:
        rows.append(("ok" if one.is_sent else "fail", one.channel, one.found))
        if one.hint:
            rows.append(("", "", f"-> {one.hint}"))
    print_table(("STATE", "CHANNEL", "FOUND"), rows)
    return 0 if all(one.is_sent for one in deliveries) else 1
