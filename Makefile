# Everything runs in .venv, which `setup` makes from the lock.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-slow cards lint format clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo "make quickstart SMOKE=1 does the same on the bundled sample, in about a minute and without a network"

setup: .venv/installed  ## make .venv with the tested versions

.venv/installed: requirements.txt requirements-dev.txt requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or later is needed; $$($(PYTHON) --version) found. Run: make setup PYTHON=python3.12" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements-dev.txt -c requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

quickstart: setup  ## train a CNN and a frozen pretrained model on CIFAR-10, compare them
	$(BIN)/python recipes/quickstart.py $(if $(SMOKE),--smoke)

test: setup  ## the default tests: offline, a few minutes
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test-slow: setup  ## the other tests: real CIFAR-10, network
	$(BIN)/python -m pytest -m slow

cards: setup  ## write model cards and the README's table again from the committed results
	$(BIN)/python recipes/cards.py

lint: setup  ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup  ## mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## delete .venv and build leftovers; runs and caches stay
	rm -rf .venv *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
