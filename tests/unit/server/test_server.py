from __future__ import annotations

from backend.server import run
from backend.settings import read


def test_all_secrets_are_masked_and_the_logins_in_urls_too() -> None:
    settings, _ = read(
        {
            "HETZNER_TOKEN": "token-one,token-two",
            "BASIC_AUTH_USERNAME": "admin",
            "BASIC_AUTH_PASSWORD": "the-operators",
            "NTFY_URL": "https://me:ntfy%20url@ntfy.example.com",
            "NTFY_TOPIC": "dyndns",
            "NTFY_PASSWORD": "ntfy-password",
            "NTFY_TOKEN": "ntfy-token",
            "HETZNER_API_URL": "https://api-token@api.example.com",
            "STATE_URL": "postgresql+psycopg://dyndns:p%40ss@db/name",
        }
    )
    secrets = set(run._secrets(settings))  # noqa: SLF001
    assert secrets >= {
        *("token-one", "token-two", "the-operators", "ntfy-password", "ntfy-token"),
        *("ntfy%20url", "ntfy url", "api-token", "p%40ss", "p@ss"),
        "postgresql+psycopg://dyndns:p%40ss@db/name",
    }
    assert not secrets & {"admin", "dyndns", "me"}
