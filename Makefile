# Everything runs in a virtual environment of its own, made on first use: make VENV=path to put it elsewhere.
VENV ?= .venv
PYTHON ?= python3
RUNS ?= data/runs
BIN := $(VENV)/bin

.PHONY: help demo test test-all lint validation docs bench wheel clean

help:
	@echo "make demo      train a mean-field Transformer on digits: trajectory and figures in $(RUNS)"
	@echo "make test      lint, types, tests (make test-all: the slow ones too)"
	@echo "make validation  the quick studies and their report (STUDIES=... for some of them)"
	@echo "make docs      the documentation, in docs/_build/html"
	@echo "make bench     one velocity evaluation against JAX, PyTorch, numpy and the machine (in $(VENV)-bench)"
	@echo "make wheel     build the wheel and try it outside the checkout"
	@echo "make clean     remove caches, compiled kernels and build products"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "wflow needs Python >= 3.11, got $$($(PYTHON) --version); set PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(BIN)/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,validation]'
	@touch $@

$(VENV)/.validation: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[validation]'
	@touch $@

$(VENV)/.docs: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@

demo: $(VENV)/.run
	@mkdir -p $(RUNS)
	$(BIN)/wflow run solvers/digits.toml -o $(RUNS)/digits.h5 --overwrite
	$(BIN)/python -m validation.trajectory $(RUNS)/digits.h5
	for kind in energy clouds depth predictions landscape; do \
	  $(BIN)/wflow figure $$kind $(RUNS)/digits.h5 -o $(RUNS)/digits-$$kind.pdf && \
	  $(BIN)/wflow figure $$kind $(RUNS)/digits.h5 -o $(RUNS)/digits-$$kind.png || exit 1; done

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -q -m 'not slow'

test-all: lint
	$(BIN)/python -m pytest -q

validation: $(VENV)/.validation
	$(BIN)/python -m validation $(STUDIES) -o $(RUNS)/validation-quick

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/.run
	test -x $(VENV)-bench/bin/python || $(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet --disable-pip-version-check '.[bench]'
	$(BIN)/python benchmarks/velocity.py --peer-python $(VENV)-bench/bin/python --sizes small medium wide --prompts 256
	$(BIN)/python benchmarks/velocity.py --peer-python $(VENV)-bench/bin/python --sizes large --prompts 64 --peers jax torch-compiled
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/scaling.py

# The wheel, tried where the checkout cannot be imported.
wheel: $(BIN)/python
	rm -rf $(VENV)-wheel && $(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(VENV)-wheel/dist .
	$(VENV)-wheel/bin/python -m pip install --quiet --disable-pip-version-check $(VENV)-wheel/dist/*.whl
	cp solvers/regression.toml $(VENV)-wheel/ && cd $(VENV)-wheel && ./bin/wflow --version && \
	  ./bin/wflow run regression.toml -o regression.h5 --overwrite && ./bin/wflow info regression.h5 && \
	  ./bin/wflow figure energy regression.h5 -o energy.pdf && \
	  ./bin/python -c 'import wflow; assert "-wheel" in wflow.__file__, wflow.__file__; wflow.datasets.digits()'

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis docs/_build docs/gallery
	find . -name __pycache__ -not -path './$(VENV)*' -prune -exec rm -rf {} +
