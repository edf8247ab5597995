"""The compose files match the README, and all three are hardened in the same way."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any, Mapping, Tuple

import pytest
import yaml

from backend.readers import MOUNTED
from backend.settings import VARIABLES
from client import update_dns
from tests.shipping.tools import COMPOSE_FILES, ROOT

Service = Tuple[str, Mapping[str, Any]]


def load(file: str) -> Mapping[str, Any]:
    content: Mapping[str, Any] = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
    return content


def services() -> Mapping[str, Mapping[str, Any]]:
    return {
        f"{file} {name}": service
        for file in COMPOSE_FILES
        for name, service in load(file)["services"].items()
    }


each = pytest.mark.parametrize("service", services().values(), ids=services().keys())


@each
def test_a_service_is_hardened(service: Mapping[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"] in ("128m", "256m")
    assert service["pids_limit"]
    assert "privileged" not in service
    added = service.get("cap_add", [])
    assert added == (["NET_BIND_SERVICE"] if service["image"].startswith("caddy") else [])


@each
def test_a_compose_service_restarts_and_has_a_unique_name(
    service: Mapping[str, Any],
) -> None:
    assert service["restart"] == "unless-stopped"
    assert service["container_name"].startswith("hetzner-dyndns-")


def test_compose_files_use_the_documented_images() -> None:
    backend, client = load(COMPOSE_FILES[0]), load(COMPOSE_FILES[1])
    assert backend["services"]["backend"]["image"] == "nmbit/hetzner-dyndns-backend:latest"
    assert client["services"]["client"]["image"] == "nmbit/hetzner-dyndns-client:latest"
    assert backend["name"] != client["name"]


@pytest.mark.parametrize("file", COMPOSE_FILES[:2])
def test_the_build_section_is_there_and_good_once_uncommented(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert "    # build:\n    #   context: .\n" in text
    text = text.replace("# build:\n    #   context: .", "build:\n      context: .")
    (service,) = yaml.safe_load(text)["services"].values()
    assert service["build"] == {"context": "."}


@pytest.mark.parametrize(
    ("file", "settings", "volumes"),
    [
        (COMPOSE_FILES[0], ".secrets", ["./pre-shared-key:/pre-shared-key", "data:/data"]),
        (COMPOSE_FILES[2], ".env", ["data:/data"]),
    ],
)
def test_the_backend_container_gets_settings_keys_and_data(
    file: str, settings: str, volumes: list[str]
) -> None:
    backend = load(file)["services"]["backend"]
    assert (backend["env_file"], backend["volumes"]) == (settings, volumes)


def test_the_example_contains_the_documented_caddyfile(tmp_path: Path) -> None:
    caddy = load(COMPOSE_FILES[2])["services"]["caddy"]
    text = caddy["environment"]["CADDYFILE"].replace("$$", "$")
    assert text == (ROOT / "docs/examples/caddy/Caddyfile").read_text(encoding="utf-8")
    shell, option, line = caddy["command"]
    line = line.replace("/tmp", str(tmp_path)).replace("caddy run", "echo run")  # noqa: S108
    ended = subprocess.run([shell, option, line], env={**os.environ, "CADDYFILE": text}, check=True)
    assert ended.returncode == 0
    assert (tmp_path / "Caddyfile").read_text(encoding="utf-8").rstrip() == text.rstrip()


def test_the_compose_file_uses_the_clients_settings() -> None:
    client = load(COMPOSE_FILES[1])["services"]["client"]
    assert list(client["environment"]) == ["BACKEND_URL", "FQDN", "PRE_SHARED_KEY", "INTERVAL"]
    for name in client["environment"]:
        assert name in update_dns.HELP
    assert client["environment"]["INTERVAL"] == str(update_dns.DEFAULT_INTERVAL)


def test_the_port_that_is_published_is_the_one_listened_on() -> None:
    (port,) = (v.default for v in VARIABLES if v.name == "LISTEN_PORT")
    for file in (COMPOSE_FILES[0], COMPOSE_FILES[2]):
        (published,) = load(file)["services"]["backend"]["ports"]
        assert published.rpartition(":")[2] == port


def test_image_paths_match_the_compose_files_mounts() -> None:
    text = (ROOT / "backend/Dockerfile").read_text(encoding="utf-8")
    assert "PRE_SHARED_KEY_FILE" not in text
    assert Path("/pre-shared-key") == MOUNTED
    assert "WORKDIR /data\n" in text
    (store,) = (v.default for v in VARIABLES if v.name == "STATE_URL")
    assert re.fullmatch("sqlite:///[^/]+", store), "a file in the working directory"


def test_the_image_contains_all_packages_and_texts_of_the_backend() -> None:
    let_in = (ROOT / "backend/.dockerignore").read_text(encoding="utf-8").splitlines()
    packages = {path.parent.name for path in (ROOT / "backend").glob("*/__init__.py")}
    assert {f"!{package}" for package in packages} | {"!setup_guides.txt"} <= set(let_in)
