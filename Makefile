# One vocabulary for everyone, CI included. `make help` lists the words.

PYTHON ?= python3.11
VENV := .venv
PORT ?= 5000
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
COMPILE := $(BIN)/pip-compile --quiet --strip-extras --allow-unsafe \
	--no-emit-find-links --no-emit-index-url --no-emit-trusted-host
INSTALLED := $(VENV)/installed
INSTALLED_DEV := $(VENV)/installed-dev

.DEFAULT_GOAL := help
.PHONY: help run test test-fast test-slow check ui bench bench-speed bench-data bench-accuracy bench-ablation bench-search bench-gate lock format clean

help:  ## List these words
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

run: $(INSTALLED)  ## Run the whole flow: data, search, training, evaluation, gate, promotion
	@$(BIN)/headway run

test: $(INSTALLED_DEV)  ## Run all tests: the fast ones first, then the end-to-end ones
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not e2e and not slow"
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "e2e and not slow"

test-fast: $(INSTALLED_DEV)  ## Run the tests that take seconds
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not e2e and not slow"

test-slow: $(INSTALLED_DEV)  ## Run the tests that are too long for every change
	@$(BIN)/python -m pytest -m slow

check: $(INSTALLED_DEV)  ## Check style, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYTHONPATH=. $(BIN)/lint-imports --no-cache

ui: $(INSTALLED)  ## Browse runs and models in MLflow's pages, on PORT (5000)
	@$(BIN)/headway ui --port $(PORT)

bench: bench-speed  ## The same as bench-speed

bench-speed: $(INSTALLED_DEV)  ## Measure how fast the classifier trains, against its peers and the machine (a quarter of an hour)
	@$(BIN)/python -m benchmarks.speed

bench-data: $(INSTALLED_DEV)  ## Measure how the data stages grow, from 10,000 rows to a million (a quarter of an hour)
	@$(BIN)/python -m benchmarks.data

bench-accuracy: $(INSTALLED_DEV)  ## Score every row by a model that never saw it, against the linear baseline (an hour)
	@$(BIN)/python -m benchmarks.accuracy

bench-ablation: $(INSTALLED_DEV)  ## Switch off each option of the classifier in turn, and write benchmarks/ablation.md (hours)
	@$(BIN)/python -m benchmarks.ablation

bench-search: $(INSTALLED_DEV)  ## Measure what pruning saves and what it loses, and what the search adds to the training (an hour)
	@$(BIN)/python -m benchmarks.search

bench-gate: $(INSTALLED_DEV)  ## Simulate how often the gate promotes noise and finds a gain, and write benchmarks/gate.md (minutes)
	@$(BIN)/python -m benchmarks.gate

lock: $(INSTALLED_DEV)  ## Resolve pyproject.toml into requirements.lock and requirements-dev.lock
	@$(COMPILE) --output-file requirements.lock pyproject.toml
	@sed -i.bak 's/+cpu$$//' requirements.lock
	@$(COMPILE) --extra dev --extra s3 --extra dask --extra ray --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	@sed -i.bak 's/+cpu$$//' requirements-dev.lock
	@rm -f requirements.lock.bak requirements-dev.lock.bak

format: $(INSTALLED_DEV)  ## Let ruff lay out the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:  ## Remove the virtual environment, caches and scratch files; data, models and runs stay
	rm -rf $(VENV) .headway dvc_plots .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name '*.egg-info' -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not installed; install Python 3.11," \
		"or name one: make PYTHON=/path/to/python3.11 run" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "make: $(PYTHON) is $$($(PYTHON) --version), Python 3.11 is needed" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "make: $(PYTHON) could not make $(VENV), see above;" \
		"on Debian and Ubuntu, install python3.11-venv" >&2; exit 2; }

$(INSTALLED): requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing the locked packages into $(VENV): some minutes, once."
	@$(PIP) install --requirement requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(INSTALLED_DEV): requirements-dev.lock requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing the locked packages, the tests' own included, into $(VENV)."
	@$(PIP) install --requirement requirements-dev.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $(INSTALLED) $@
