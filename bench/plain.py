"""The baseline: a one-line Flask app with the gunicorn settings of the service.

python -m bench.plain PORT
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from backend.server.gunicorn import options
from backend.settings import read

app = Flask(__name__)


@app.route("/nic/update")
def nic_update() -> str:
    return "nochg 198.51.100.1\n"


@app.post("/update")
def update() -> dict[str, str]:
    return {"status": "unchanged", "fqdn": "host.example.com", "type": "A", "ip": "198.51.100.1"}


class _Server(BaseApplication):  # type: ignore[misc]
    def __init__(self, sink: socket.socket) -> None:
        settings, _ = read({"HETZNER_TOKEN": "b" * 64})
        self._given = options(settings, sink)
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._given.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:  # noqa: ANN401
        return app


def main() -> None:
    sink = socket.socket()
    sink.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sink.bind(("127.0.0.1", int(sys.argv[1])))
    sink.listen(2048)
    _Server(sink).run()


if __name__ == "__main__":
    main()
