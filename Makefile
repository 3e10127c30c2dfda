# Every target sets up its requirements: a virtual environment in .venv with the packages of the requirements files.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AUDIO ?=
WHAT ?=
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs stamp golden bench torture clean

help: ## Print the targets
	@grep -E --no-filename '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | \
		while IFS="$$(printf '\t')" read -r name what; do printf '  make %-9s %s\n' "$$name" "$$what"; done

$(VENV)/run.stamp: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "This project needs Python 3.11 or newer; select it with: make PYTHON=python3.12 …" >&2; exit 3; }
	@echo "Setting up $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/run.stamp
	@echo "Adding the tools for tests …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: $(VENV)/run.stamp ## Set everything up and run the demo [AUDIO=/path/to/recording]
	@$(BIN)/python examples/demo.py $(if $(AUDIO),"$(AUDIO)")

# In the order of the folders: with files of many short tests first, one worker would run the longest files alone at the end.
test: $(VENV)/dev.stamp ## Set everything up and run the whole suite [ARGS="-k name"]
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/dev.stamp ## Check format, lint and types, and the form of the SQL files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python tests/conventions/sql_form.py

docs: $(VENV)/dev.stamp ## Run the examples of the documentation, then build it into build/docs
	@$(BIN)/python tests/docs/names.py --write
	@$(BIN)/python -m pytest -q -n 2 tests/docs --deselect tests/docs/test_site.py $(ARGS)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict # with --quiet it would not count warnings
	@echo "The documentation is in build/docs/index.html"

stamp: $(VENV)/dev.stamp ## Update the first line of changed SQL files
	@$(BIN)/python tests/conventions/sql_form.py --stamp

golden: $(VENV)/dev.stamp ## Write the SQL derived from the declarations of the models, for review
	@$(BIN)/python tests/provisioning/golden.py --write

bench: $(VENV)/dev.stamp ## Run the benchmarks [WHAT=name] [ARGS=--quick]
	@for file in $(if $(WHAT),benchmarks/$(WHAT).py,$(sort $(wildcard benchmarks/[a-z]*.py))); do \
		echo "== $$file"; $(BIN)/python "$$file" $(ARGS) || exit $$?; done

torture: $(VENV)/dev.stamp ## Run the long stress and crash tests [WHAT=name] [ARGS="--seed 1 --rounds 10"]
	@for file in $(if $(WHAT),tests/torture/$(WHAT).py,$(sort $(wildcard tests/torture/[a-z]*.py))); do \
		echo "== $$file"; $(BIN)/python "$$file" $(ARGS) || exit $$?; done

clean: ## Remove everything that these targets created, except data
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
