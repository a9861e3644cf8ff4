# Everything happens in .venv, which the targets make for themselves. Only make and Python 3.11+ are needed.
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c "$(NEW_ENOUGH)" 2>/dev/null && echo $$python && break; done)
COMPILE := uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	--no-annotate --no-header --no-emit-index-url --no-emit-find-links

# An environment of its own (1), what to install there before the package (2); then the notebooks and explorers in it.
define run_with
	@test -x $(1)/bin/python || $(VENV)/bin/uv venv --quiet --python "$(PYTHON)" $(1)
	@$(VENV)/bin/uv pip install --quiet --python $(1)/bin/python $(2) -e ".[test]"
	@$(VENV)/bin/uv pip list --quiet --python $(1)/bin/python | grep -iE "^(torch|torchvision|timm|numpy|pandas|ipywidgets|ipython|ipykernel|datasets|plotly|papermill) "
	@PYDEVD_DISABLE_FILE_VALIDATION=1 $(1)/bin/python -m pytest -q $(ARGS) tests/notebooks tests/views
endef

export DATA STUDY
.DEFAULT_GOAL := help
.PHONY: help demo test check lab course times slides site browser colab-test latest-test teacher study bench format constraints clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | \
		while IFS='|' read -r target text; do printf '%-18s %s\n' "$$target" "$$text"; done

demo: $(READY)  ## run the quickstart on embedded images, or on your own with DATA=folder (or a data card); results in outputs/
	@echo "==> the quickstart notebook: at most 3 minutes on 2 CPU cores"
	@$(PY) -m dmws_lite.cli demo $${DATA:+"$$DATA"}

test: check  ## run every check: ruff, mypy, unit tests, doctests, notebooks
	@echo "==> unit tests, doctests, notebooks and pages in a browser: 15 to 25 minutes on 2 CPU cores"
	@$(PY) -m pytest -q

check: $(READY)  ## run the linter, the format check and the type checker
	@echo "==> ruff and mypy: about a minute the first time, then seconds"
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

lab: $(READY)  ## open JupyterLab on the notebooks
	@$(PY) -m jupyterlab notebooks

course: $(READY)  ## make the student notebooks, solutions, slides and the map from notebooks/instructor
	@$(PY) -m dmws_lite.course.build

slides: $(READY)  ## run the slide notebooks and write them as reveal.js pages into outputs/slides
	@$(PY) -m dmws_lite.course.decks $(ARGS)

times: $(READY)  ## run every chapter, full and smoke, and write the times into notebooks/course.yaml (about 40 minutes, on one core)
	@$(PY) -m dmws_lite.course.times $(ARGS)

site: $(READY)  ## build the site into outputs/site: executed chapters, reference, selection explorer; ARGS=--smoke for a quick one
	@$(PY) docs/build.py $(ARGS)

browser: $(READY)  ## find or install a Chromium for the browser tests
	@command -v chromium || command -v google-chrome || command -v chromium-browser || \
		{ test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium; } || \
		$(PY) -m playwright install chromium

colab-test: $(READY)  ## run every notebook and explorer with Colab's versions, in an environment of its own
	$(call run_with,.venv-colab,-r requirements/colab.txt)

latest-test: $(READY)  ## run every notebook and explorer with the newest versions of everything, in an environment of its own
	$(call run_with,.venv-latest,--upgrade)

teacher: $(READY)  ## pretrain the embedded teacher again into outputs/teacher (about an hour on one CPU core)
	@$(PY) -m dmws_lite.training.pretrain $(ARGS)

study: $(READY)  ## run a study, STUDY=lecture (or smoke, parts, a .yaml file), and make its report; more options in ARGS
	@$(PY) -m dmws_lite.cli study run "$${STUDY:-lecture}" $(ARGS)

bench: $(READY)  ## measure speed and print the table
	@$(PY) benchmarks/speed.py $(ARGS)

format: $(READY)  ## format the code and fix what the linter can fix
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

constraints: $(READY)  ## resolve the tested versions again from pyproject.toml
	@{ echo "# Tested versions, made by: make constraints"; $(VENV)/bin/$(COMPILE); } > constraints.part
	@mv constraints.part constraints.txt

clean:  ## remove the environment, build files and caches; outputs/ stays
	rm -rf $(VENV) .venv-colab .venv-latest build dist .pytest_cache .ruff_cache .mypy_cache
	find dmws_lite tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "dmws-lite needs Python 3.11 or newer, and found none: install it, or pass PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c "$(NEW_ENOUGH)" || { echo "dmws-lite needs Python 3.11 or newer: PYTHON=$(PYTHON) is older or does not start" >&2; exit 1; }
	@echo "==> setting up $(VENV) with $$($(PYTHON) --version): a few minutes the first time, mostly downloading torch"
	@test -x $(PY) || "$(PYTHON)" -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check "uv>=0.5"
	@VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(VENV)/bin/uv pip install -c constraints.txt -e ".[dev]"
	@touch $@
