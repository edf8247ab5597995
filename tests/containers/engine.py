"""A container engine (podman or Docker) with Compose."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASE = "docker.io/library/python:3.13-slim"
_SECONDS = 300.0
_POLL_SECONDS = 0.1
# The variables that a build needs to reach its package index.
_PIP_FILES = ("/etc/ssl/certs", "/etc/pip.conf")


def until(condition: Callable[[], object], what: str, details: Callable[[], str] = str) -> None:
    """Wait until a condition holds, with a timeout; `details` adds to the failure message."""
    end = time.monotonic() + 90
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"timed out waiting for {what}\n{details()}")
        time.sleep(_POLL_SECONDS)


class Engine:
    """podman with its own settings (make-base-image.sh), or Docker with CONTAINER_ENGINE=docker."""

    def __init__(self, folder: Path) -> None:
        self.name = os.environ.get("CONTAINER_ENGINE", "podman")
        self._environ = {**os.environ}
        self._service: subprocess.Popen[bytes] | None = None
        if self.name == "podman":
            cache = _cache()
            self._socket = folder / "podman.sock"
            self._environ["CONTAINERS_STORAGE_CONF"] = str(cache / "storage.conf")
            self._environ["CONTAINERS_CONF"] = str(cache / "containers.conf")
            self._environ["DOCKER_HOST"] = f"unix://{self._socket}"

    @staticmethod
    def problem() -> str:
        """Return why no engine can be used, or "" if one can."""
        if os.environ.get("CONTAINER_ENGINE", "podman") == "docker":
            return "" if shutil.which("docker") else "needs docker"
        if missing := [name for name in ("podman", "runc") if not shutil.which(name)]:
            return f"needs {', '.join(missing)}"
        if not (_cache() / "storage.conf").exists():
            return "needs a base image: run tests/containers/make-base-image.sh"
        return ""

    def start(self) -> None:
        """Start the API service for Compose; for Docker, load the base image."""
        if self.name == "docker":
            self.run("pull", "--quiet", BASE)
        else:
            command = ["podman", "system", "service", "--time", "0", f"unix://{self._socket}"]
            self._service = subprocess.Popen(
                command, env=self._environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            until(self._socket.exists, "podman's socket")

    def stop(self) -> None:
        if self._service is not None:
            self._service.terminate()
            self._service.wait(30)

    def run(self, *words: str) -> str:
        """Run a command of the engine; return its standard output."""
        return self.attempt(*words, check=True).stdout.strip()

    def attempt(self, *words: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        return self._do([self.name, *words], check=check)

    def build(self, folder: Path, tag: str) -> None:
        options = []
        if self.name == "podman":
            # Build without a runtime and with the local base image.
            options = ["--isolation", "chroot", "--network", "host", "--pull=never"]
            options += ["--format", "docker"]
            for path in _PIP_FILES:
                options += ["--volume", f"{path}:{path}:ro"] if Path(path).exists() else []
        self.run("build", *options, "--tag", tag, str(folder))

    def compose(self, folder: Path, *words: str) -> str:
        """Run Compose as the README does, with the override files of a test."""
        command = [*self._compose(folder), *words]
        return self._do(command, check=True, cwd=folder.parent).stdout

    def typed(self, commands: str, folder: Path) -> None:
        """Run the documented commands with Compose, with the override files of a test."""
        documented = f"docker compose -f {folder.name}/docker-compose.yml "
        text = commands.replace(documented, f"{shlex.join(self._compose(folder))} ")
        self._do(["sh", "-e", "-c", text], check=True, cwd=folder.parent)

    def _compose(self, folder: Path) -> list[str]:
        program = Path(sys.executable).parent / "docker-compose"
        command = ["docker", "compose"] if self.name == "docker" else [str(program)]
        return [
            *command,
            *("-f", f"{folder.name}/docker-compose.yml", "-f", f"{folder.name}/test.yml"),
        ]

    def inspect(self, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads(self.run("inspect", name))[0]
        return found

    def pid(self, name: str) -> int:
        """Return the host's process id of the container's first process; 0 if it isn't running."""
        return int(self.inspect(name)["State"]["Pid"])

    def logs(self, name: str) -> str:
        ended = self.attempt("logs", name)
        return ended.stdout + ended.stderr

    def is_healthy(self, name: str) -> bool:
        """Run the HEALTHCHECK of the container now."""
        config = self.inspect(self.inspect(name)["Image"])["Config"]
        check = config.get("Healthcheck") or self.inspect(name)["Config"]["Healthcheck"]
        kind, *command = check["Test"]
        assert kind == "CMD"
        return self.attempt("exec", name, *command).returncode == 0

    def address(self, name: str, network: str) -> str:
        address: str = self.inspect(name)["NetworkSettings"]["Networks"][network]["IPAddress"]
        return address

    def _do(
        self, command: Sequence[str], *, check: bool, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run(
            command,
            env=self._environ,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if check and ended.returncode:
            pytest.fail(f"{' '.join(command)}: {ended.returncode}\n{ended.stdout}{ended.stderr}")
        return ended


def _cache() -> Path:
    above = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(os.environ.get("CONTAINER_CACHE", above / "hetzner-dyndns" / "containers"))


def in_git(folder: str) -> list[str]:
    """Return the tracked and the new files of a folder."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."]
    ended = subprocess.run(command, cwd=ROOT / folder, capture_output=True, text=True, check=True)
    return sorted(line for line in ended.stdout.splitlines() if (ROOT / folder / line).exists())


def read_lines(text: str) -> dict[str, str]:
    """Parse `name value` lines, such as those of a key file."""
    return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
