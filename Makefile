# Everything a person does with a clone; `make` alone lists it.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
BIN := .venv/bin
LOCK := $(BIN)/uv pip compile --quiet --python-version 3.11 --no-annotate --no-header
LOWEST := tests/service/test_api.py tests/service/test_hostile.py tests/service/test_faults.py tests/service/test_photo.py
HASHES := --universal --generate-hashes --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help serve train test test-fast test-docker test-lowest bench check lock locks clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: .venv/.service ## serve the current model on http://HOST:PORT (default 127.0.0.1:8000)
	@exec $(BIN)/seefood serve --host $(HOST) --port $(PORT)

train: .venv/.train ## retrain with DATA=folder, e.g. make train DATA=photos ARGS='--epochs 5'
	@test -n "$(DATA)" || { echo "make train: say which folder, e.g. make train DATA=photos" >&2; exit 2; }
	@exec $(BIN)/seefood train "$(DATA)" $(ARGS)

test: .venv/.dev ## run every test (installs torch; about half an hour on two cores)
	$(BIN)/pytest -m "not docker"

test-fast: .venv/.dev ## run the tests that take seconds
	$(BIN)/pytest -m "not slow and not docker"

test-docker: .venv/.dev ## build the image and run it in every way, where a Docker engine answers
	$(BIN)/pytest -m docker

test-lowest: .venv/.dev ## run the tests of HTTP on the lowest versions that pyproject.toml allows
	$(BIN)/uv venv --quiet --clear .venv/lowest
	$(BIN)/uv pip install --quiet --python .venv/lowest/bin/python --resolution lowest-direct --editable .
	$(BIN)/uv pip freeze --python .venv/lowest/bin/python --exclude-editable > .venv/lowest/versions.txt
	$(BIN)/uv pip install --quiet --python .venv/lowest/bin/python --constraint .venv/lowest/versions.txt \
		onnx pillow-heif playwright pytest
	.venv/lowest/bin/python -m pytest -q $(LOWEST)

bench: benchmarks/.venv/.ready ## measure this machine, peers too, into benchmarks/ (an hour or so, with nothing else running)
	benchmarks/.venv/bin/python -W ignore -m benchmarks $(ARGS)

check: .venv/.dev ## lint, format check and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: .venv/.dev ## resolve every version again, to the newest releases: constraints.txt, deploy/locks/, benchmarks/
	$(LOCK) --universal --all-extras --upgrade pyproject.toml --output-file constraints.txt
	$(MAKE) locks

locks: .venv/.dev ## write deploy/locks/, what each flavour of the image installs, from constraints.txt
	$(LOCK) $(HASHES) pyproject.toml --output-file deploy/locks/service.txt
	$(LOCK) $(HASHES) --extra train pyproject.toml --output-file deploy/locks/train.txt
	$(LOCK) $(HASHES) --overrides deploy/locks/cuda.overrides pyproject.toml deploy/locks/cuda.in \
		--output-file deploy/locks/cuda.txt
	echo hatchling | $(LOCK) $(HASHES) - --output-file deploy/locks/build.txt
	$(LOCK) --universal --constraint constraints.txt --extra train --extra bulk pyproject.toml benchmarks/requirements.in \
		--output-file benchmarks/requirements.txt
	for peer in torchserve triton; do \
		$(LOCK) --universal benchmarks/requirements-$$peer.in --output-file benchmarks/requirements-$$peer.txt; \
	done

clean: ## remove what make and the tools made; models and checkpoints stay
	rm -rf .venv benchmarks/.venv .pytest_cache .mypy_cache .ruff_cache

# One environment, three sizes: what is installed is remembered by a file of that name.
.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "seefood needs Python 3.11 or newer; name one with make PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/.service: EXTRA :=
.venv/.train: EXTRA := [train]
.venv/.dev: EXTRA := [dev]
.venv/.service .venv/.train .venv/.dev: pyproject.toml constraints.txt | .venv/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".$(EXTRA)"
	@touch $@

# Peers' needs would hold back ours, so they have an environment of their own.
benchmarks/.venv/.ready: pyproject.toml $(wildcard benchmarks/requirements*.txt)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed" >&2; exit 2; }
	$(PYTHON) -m venv benchmarks/.venv
	benchmarks/.venv/bin/pip install --quiet --disable-pip-version-check --requirement benchmarks/requirements.txt --editable .
	for peer in torchserve triton; do \
		$(PYTHON) -m venv benchmarks/.venv/$$peer && benchmarks/.venv/$$peer/bin/pip install --quiet \
			--disable-pip-version-check --requirement benchmarks/requirements-$$peer.txt \
			|| echo "$$peer can't be installed here and will be named as not measured" >&2; \
	done
	@touch $@
