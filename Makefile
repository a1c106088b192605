# Needs Python 3.11 or later and nothing else: everything goes into .venv, and the installer itself into .tools.

# The Python that .venv is built with.
PYTHON ?= python3
# Tests at the same time: one more than there are cores, for many wait for another process or the disk. 0 runs
# them in one process, as ARGS=--pdb needs.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# Files or folders to test; empty means all.
TESTS ?=
# Databases to run on: all is SQLite and whichever of PostgreSQL and MariaDB answers on this machine.
DATABASES ?= all

INSTALL = @$(PYTHON) scripts/install.py
MYPY = $(CURDIR)/.venv/bin/mypy --no-error-summary --config-file $(CURDIR)/pyproject.toml \
	--cache-dir $(CURDIR)/.mypy_cache
PACKAGES = $(patsubst %/py.typed,%,$(wildcard core/*/py.typed client/*/py.typed plugins/*/*/py.typed))
# Tests and benchmarks need not be annotated; what is, is checked. Each folder by itself, for file names repeat.
GENTLE = --explicit-package-bases --allow-untyped-defs --allow-incomplete-defs --allow-untyped-calls \
	--allow-untyped-decorators --allow-any-generics --no-warn-return-any --no-check-untyped-defs

.PHONY: help run test check lint types bench format lock install clean

help: ## Say what each target does
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile | expand -t 15
	@echo
	@echo "make run PORT=8000             another port"
	@echo "make test ARGS='-k sharing'    some tests"
	@echo "make -C core test              the tests of one package"
	@echo "make test PYTHON=python3.13    another Python"

run: ## Start the site, web server and worker, on http://127.0.0.1:5000
	$(INSTALL)
	@FLASK_APP=wsgi.py exec .venv/bin/flask serve $(ARGS)

test: ## Run the tests of everything
	$(INSTALL) --dev
	@# Tests start hundreds of processes, which would compile everything again where no byte code may be kept.
	env -u PYTHONDONTWRITEBYTECODE .venv/bin/pytest -n $(WORKERS) --dist worksteal --databases $(DATABASES) --ignore tests/static $(TESTS) $(ARGS)

check: lint types ## Check style, types, the rules of the tree and the documentation
	.venv/bin/pytest -q tests/static $(ARGS)

lint: ## Check style alone
	$(INSTALL) --dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: ## Check types alone
	$(INSTALL) --dev
	@echo mypy --strict $(PACKAGES) scripts
	@$(MYPY) $(PACKAGES) scripts
	@set -e; for folder in benchmarks $(wildcard core/tests plugins/*/tests client/tests tests); do \
		echo mypy $$folder; (cd $$folder && $(MYPY) $(GENTLE) .); done

bench: ## Run the benchmarks one after the other
	$(INSTALL) --dev
	@set -e; for script in $(sort $(wildcard benchmarks/bench_*.py)); do \
		echo "== $$script"; .venv/bin/python $$script $(ARGS); done

format: ## Put all code into the one style
	$(INSTALL) --dev
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

lock: ## Choose the newest versions that fit and write them to Pipfile.lock
	@$(PYTHON) scripts/lock.py

install: ## Install what the server needs into .venv, unless it is there
	$(INSTALL)

clean: ## Remove what was installed and every cache; instance/ stays
	rm -rf .venv .tools .clients .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
