# Every habit of this repository. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install demo up test check bench storm docs lock clean

help: ## List what make can do
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Two installs from hash-pinned lists: what Medled needs to run, and what working on it needs besides.
$(VENV)/.run: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what Medled runs on, $$(grep -c == requirements.lock) packages at most, into $(VENV): about a minute."
	@$(PIP) --require-hashes -r requirements.lock
	@echo "Installing Medled itself."
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	@echo "Installing what working on Medled needs besides: about a minute."
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

install: $(VENV)/.dev ## Make .venv with everything for working on Medled

demo: $(VENV)/.run ## Play a programme on a sample organisation and leave the portal open (PORT=8181); ONCE=1 ends by itself
	$(BIN)/medled demo $(if $(ONCE),--once) $(if $(PORT),--port $(PORT))

up: $(VENV)/.run ## Start the embedded stack in the foreground, its data in .medled; PORT=8181 for another port
	$(BIN)/medled up $(if $(PORT),--port $(PORT))

check: $(VENV)/.dev ## Linting, formatting, types, import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Three workers, also on two cores: the tests wait for servers more than they compute. A file's tests stay together for its
# servers.
test: check ## Every check and every test, each fault once
	-@$(BIN)/python -c "from deploy.embedded.kafka import jars; jars()" 2>/dev/null
	$(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder -m "not storm"

storm: $(VENV)/.dev ## Every fault, many times, counted
	$(BIN)/python -m bench.storm

bench: $(VENV)/.dev ## Every speed claim beside its bare limit; NAME=relay for one
	$(BIN)/python -m bench $(NAME)

docs: $(VENV)/.dev ## Write the event schemas, AsyncAPI and OpenAPI documents
	$(BIN)/python -m deploy.docs

lock: ## Resolve the newest versions into requirements*.lock (needs uv)
	uv pip compile --quiet --upgrade $(LOCK) --extra embedded --output-file requirements.lock pyproject.toml
	uv pip compile --quiet --upgrade $(LOCK) --extra embedded --extra dev --constraint requirements.lock \
		--output-file requirements-dev.lock pyproject.toml
LOCK := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate

clean: ## Remove everything that was installed, cached or generated here; keeps .medled
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
