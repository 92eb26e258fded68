# SPDX-License-Identifier: Apache-2.0
# The front door: one target for each thing a person does here. The work is in tools/.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
AS_ROOT := tools/as_root.sh

.PHONY: help venv setup demo test lint docs bench changelog down clean distclean

help: ## List these targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: ## Install what is missing: .venv, PyPI packages, Debian packages
	@tools/setup.sh all

venv: ## Install only .venv and its PyPI packages (no lab)
	@tools/setup.sh python

demo: setup ## Run the firewall feature on a disposable fleet, then remove the fleet
	@$(AS_ROOT) $(BIN)/mco demo

test: setup ## Run everything that proves the project: lint, docs, tests, coverage, demo
	@$(BIN)/python tools/check.py test

lint: venv ## Check format, style, types and layers (what pre-commit runs)
	@$(BIN)/python tools/check.py lint

docs: venv ## Build the documentation strictly into site/
	@$(BIN)/python -m mkdocs build --quiet --strict --site-dir site
	@echo "site/index.html"

bench: setup ## Run every benchmark in benchmarks/
	@for file in benchmarks/[a-z]*.py; do \
		[ -e "$$file" ] || { echo "make bench: there is no benchmark in benchmarks/ yet"; exit 1; }; \
		echo "== $$file"; $(AS_ROOT) $(BIN)/python "$$file" || exit; \
	done

changelog: venv ## Show the next changelog; VERSION=x.y.z writes it and uses up the fragments
	@$(BIN)/towncrier build $(if $(VERSION),--yes --version $(VERSION),--draft)

down: ## Remove every lab that is up on this machine
	@$(AS_ROOT) $(BIN)/mco lab down --all

clean: ## Remove what was built; .venv stays (the next make links it anew)
	rm -rf build dist site htmlcov *.egg-info .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Remove .venv, too
	rm -rf .venv
