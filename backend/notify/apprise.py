"""Reads URLs and sends pushes with the apprise library, in a separate process for each job.

The library has plugins for over a hundred services. Its own process limits the time and the memory
that a server can cost, and drops what a plugin logs, which may contain secrets. The job comes by
standard input, because others can read the arguments of a process.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Mapping

_ANSWER_SECONDS = 10.0  # for the server's answer; the library waits 4 to connect
_LONGEST_LIFE = 90  # seconds, if the service has ended and no process waits
_MOST_MEMORY = 128 * 1024 * 1024  # bytes; a push needs about 50 MB
_PRIORITY_OF_WARNINGS = 4
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_INHERITED = (
    *("PATH", "LANG", "LC_ALL", "TZ", "HOME", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"),
    *_PROXIES,
    *map(str.upper, _PROXIES),
)


def run(job: Mapping[str, Any], seconds: float) -> list[bool | None]:
    """Let a new process do a job; return its answer, which is empty if it fails."""
    path = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    # A plugin needs no secret of the service.
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "backend.notify.apprise"],
            input=json.dumps(job).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**inherited, "PYTHONPATH": os.pathsep.join(filter(None, path))},
            timeout=seconds,
            check=False,
        )
        answer: list[bool | None] = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return []
    return answer


def main() -> None:
    signal.alarm(_LONGEST_LIFE)
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))
    with contextlib.suppress(OSError):  # if memory is short, this process is killed, not a worker
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    job = json.load(sys.stdin)
    logging.disable(logging.CRITICAL)
    answer, sys.stdout = sys.stdout, sys.stderr  # a plugin may print
    import apprise  # noqa: PLC0415 - not in the service's own process

    apprise.URLBase.socket_read_timeout = _ANSWER_SECONDS
    # Services refuse messages beyond their limits, such as 1024 characters of Pushover. A URL may
    # choose `overflow=split` instead.
    apprise.NotifyBase.overflow_mode = apprise.OverflowMode.TRUNCATE
    asset = apprise.AppriseAsset(app_id="hetzner-dyndns", async_mode=False)
    answer.write(json.dumps([_do(apprise, url, asset, job.get("push")) for url in job["urls"]]))
    answer.flush()
    os._exit(0)  # a plugin may have left a thread


def _do(library: Any, url: str, asset: Any, push: Mapping[str, Any] | None) -> bool | None:  # noqa: ANN401
    """Read a URL, and send a push to its service if there is one.

    Returns `None` if that failed so late that the service may have received the push.
    """
    started = time.monotonic()
    try:
        service = library.Apprise.instantiate(url, asset=asset)
        if service is None or push is None:
            return service is not None
        sender = library.Apprise(asset=asset)
        sender.add(service)
        is_urgent = push["priority"] >= _PRIORITY_OF_WARNINGS
        if sender.notify(
            title=push["title"],
            body=push["message"],
            body_format=library.NotifyFormat.TEXT,
            notify_type=library.NotifyType.WARNING if is_urgent else library.NotifyType.INFO,
        ):
            return True
    except Exception:  # noqa: BLE001, S110 - of any plugin; its text may contain a secret
        pass
    return None if time.monotonic() - started >= _ANSWER_SECONDS else False


if __name__ == "__main__":
    main()
