# The only door for people and machines. `make demo` and `make test` need Python 3.11+ and a package index, nothing else.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8
UV := .uv/bin/uv
SYNC := VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip
PORT ?= 4000
# Tests that only reckon run on every core, those that wait for a process two at a time, and those that kill processes,
# cut power or take a server away one after another.
RECKONING := tests/unit tests/property tests/golden tests/contract
BREAKING := tests/crash tests/services tests/component/workers

.DEFAULT_GOAL := help
.PHONY: help demo serve test check format bench endurance lock golden-update clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

# uv lives in an environment of its own, made by the Python at hand; .venv is made from the fastest one found.
$(UV): locks/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit("Sekisho needs Python 3.11 or newer; set PYTHON=/path/to/python3.11") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv .uv || { echo "Could not make a virtual environment; on Debian: apt-get install python3-venv"; exit 2; }
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/uv.txt
	@touch $@

$(BIN)/python: | $(UV)
	@$(UV) venv --quiet --clear --python "$$($(PYTHON) tools/interpreter.py $(if $(filter default file,$(origin PYTHON)),,--only))" $(VENV)

# Each stamp is one set of pinned, hashed packages; it is renewed when its lock changes.
$(VENV)/.run: $(UV) $(BIN)/python pyproject.toml locks/run.txt
	@$(SYNC) install --quiet --require-hashes -r locks/run.txt
	@$(SYNC) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run locks/dev.txt
	@$(SYNC) install --quiet --require-hashes -r locks/dev.txt
	@touch $@

demo: $(VENV)/.run ## the gateway with a mock provider, sample keys and sample traffic
	@$(BIN)/sekisho demo --port $(PORT)

serve: $(VENV)/.run ## the gateway with ./sekisho.yaml, or keys from the environment, or the mock provider
	@$(BIN)/sekisho serve --port $(PORT)

test: $(VENV)/.dev ## every test that needs no account
	@$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile $(RECKONING)
	@$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=2 --dist=loadfile \
		$(patsubst %,--ignore=%,$(RECKONING) $(BREAKING)) tests
	@$(BIN)/python -m pytest $(BREAKING)

check: $(VENV)/.dev ## format, lint, types, imports, docs
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports
	@$(BIN)/pyright
	@$(BIN)/python -m pytest tests/docs/test_house.py tests/docs/test_links.py tests/docs/test_reference.py

format: $(VENV)/.dev ## rewrite the source in the house style
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.dev ## our CPU cost against nginx in the same run (needs nginx and a C compiler)
	@$(BIN)/python bench/run.py $(BENCH)

endurance: $(VENV)/.dev ## a hundred kills, twenty power cuts, outages, long days; writes docs/explanation/endurance.md
	@$(BIN)/python -m tests.endurance.run $(ENDURANCE)

golden-update: $(VENV)/.dev ## rewrite the golden files from the code; read the diff
	@$(BIN)/python -m pytest tests/golden --golden-update

lock: $(UV) ## renew the pinned, hashed package lists
	@for set in run dev; do \
	  groups=$$( [ $$set = dev ] && echo "--group test --group check" ); \
	  $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
	    $(LOCK) $$groups pyproject.toml --group build -o locks/$$set.txt || exit 1; done
	@echo 'uv==$(UV_VERSION)' | $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header - -o locks/uv.txt

clean: ## remove everything that was built or measured here
	rm -rf $(VENV) .uv .pytest_cache .ruff_cache .hypothesis bench/.build sekisho-data
