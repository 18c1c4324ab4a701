# make demo   set up, steer four prompts for twelve people, print the gallery's path
# make test   set up, then every test          make check  lint and types
# Needs Python 3.11 or newer, git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
export OMP_NUM_THREADS ?= 1

.PHONY: demo test check lint types clean

demo: $(VENV)/.installed
	$(BIN)/steer-batch --users all --prompts prompts.txt

# Tests that share nothing go two at a time; the others start Ray, which wants both cores, or share the demo's run.
WHOLE_CHAIN := tests/studies/test_whole_chain.py
test: $(VENV)/.installed-dev
ifdef TESTS
	$(BIN)/pytest $(TESTS)
else
	$(BIN)/pytest -n 2 --dist loadscope tests/predictor tests/studies --ignore $(WHOLE_CHAIN)
	$(BIN)/pytest tests/test_house.py tests/actors tests/pipelines $(WHOLE_CHAIN)
endif

check: lint types

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/pyright

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) runs
