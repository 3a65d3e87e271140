# Nothing but python3 (with venv), make and git is needed before any of these.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo demo-two-clusters test check audit docs format bench lock clean
.DEFAULT_GOAL := setup

setup: $(STAMP)  ## make .venv with everything for development

$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing; install it (Debian: apt-get install python3 python3-venv)." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11; set PYTHON=/path/to/a/newer/python3." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "python3-venv is missing; install it (Debian: apt-get install python3-venv)." >&2; exit 1; }
	@command -v git >/dev/null || { echo "git is missing; install it (Debian: apt-get install git)." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

demo: setup  ## set up and run the main job: train, deploy, log, monitor, catch a drift
	$(BIN)/tidegauge demo $(ARGS)

demo-two-clusters: setup  ## the same on two clusters: one serves, the other monitors over a link
	$(BIN)/tidegauge demo --two-clusters $(ARGS)

test: setup  ## set up, check and run the tests; all of them: a folder in a process, two at a time
	$(MAKE) check
ifdef ARGS
	$(BIN)/python -m pytest $(ARGS)
else
	$(BIN)/python .ci/tests.py
endif

check: setup  ## ruff, mypy strict, import-linter, links of the documentation, known vulnerabilities of dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@site=$$(mktemp -d); NO_MKDOCS_2_WARNING=1 TIDEGAUGE_SITE=links $(BIN)/mkdocs build --strict --site-dir $$site; status=$$?; rm -rf $$site; exit $$status
	$(BIN)/python .ci/audit.py

audit: setup  ## look up every pinned dependency in PyPI's database of advisories; fails where it cannot
	TIDEGAUGE_AUDIT=required $(BIN)/python .ci/audit.py

docs: setup  ## build the site of the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "The site is in build/site; open build/site/index.html."

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## every benchmark in full; docs/benchmarks.md holds what was printed
	@status=0; for script in $(filter-out benchmarks/scale.py,$(wildcard benchmarks/[a-z]*.py)); do echo "== $$script"; $(BIN)/python $$script $(ARGS) || status=1; done; exit $$status

lock:  ## write requirements.lock afresh from pyproject.toml
	$(BIN)/pip-compile --quiet --strip-extras --all-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --allow-unsafe --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) .venv-* .mypy_cache .ruff_cache .pytest_cache
