# The two commands of the README, and what developers need. Every target makes its own virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check bench bench-full figures docs clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs,all]'
	touch $(STAMP)

demo: $(STAMP)  ## fuse and measure data that come with the package; says where pictures and report lie
	$(BIN)/scalefuse demo --output demo-output

test: $(STAMP)  ## the fast tests, doctests included
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not slow and not gpu' -n 2 --dist worksteal -q

check: $(STAMP)  ## style, types, floors, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --strict --quiet --site-dir build/site

bench: $(STAMP)  ## speed and memory against the plain formulations, in one interleaved run
	$(BIN)/python -m benchmarks.run $(BENCH)

bench-full: $(STAMP)  ## the same with compiled networks, large sizes, growing folders and loss curves; an hour
	$(BIN)/python -m benchmarks.full $(BENCH)

figures: $(STAMP)  ## the fusion comparison (needs SCALEFUSE_DATA) and the phantom grid
	$(BIN)/python -m benchmarks.figures

docs: $(STAMP)  ## the documentation at http://127.0.0.1:8000
	$(BIN)/mkdocs serve

clean:
	rm -rf $(VENV) build demo-output
