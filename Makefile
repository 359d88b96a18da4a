# Three commands: `make demo` shows what unmask does, `make test` is the gate for every change, `make test-all` the whole
# gate. They need python3 (3.11 or later) and a package index, and keep everything in .venv. `make bench` measures.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

# One process with one thread for each core: the tests' networks are so small that a second thread saves next to nothing.
# A file's tests stay in one process, since they share what is dear to set up. Plain `pytest` runs the same in one process.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

.PHONY: demo test test-rest test-all lint bench clean

demo: .venv/run
	$(BIN)/unmask demo --out unmask-demo

# Lint, types and the product's tests at small effort.
test: .venv/test lint
	$(PYTEST) -m "not slow"

test-all: test test-rest

# Full audits, other libraries, the browser, several processes, and the experiments with Ray.
test-rest: .venv/all
	$(PYTEST) -m slow
	$(PYTEST) experiments/tests experiments/src

lint: .venv/test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: .venv/all
	$(BIN)/python -m benchmarks

.venv/python:
	$(PYTHON) -m venv .venv
	touch $@

.venv/run: .venv/python pyproject.toml constraints.txt
	$(PIP) --editable '.[data]'
	touch $@

.venv/test: .venv/run
	$(PIP) --editable '.[data,dev]'
	touch $@

# torchattacks asks for torchvision, which it can do without: it is installed without its dependencies.
.venv/all: .venv/test experiments/pyproject.toml
	$(PIP) --editable '.[data,dev,fabric,onnx,peers]' --editable './experiments[ray]'
	$(PIP) --no-deps torchattacks
	touch $@

clean:
	rm -rf .venv unmask-demo
