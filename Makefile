# The same commands for everyone, CI included. `make help` lists them.

PYTHON ?= python3.11
PYTHONS ?= 3.11 3.12 3.13
VENV := .venv
PORT ?= 5000
# The pretrained encoder that bench-encoder measures, a folder in data/encoders.
ENCODER ?= all-MiniLM-L6-v2
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# One resolution for every supported Python and platform: a package that only some of them need gets an environment marker.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --strip-extras \
	--custom-compile-command "make lock"
INSTALLED := $(VENV)/installed
INSTALLED_DEV := $(VENV)/installed-dev

.DEFAULT_GOAL := help
.PHONY: help run test test-fast test-slow test-pythons check docs screenshots ui bench bench-speed bench-encoder bench-data bench-accuracy \
	bench-ablation bench-panel bench-ranks bench-search bench-gate bench-monitor bench-nodes bench-labels bench-serve bench-kills \
	bench-shared demo-drift lock sbom format clean

help:  ## List these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

run: $(INSTALLED)  ## Run the whole pipeline: data, search, training, evaluation, gate, promotion
	@$(BIN)/headway run

test: $(INSTALLED_DEV)  ## Run all tests except the slow ones: first the unit tests, then end to end
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not e2e and not slow"
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "e2e and not slow"

test-fast: $(INSTALLED_DEV)  ## Run the unit tests only (minutes)
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not e2e and not slow"

test-slow: $(INSTALLED_DEV)  ## Run the slow tests, which are too long for every change
	@$(BIN)/python -m pytest -m slow

test-pythons:  ## Run the unit tests on Python 3.11, 3.12 and 3.13, each in a new virtual environment (an hour)
	@set -e; for version in $(PYTHONS); do \
		folder=.headway/python$$version; trap "rm -rf $$folder" EXIT; rm -rf $$folder; mkdir -p .headway; \
		echo "Python $$version"; \
		$(MAKE) --no-print-directory PYTHON=python$$version VENV=$$folder test-fast; \
		rm -rf $$folder; \
	done

check: $(INSTALLED_DEV)  ## Check style, types and import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYTHONPATH=. $(BIN)/lint-imports --no-cache

docs: $(INSTALLED_DEV)  ## Build the documentation into docs/_build/html; warnings are errors
	@$(BIN)/python -m sphinx -n -W --keep-going -b html docs docs/_build/html

screenshots: $(INSTALLED_DEV)  ## Take the pictures in docs/images: the pages of the last run, in Chromium
	@$(BIN)/python docs/screenshots.py

ui: $(INSTALLED)  ## Browse runs and models in MLflow's web interface, on port PORT (5000)
	@$(BIN)/headway ui --port $(PORT)

bench: bench-speed  ## The same as bench-speed

bench-speed: $(INSTALLED_DEV)  ## Measure training speed against other implementations (a quarter of an hour)
	@$(BIN)/python -m benchmarks.speed

bench-encoder: $(INSTALLED_DEV)  ## Measure speed and accuracy of the pretrained encoder ENCODER (two hours)
	@$(BIN)/python -m benchmarks.speed --encoder $(ENCODER)
	@$(BIN)/python -m benchmarks.accuracy --encoder $(ENCODER)
	@$(BIN)/python -m benchmarks.accuracy --encoder $(ENCODER) --mode fine_tune --subset rotten_tomatoes

bench-data: $(INSTALLED_DEV)  ## Measure how the data stages scale, from 10,000 to a million rows, or for ROWS="2000000 5000000" (half an hour)
	@$(BIN)/python -m benchmarks.data $(if $(ROWS),--rows $(ROWS))

bench-accuracy: $(INSTALLED_DEV)  ## Cross-validate the model against the linear baseline (an hour)
	@$(BIN)/python -m benchmarks.accuracy

bench-ablation: $(INSTALLED_DEV)  ## Switch off each option of the model in turn; write benchmarks/ablation.md (hours)
	@$(BIN)/python -m benchmarks.ablation

bench-panel: $(INSTALLED_DEV)  ## Measure the model on many real text sets, downloaded once; write benchmarks/panel.md (hours)
	@GOMP_SPINCOUNT=0 $(BIN)/python -m benchmarks.panel

bench-ranks: $(INSTALLED_DEV)  ## Measure whether trials rank points of the space as full trainings do, on eight cells of the panel (hours)
	@GOMP_SPINCOUNT=0 $(BIN)/python -m benchmarks.panel.ranks

bench-search: $(INSTALLED_DEV)  ## Measure what pruning saves and loses, and what the search gains (an hour)
	@$(BIN)/python -m benchmarks.search

bench-gate: $(INSTALLED_DEV)  ## Simulate the gate's false promotions and its power; write benchmarks/gate.md (minutes)
	@$(BIN)/python -m benchmarks.gate

bench-monitor: $(INSTALLED_DEV)  ## Simulate the monitor's false alarms and delays; write benchmarks/monitor.md (minutes)
	@$(BIN)/python -m benchmarks.monitor

bench-nodes: $(INSTALLED_DEV)  ## Measure search and labelling on three Ray nodes against one (minutes)
	@$(BIN)/python -m benchmarks.nodes

bench-labels: $(INSTALLED_DEV)  ## Measure how many wrong labels `headway label-errors` finds (a quarter of an hour)
	@$(BIN)/python -m benchmarks.label_errors

bench-serve: $(INSTALLED_DEV)  ## Measure labelling of files and the HTTP service against others (half an hour)
	@$(BIN)/python -m benchmarks.serve

bench-kills: $(INSTALLED_DEV)  ## Kill every kind of job at 200 random moments and run it again; write benchmarks/kills.md (an hour)
	@$(BIN)/python -m benchmarks.kills

bench-shared: $(INSTALLED_DEV)  ## Two flows, four services and a monitor on one Postgres and bucket; write benchmarks/shared.md (20 minutes)
	@$(BIN)/python -m benchmarks.shared

demo-drift: $(INSTALLED_DEV)  ## Write real texts with dates, which drift, as a CSV: an example for split.time_column (a minute)
	@$(BIN)/python -m benchmarks.drift_demo

lock: $(INSTALLED_DEV)  ## Write the lock files from pyproject.toml, keeping locked versions: requirements*.lock, docker/locks
	@$(COMPILE) --output-file requirements.lock pyproject.toml
	@$(COMPILE) --all-extras --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	@$(COMPILE) --extra s3 --constraint requirements-dev.lock --output-file docker/locks/worker.lock pyproject.toml
	@$(COMPILE) --constraint requirements-dev.lock --output-file docker/locks/servers.lock docker/servers/requirements.in
	@$(BIN)/python .ci/extras.py serving s3fs | $(COMPILE) --constraint requirements-dev.lock --output-file docker/locks/serve.lock -

sbom: $(INSTALLED_DEV)  ## Write a bill of materials (CycloneDX) of each image of docker/ to docker/sbom
	@mkdir -p docker/sbom
	@for image in servers worker serve; do \
		$(BIN)/cyclonedx-py requirements docker/locks/$$image.lock --pyproject pyproject.toml --mc-type application \
			--output-reproducible --of JSON --output-file docker/sbom/$$image.cdx.json || exit 1; \
	done

format: $(INSTALLED_DEV)  ## Format the code and apply safe lint fixes
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:  ## Remove the virtual environment, caches and scratch files; keep data, models and runs
	rm -rf $(VENV) .headway dvc_plots docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name '*.egg-info' -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not installed; install Python 3.11, 3.12 or 3.13," \
		"or name one: make PYTHON=/path/to/python3.12 run" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "make: $(PYTHON) is $$($(PYTHON) --version); Python 3.11, 3.12 or 3.13 is needed" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "make: $(PYTHON) could not make $(VENV), see above;" \
		"on Debian and Ubuntu, install python3-venv" >&2; exit 2; }

# The programs of an environment name its folder. After the project was moved or copied, this makes them name the new one, and
# installs the project's own package again.
ifneq ($(wildcard $(BIN)/activate),)
ifeq ($(shell grep -cF '$(realpath $(VENV))' $(BIN)/activate),0)
.PHONY: moved
moved:
	@echo "$(VENV) was moved here with the project: bringing it up to date."
	@$(BIN)/python .ci/follow_move.py $(VENV)
$(INSTALLED) $(INSTALLED_DEV): moved
endif
endif

$(INSTALLED): requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing the locked packages into $(VENV). This takes some minutes, once."
	@$(PIP) install --requirement requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(INSTALLED_DEV): requirements-dev.lock requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing the locked packages, those for tests included, into $(VENV)."
	@$(PIP) install --requirement requirements-dev.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $(INSTALLED) $@
