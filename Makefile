# Two commands: `make demo` shows what unmask does, `make test` runs the gate. Both need python3 (3.11 or later) and a
# package index, and keep everything in .venv; `make bench` measures against other libraries.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo test bench clean

demo: .venv/run
	$(BIN)/unmask demo --out unmask-demo

# One process with one thread for each core: the tests' networks are so small that a second thread saves next to nothing. A
# file's tests stay in one process, since they share what is dear to set up. Plain `pytest` runs the same in one process.
test: .venv/test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

bench: .venv/test
	$(BIN)/python -m benchmarks

.venv/python:
	$(PYTHON) -m venv .venv
	touch $@

.venv/run: .venv/python pyproject.toml constraints.txt
	$(PIP) --editable .
	touch $@

# torchattacks asks for torchvision, which it can do without: it is installed without its dependencies.
.venv/test: .venv/run
	$(PIP) --editable '.[dev,fabric,onnx,peers,ray]'
	$(PIP) --no-deps torchattacks
	touch $@

clean:
	rm -rf .venv unmask-demo
