# Everything a checkout can do. `.venv` is made on first need, and again only when what it holds has changed.

PYTHON ?= python3
# The interpreters that a release is tried with.
OLDEST ?= python3.10
NEWEST ?= python3.13
BIN := .venv/bin
INSTALLED := .venv/installed
# Which scripts of the gallery are run: all, quick ones, or none.
GALLERY ?= all

.DEFAULT_GOAL := help
.PHONY: help demo test faults lint docs bench release

help:
	@echo "make demo     reconstruct the scan that comes with coslice, and write a page about it to demo-output/"
	@echo "make test     lint, then the tests (the slow ones: $(BIN)/pytest -m slow)"
	@echo "make faults   try malformed input, kills, full disks, dead processes (minutes)"
	@echo "make lint     ruff and pyright"
	@echo "make docs     build the documentation site in docs/_build/html (make docs GALLERY=quick, or none: without running most of its scripts, or any)"
	@echo "make release  build what a release ships, and try it with the oldest and the newest versions it promises"
	@echo "make bench    measure speed and quality on this machine"

# Stamped only when all went well, so that an interrupted installation is taken up again. The constraints are
# given through the environment to hold for the tools that build the package, too; newer pips ask for it by
# the second name.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	    $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e ".[dev]"
	touch $@

demo: $(INSTALLED)
	$(BIN)/coslice demo --out demo-output --overwrite

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

test: lint
	$(BIN)/python -m pytest -n auto --dist loadfile

# Two processes more than there are cores: many of these tests wait, for a rank to be missed or a worker to start. Files
# with the longest tests come first, or they would be all that is left at the end.
faults: $(INSTALLED)
	$(BIN)/python -m pytest -n $$($(BIN)/python -c "import os; print((os.cpu_count() or 1) + 2)") --dist loadfile \
	    --no-loadscope-reorder -m faults tests/faults/test_cohort.py tests/faults/test_ranks.py tests/faults

# Sphinx of this version needs Python 3.11. A warning is an error, and so is a script of the gallery that fails.
docs: $(INSTALLED)
	$(BIN)/python -c "import sys; sys.exit('the site is built with Python 3.11 or later' if sys.version_info < (3, 11) else 0)"
	GALLERY=$(GALLERY) MPLBACKEND=agg $(BIN)/sphinx-build -W --keep-going --quiet -j 2 \
	    -D plot_gallery=$(if $(filter none,$(GALLERY)),0,1) docs docs/_build/html

bench: $(INSTALLED)
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done
	$(BIN)/coslice bench
	$(BIN)/coslice benchmark table1-small --out "$$(mktemp -d)"

release:
	scripts/try_release.sh $(PYTHON)
	scripts/try_versions.sh $(OLDEST) oldest
	scripts/try_versions.sh $(NEWEST) newest
