"""`python -m backend` with gunicorn's own worker: the yardstick of bench/slow_senders.py."""

import os
import sys

from gunicorn.workers.gthread import ThreadWorker

from backend import cli
from backend.serving import server

if __name__ == "__main__":
    server.Worker = ThreadWorker
    sys.exit(cli.run([], os.environ))
