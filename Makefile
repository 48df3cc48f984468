# Each target makes the environment it needs, once; a stamp file remembers what is installed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SPHINX := $(BIN)/python -m sphinx -q -W --keep-going -d build/doctrees
JOBS ?= 2
export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint types unit benchmark weights notebooks docs links clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[test]"
	@touch $@ $(VENV)/.core $(VENV)/.docs

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[docs]"
	@touch $@ $(VENV)/.core

$(VENV)/.benchmark: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[test,benchmark]"
	@touch $@ $(VENV)/.core $(VENV)/.test $(VENV)/.docs

demo: $(VENV)/.core
	$(BIN)/optprune demo

test: lint types unit

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy -p optprune
	$(BIN)/mypy problems

unit: $(VENV)/.test  # neighbors share what their fixtures make, and so stay in one process
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

benchmark: $(VENV)/.benchmark
	$(BIN)/python benchmarks/surgery.py
	$(BIN)/python benchmarks/digits.py
	$(BIN)/python benchmarks/recovery.py
	$(BIN)/python benchmarks/claims.py
	$(BIN)/python benchmarks/allocation.py
	$(BIN)/python benchmarks/allocation_table.py
	$(BIN)/python benchmarks/assimilation.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/comparison.py
	$(BIN)/python benchmarks/coverage.py

weights: $(VENV)/.core
	$(BIN)/python -m optprune.problems.train_digits
	$(BIN)/python -m optprune.problems.train_fashion
	$(BIN)/python -m optprune.problems.train_regression

notebooks: $(VENV)/.test
	$(BIN)/python notebooks/make.py

docs: $(VENV)/.docs  # pages in build/docs; their code is run, and links within the repository checked
	$(SPHINX) -E -b html docs build/docs
	$(SPHINX) -b doctest docs build/doctests
	$(BIN)/python docs/check_links.py

links: $(VENV)/.docs  # addresses elsewhere: needs the network
	$(SPHINX) -b linkcheck docs build/links

clean:
	rm -rf $(VENV) build *.egg-info
