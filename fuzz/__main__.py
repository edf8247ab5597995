"""Run every search for a bounded time: `python -m fuzz [SECONDS a parser]`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile

from fuzz import targets


def main() -> int:
    seconds = sys.argv[1] if len(sys.argv) > 1 else "10"
    sound = {}
    if importlib.util.find_spec("atheris") is None:
        print("atheris isn't installed here: no search guided by coverage", flush=True)
    else:
        for target in (*targets.TEXTS, *targets.BYTES):
            sound[target.__name__] = _search(target.__name__, seconds)
    if importlib.util.find_spec("schemathesis") is None:
        print("schemathesis isn't installed here: the document is not tried out", flush=True)
    else:
        sound["test_api"] = _try_document()
    failed = [name for name, is_sound in sound.items() if not is_sound]
    print(f"{len(sound)} searches, failed: {', '.join(failed) or 'none'}", flush=True)
    return 1 if failed else 0


def _try_document() -> bool:
    options = ("-q", "-p", "no:schemathesis")
    command = [sys.executable, "-m", "pytest", *options, "fuzz/test_api.py"]
    return subprocess.run(command, check=False).returncode == 0


def _search(name: str, seconds: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "fuzz.parsers", name, folder),
            *(
                f"-max_total_time={seconds}",
                "-max_len=4096",
                "-verbosity=0",
                "-print_final_stats=1",
            ),
            f"-artifact_prefix={folder}/",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    runs = next((line.split()[-1] for line in said.splitlines() if "executed_units" in line), "?")
    print(f"{name}: {runs} cases, {'sound' if done.returncode == 0 else 'FAILED'}", flush=True)
    if done.returncode:
        print(said, flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
