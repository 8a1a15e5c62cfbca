# make demo    a queue worked off in front of you: no key, no server, a minute
# make test    every test; those of real components are skipped where the component is missing (.ci/install has them all)
# make lint    ruff and mypy
# make bench   tables beside a baseline of the same run; BENCH="gateway dbos" chooses others

PYTHON ?= python3
ENV := .venv
RUN := $(ENV)/bin/python -m
TESTS ?= tests
BENCH ?= route queue scheduler stats worktrees

.PHONY: demo test lint bench

demo: $(ENV)/installed
	$(ENV)/bin/harness demo --keep

test: $(ENV)/installed
	PATH="$(CURDIR)/$(ENV)/bin:$$PATH" $(RUN) pytest -q $(TESTS)

lint: $(ENV)/installed
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

bench: $(ENV)/installed
	set -e; for name in $(BENCH); do $(RUN) tests.benchmarks.bench_$$name; done

# pip must be 25.1 or later to know dependency groups.
$(ENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(ENV)
	$(RUN) pip install --quiet --upgrade pip
	$(RUN) pip install --quiet --editable '.[all]' --group dev
	touch $@
