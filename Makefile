# `make demo` and `make test` do all their set-up themselves; `make help` lists the rest.
# .venv belongs to this file: it is updated when pyproject.toml or constraints.txt change.

PYTHON ?= python3
# Two tests at a time; who has done all of theirs takes over from the other, so that neither waits at the end.
PYTEST ?= --durations=10 -n 2 --dist worksteal
# detectron2 is on no package index: where its sources lie, the tests of its engine run with them.
DETECTRON2 ?= ../shared/detectron2

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
PINS := pyproject.toml constraints.txt
SOURCES := $(if $(wildcard $(DETECTRON2)/detectron2/__init__.py),$(abspath $(DETECTRON2)))
RUN_TESTS := $(if $(SOURCES),PYTHONPATH="$(SOURCES)") $(BIN)/python -m pytest $(PYTEST)
AGAIN := make $(or $(MAKECMDGOALS),help)

.DEFAULT_GOAL := help
.PHONY: help demo demo-full test libgl system sources site scale test-long test-faults test-gpu test-fast test-detectron2 check format venv clean
.DELETE_ON_ERROR:

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/base.stamp libgl  ## digits -> SimMIM pretraining -> transfer -> a report and pictures, in minutes on this machine
	$(BIN)/mimbench demo

demo-full: $(VENV)/base.stamp libgl  ## the same at full length, with a supervised encoder and three seeds
	$(BIN)/mimbench demo --full

test: check system sources  ## the static checks, then all tests but those of test-long and test-faults
	$(RUN_TESTS) -m "not long and not faults"

test-long: $(VENV)/test.stamp system sources  ## whole trainings, several processes, timings, pipelines that wait on Slurm, the table of encoders
	$(RUN_TESTS) -m long

test-faults: $(VENV)/test.stamp system  ## faults injected into pipelines on a Slurm cluster of its own
	$(BIN)/python -m pytest $(PYTEST) -n 3 -m faults

test-gpu:  ## the program on this machine's GPU, by the Python there that has torch (PYTHON=...); builds no .venv
	$(PYTHON) -m tests.gpu

# The tests start a throwaway Slurm of their own, compare with libraries that need libGL, open reports in a real
# browser, set tables by TeX, and read videos by torchcodec, which needs FFmpeg's shared libraries. Where these packages
# cannot be installed, those tests are skipped with the reason.
SYSTEM := slurmctld slurmd slurm-client munge slurmdbd mariadb-server libgl1 chromium
# Installed without what Debian recommends beside them, which would make TeX 241 MB to download instead of about 80.
BARE := ffmpeg texlive-xetex texlive-latex-recommended lmodern

libgl:  # OpenCV, on which mmsegmentation stands, is linked to it
	@if ! ldconfig -p | grep -q 'libGL\.so\.1' && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing for segmentation: libgl1"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq libgl1 >/dev/null || true; fi

system:
	@PATH="$$PATH:/usr/sbin:/sbin"; for program in munged slurmctld slurmd sbatch slurmdbd mariadbd chromium ffmpeg xelatex; do \
	  command -v $$program >/dev/null || missing=yes; done; \
	ldconfig -p | grep -q 'libGL\.so\.1' || missing=yes; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing for the tests: $(SYSTEM) $(BARE)"; export DEBIAN_FRONTEND=noninteractive; \
	  apt-get update -qq && apt-get install -y -qq $(SYSTEM) >/dev/null \
	  && apt-get install -y -qq --no-install-recommends $(BARE) >/dev/null; \
	else echo "Some tests will be skipped. To run them: sudo apt install $(SYSTEM) $(BARE)"; fi

site: $(VENV)/test.stamp  ## the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

scale: $(VENV)/test.stamp system  ## how long leaderboards of 100 to 100,000 records take, and their pages
	$(BIN)/python -m tests.reports.scale

test-fast: $(VENV)/test.stamp sources  ## the tests that are not marked slow, nothing else
	$(RUN_TESTS) -m "not slow and not long and not faults"

test-detectron2: $(VENV)/test.stamp sources  ## the tests of detection alone, with the sources DETECTRON2=FOLDER
	@[ -n "$(SOURCES)" ]
	$(RUN_TESTS) -m "not slow and not long" tests/transfer/detection tests/transfer/evaluate/test_detectron2.py

sources:
	@if [ -n "$(SOURCES)" ]; then echo "detectron2: its tests run with the sources at $(SOURCES)"; \
	else echo "detectron2: no sources at $(DETECTRON2), so that the tests of its engine are skipped."; \
	  echo "  remedy: git clone https://github.com/facebookresearch/detectron2, then make $(MAKECMDGOALS) DETECTRON2=detectron2"; fi

check: $(VENV)/test.stamp  ## format, lint, types, and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/test.stamp  ## rewrite the code as `make check` wants it
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

venv: $(VENV)/test.stamp  ## build or update .venv, with the tools for the checks

clean:  ## remove .venv and all caches; data/, runs/ and pipelines/ stay
	rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/test.stamp: $(VENV)/made.stamp $(PINS)
	@echo "Installing mimbench and the tools for its checks into $(VENV)."
	$(PIP) -e '.[test]'
	@touch $(VENV)/base.stamp $@

$(VENV)/base.stamp: $(VENV)/made.stamp $(PINS)
	@echo "Installing mimbench into $(VENV)."
	$(PIP) -e '.[detection,segmentation,video]'
	@touch $@

$(VENV)/made.stamp:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "mimbench needs Python 3.11 or newer; there is no command called $(PYTHON)."; \
	  echo "  remedy: sudo apt install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "mimbench needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
	  echo "  remedy: sudo apt install python3.11 python3.11-venv && $(AGAIN) PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: its venv module is not installed."; \
	  echo "  remedy: sudo apt install python3-venv && $(AGAIN)"; exit 1; }
	@echo "Making $(VENV): once, about 3 GB to download (PyTorch with CUDA) and 7 GB on disk."
	$(PYTHON) -m venv --clear $(VENV)
	@echo "$(CURDIR)" > $@

# A folder that was copied or moved has a .venv that runs the code of the old place: make it anew.
ifneq ($(CURDIR),$(shell cat $(VENV)/made.stamp 2>/dev/null))
.PHONY: $(VENV)/made.stamp
endif
