# Two commands: `make demo` shows what vpnprobe does, `make test` proves that it does it.
# Everything is installed into .venv here; system packages for the tests are installed by `make test` when it runs as root.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := vpnprobe-results/demo
# Of the coverage-guided fuzzer, for each target that fuzz/run.py lists.
FUZZ_SECONDS ?= 60
# Captures and pasted texts that are changed at random, of each.
MUTATIONS ?= 100000

.PHONY: demo test lint check coverage scenarios bench fuzz clean

demo: $(VENV)/installed
	$(BIN)/vpnprobe demo -o $(DEMO)

test: $(VENV)/installed-dev
	sh tools/system-packages.sh
	$(MAKE) lint
	$(MAKE) check

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

check: $(VENV)/installed-dev
	sh tools/run-tests.sh $(BIN)

coverage: $(VENV)/installed-dev
	sh tools/run-tests.sh $(BIN) whole

# All built-in scenarios in namespaces, those too that take long or need the kernel's netem.
scenarios: $(VENV)/installed-dev
	VPNPROBE_EVERY_SCENARIO=1 $(BIN)/pytest -rs -p no:cacheprovider tests/scenarios/test_scenarios_namespaces.py

bench: $(VENV)/installed
	sh benchmarks/run.sh $(BIN)

# Where atheris cannot be installed, the fuzzer says so in one line.
fuzz: $(VENV)/installed-dev
	$(BIN)/pytest -n auto --hypothesis-profile=fuzz tests/wire tests/conversations tests/capture tests/observations
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]' >/dev/null 2>&1 || true
	$(BIN)/python fuzz/run.py --seconds $(FUZZ_SECONDS)
	$(BIN)/python fuzz/mutations.py --times $(MUTATIONS)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "vpnprobe needs Python 3.11 or newer: apt install python3 (or name one: make PYTHON=python3.12 $(MAKECMDGOALS))" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) lacks its venv module: apt install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/bin/python pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,notebook]'
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache vpnprobe-results
