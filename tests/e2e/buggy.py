"""`python -m backend` with a bug: updates of one host raise an error that contains every secret."""

from __future__ import annotations

import os
import sys
from typing import Any

from backend import cli
from backend.sync.updater import Updater

HOST = "bug.example.com"
SECRETS = ("HETZNER_TOKEN", "BASIC_AUTH_PASSWORD", "NTFY_TOKEN", "NTFY_PASSWORD", "STATE_URL")

_apply = Updater.apply


def apply(self: Updater, update: Any, *arguments: Any) -> Any:  # noqa: ANN401
    if update.host.text == HOST:
        raise RuntimeError([os.environ.get(name) for name in SECRETS])
    return _apply(self, update, *arguments)


if __name__ == "__main__":
    Updater.apply = apply  # type: ignore[method-assign]
    sys.exit(cli.run(sys.argv[1:], os.environ))
