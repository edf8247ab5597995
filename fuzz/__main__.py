"""Fuzzes each parser for a limited time, then the API, and from ten seconds on the whole service.

`python -m fuzz [SECONDS]`
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

from fuzz import targets

_LONG = 10  # seconds


def main() -> int:
    seconds = sys.argv[1] if len(sys.argv) > 1 else "10"
    passed = {}
    if importlib.util.find_spec("atheris") is None:
        print("atheris isn't installed: the parsers are not fuzzed", flush=True)
    else:
        names = [target.__name__ for target in (*targets.TEXTS, *targets.BYTES)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # each runs a process of its own
            results = pool.map(lambda name: _fuzz_parser(name, seconds), names)
        passed.update(zip(names, results))
    if importlib.util.find_spec("schemathesis") is None:
        print("schemathesis isn't installed: the API is not fuzzed", flush=True)
    else:
        passed["test_api"] = _test("fuzz/test_api.py")
    if float(seconds) >= _LONG:  # the same with fixed choices is part of tests/http
        passed["test_service"] = _test("fuzz/test_service.py")
    failed = [name for name, has_passed in passed.items() if not has_passed]
    print(f"{len(passed)} targets, failed: {', '.join(failed) or 'none'}", flush=True)
    return 1 if failed else 0


def _test(file: str) -> bool:
    options = ("-q", "-p", "no:schemathesis")
    command = [sys.executable, "-m", "pytest", *options, file]
    return subprocess.run(command, check=False).returncode == 0


def _fuzz_parser(name: str, seconds: str) -> bool:
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
    output = done.stdout + done.stderr
    runs = next((line.split()[-1] for line in output.splitlines() if "executed_units" in line), "?")
    print(f"{name}: {runs} cases, {'passed' if done.returncode == 0 else 'FAILED'}", flush=True)
    if done.returncode:
        print(output, flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
