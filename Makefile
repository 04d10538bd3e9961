# make run    a fresh machine: .venv, installation, Playroom, default pipeline, report
# make test   a fresh machine: the same set-up, then the whole test suite (what CI runs), a process per core
# make quick  the tests that take less than about five seconds
# make check  lint, types, import contracts
# make bench  the measurements behind docs/BENCHMARKS.md
# make licences  the licence of everything that is installed
# make clean  throw the environment and everything generated away

PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1

# Files of tests in the order of tests/conftest.py, each file in one process.
SPREAD := -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

.PHONY: run test quick check bench licences clean setup

run: setup
	@$(BIN)/glean run

test: setup
	@$(BIN)/pytest $(SPREAD)

quick: setup
	@$(BIN)/pytest $(SPREAD) -m "not slow"

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: setup
	@$(BIN)/pip install --quiet -e '.[dev,bench]'
	@$(BIN)/python -m benchmarks

licences: setup
	@$(BIN)/python -m benchmarks.licences

setup: .venv/installed

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Gleaner needs Python 3.11 or newer, this is %d.%d: make PYTHON=python3.11 ..." % sys.version_info[:2])'
	@echo "Installing into .venv: several GB, about 3 minutes"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv .gleaner .checkpoints raw data labels models results report
