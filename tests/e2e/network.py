"""Machines with their own addresses: network namespaces on an isolated switch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Iterator, Sequence

from tests.e2e.processes import Program, environment

# Documentation ranges, which this machine doesn't use.
V4, V6 = "198.51.100.{}/24", "2001:db8:5::{}/64"
_SECONDS = 60


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=_SECONDS)


def can_be_made() -> bool:
    """Check whether this user may create network namespaces."""
    if os.geteuid() != 0:
        return False
    name = f"probe-{os.getpid()}"
    try:
        ip("netns", "add", name)
        ip("netns", "delete", name)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


class Switch:
    """The switch that connects the machines."""

    def __init__(self) -> None:
        self.name = f"switch-{os.getpid()}"
        self.machines: list[Plugged] = []
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "add", "bridge", "type", "bridge")
        ip("-n", self.name, "link", "set", "bridge", "up")

    def connect(self, name: str, number: int | None = None) -> Plugged:
        self.machines.append(Plugged(self, name))
        if number is not None:
            self.machines[-1].set_addresses(number)
        return self.machines[-1]

    def remove(self) -> None:
        for name in [*(machine.namespace for machine in self.machines), self.name]:
            ip("netns", "delete", name)


class Plugged:
    """A machine on the switch."""

    def __init__(self, switch: Switch, name: str) -> None:
        self.namespace = f"{name}-{os.getpid()}"
        port = f"to-{name}"
        ip("netns", "add", self.namespace)
        ip("-n", self.namespace, "link", "set", "lo", "up")
        plug = ("link", "add", "lan", "type", "veth", "peer", "name", port, "netns", switch.name)
        ip("-n", self.namespace, *plug)
        ip("-n", switch.name, "link", "set", port, "master", "bridge", "up")
        ip("-n", self.namespace, "link", "set", "lan", "up")

    def set_addresses(self, number: int) -> tuple[str, str]:
        """Replace the addresses of the machine; return the old and the new ones."""
        ip("-n", self.namespace, "address", "flush", "dev", "lan", "scope", "global")
        for address in (V4.format(number), V6.format(number)):
            # `nodad`: skip the duplicate address detection.
            ip("-n", self.namespace, "address", "add", address, "dev", "lan", "nodad")
        return V4.format(number).split("/")[0], V6.format(number).split("/")[0]

    def run(self, *command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ip", "netns", "exec", self.namespace, *command],
            cwd=folder,
            env=environment(folder),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )


class Inside(Program):
    """A program on a machine of the switch."""

    def __init__(
        self, machine: Plugged, name: str, arguments: Sequence[str], folder: Path, **variables: str
    ) -> None:
        self._machine = machine
        super().__init__(name, arguments, folder, **variables)

    def command(self, arguments: Sequence[str]) -> list[str]:
        own = [sys.executable] if arguments[0] == "-m" else []
        return ["ip", "netns", "exec", self._machine.namespace, *own, *arguments]


def plugged_in() -> Iterator[Switch]:
    switch = Switch()
    try:
        yield switch
    finally:
        switch.remove()
