# `make` lists the commands. Everything is installed into this folder (.venv, node_modules); state is in .switchboard.

# The first Python on the PATH that is new enough; install.py says so where there is none.
PYTHON ?= $(or $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done),python3)
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install install-dev run up down status reset migration openapi bench faults faults-archive pictures fuzz test lint lock

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## Install what `make run` needs, as locked
	@command -v $(PYTHON) >/dev/null || { echo "Switchboard needs Python 3.11 or newer; there is no python3 on the PATH." >&2; exit 1; }
	@$(PYTHON) local/install.py

install-dev: ## Install what the tests and linters need too
	@command -v $(PYTHON) >/dev/null || { echo "Switchboard needs Python 3.11 or newer; there is no python3 on the PATH." >&2; exit 1; }
	@$(PYTHON) local/install.py --dev

run: install ## Run everything in the foreground; Ctrl-C stops it
	@$(BIN)/python -m local run

up: install ## Run everything in the background
	@$(BIN)/python -m local up

down: ## Stop what runs in the background
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m local down; else echo "Nothing runs."; fi

status: install ## Print the URLs and keys of what runs
	@$(BIN)/python -m local status

reset: install ## Stop everything and empty the database
	@$(BIN)/python -m local reset

migration: install ## Write what changed in supabase/schemas and supabase/policies into a migration: NAME=verb_object
	@$(BIN)/python -m local migration $(NAME)

openapi: install ## Describe the API anew: docs/openapi.json, and the tables of docs/api.md
	@$(BIN)/python -m local openapi

# The words after `bench` are its command, and no targets: `make bench cost ARGS="--rounds 3"`.
ifeq (bench,$(firstword $(MAKECMDGOALS)))
MEASURE := $(filter-out bench,$(MAKECMDGOALS))
$(eval $(MEASURE):;@:)
endif

bench: install ## Measure: make bench cost, cold-start, dashboard, growth, imports, partitions, live, replay, jobs, archive, recall or memory; ARGS=--help lists the options
	@set -a; if [ -e .env.local ]; then . ./.env.local; fi; $(BIN)/python -m bench $(MEASURE) $(ARGS)

faults: install-dev ## Kill the parts of a stack under load and check what is left: ARGS="--kills 200 --seed 7"
	@$(BIN)/python -m tests.faults $(ARGS)

faults-archive: install-dev ## Kill the archive at random moments and check what is left: ARGS="--kills 200 --seed 7"
	@$(BIN)/python -m tests.faults.archive_kills $(ARGS)

pictures: install-dev ## Take the pictures of the README and the docs anew
	@local/debian.sh
	@$(BIN)/python -m pytest -q -n0 tests/e2e/pictures.py

fuzz: install-dev ## Ask every route what its description allows, as each kind of caller: ARGS="--max-examples 500"
	@FUZZ="$(or $(ARGS),--max-examples 100)" $(BIN)/python -m pytest -x tests/functions/test_description.py tests/database/test_memory_worlds.py

# How many test files run side by side, each process with servers of its own: they wait more than they compute.
WORKERS ?= 4

# Compiled tests are kept, also where the environment of a container says otherwise: each process would compile all anew.
test: export PYTHONDONTWRITEBYTECODE :=
test: install-dev ## Run all tests on the real stack: WORKERS=0 one after another, ARGS="-k chat"
	@local/debian.sh
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 15 $(ARGS)

lint: install-dev ## Check style, types and migrations
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/squawk supabase/migrations/*.sql

COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --python-version 3.11 --excludes requirements/excludes.txt

lock: install-dev ## Lock the dependencies anew
	$(COMPILE) --extra local --extra dev pyproject.toml -o requirements/dev.txt
	$(COMPILE) --extra local -c requirements/dev.txt pyproject.toml -o requirements/local.txt
	$(COMPILE) -c requirements/dev.txt pyproject.toml -o requirements/functions.txt
	$(COMPILE) --extra archive -c requirements/dev.txt pyproject.toml -o requirements/archive.txt
	$(COMPILE) --extra embeddings -c requirements/dev.txt pyproject.toml -o requirements/embeddings.txt
	$(COMPILE) -c requirements/dev.txt requirements/cost.in -o requirements/cost.txt
	echo uv | $(COMPILE) - -o requirements/uv.txt
	npm install --package-lock-only
