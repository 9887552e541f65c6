# Thin on purpose: each target prepares what it needs once (stamps in .venv) and calls one command.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

ifndef PYTHON
PYTHON := $(shell for each in python3 python3.13 python3.12 python3.11; do \
	"$$each" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && echo "$$each" && break; done)
endif
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest
LOCKS := requirements requirements-test requirements-build

.PHONY: help demo test test-long bench bench-release lint docs servers promtool lock clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 16

demo: $(VENV)/.users ## embedded broker, SQLite, one replayed visit, summary and verify
	$(BIN)/skyburst demo

test: $(VENV)/.tests servers promtool ## every suite, against real Kafka and real MariaDB
	tests/all.sh $(PYTEST)

test-long: $(VENV)/.tests servers ## the crash loop at full length, long fuzzing
	$(PYTEST) -m long --long

bench: $(VENV)/.tests servers ## drain and live rates on this machine, beside plain ways to do the same
	$(BIN)/python -m tests.bench

bench-release: $(VENV)/.tests servers ## partition and load of a release catalogue, beside plain ways to do the same
	$(BIN)/python -m tests.bench_release

lint: $(VENV)/.tests ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.tests ## the reference pages, made from the code
	$(BIN)/python docs/make.py

servers: $(VENV)/.users ## what real servers need: MariaDB, Java, Kafka's jars
	@deploy/debian-needs mariadb java
	@$(BIN)/python -c 'import stream.local.jars as jars, sys; sys.exit(bool(jars.lacking(jars.default_folder())))' \
		|| deploy/debian-needs maven
	@$(BIN)/python -c 'from stream.local import kafka_jars; print("Kafka:", kafka_jars())'

promtool:
	@deploy/prometheus/fetch-promtool.sh

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "skyburst needs Python 3.11 to 3.14: apt-get install python3, or make PYTHON=..." >&2; exit 1; }
	@PYTHON="$(PYTHON)" deploy/debian-needs venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/.users: requirements.lock requirements-build.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes --only-binary :all: -r requirements.lock -r requirements-build.lock
	$(PIP) install --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(VENV)/.tests: requirements-test.lock $(VENV)/.users
	$(PIP) install --require-hashes --only-binary :all: -r requirements-test.lock
	@touch $@

lock: ## resolve the dependencies anew (needs uv; maintainers only)
	uv pip compile -q pyproject.toml $(PINNED) -o requirements.lock
	uv pip compile -q pyproject.toml --extra test $(PINNED) -c requirements.lock -o requirements-test.lock
	uv pip compile -q requirements-build.in $(PINNED) -c requirements-test.lock -o requirements-build.lock

PINNED := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header

clean: ## forget the environment and what was built
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .hypothesis
