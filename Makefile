# Every command for a clone. `make` lists them.
PYTHON ?= python3
WORKERS ?= 2
DIST ?= dist
BIN := .venv/bin
LOCK := $(BIN)/uv pip compile --quiet --python-version 3.11 --no-annotate --no-header
PARALLEL := OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS)
LOWEST := tests/service/test_v1.py tests/service/test_hostile.py tests/service/test_faults.py tests/service/test_photo.py
ALONE := $(shell grep -rl --include='test_*.py' 'mark\.alone' tests) # the imports of all other files take long
HASHES := --universal --generate-hashes --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help serve train web pages dev test test-fast test-docker test-lowest coverage bench docs check lock locks clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: .venv/.service ## serve the current model, for example: make serve PORT=9000 (default 127.0.0.1:8000)
	@exec $(BIN)/seefood serve$(if $(PORT), --port $(PORT))

train: .venv/.train ## retrain with DATA=folder, for example: make train DATA=photos ARGS='--epochs 5'
	@test -n "$(DATA)" || { echo "make train: name a folder, for example: make train DATA=photos" >&2; exit 2; }
	@exec $(BIN)/seefood train "$(DATA)" $(ARGS)

web: service/web/ort/.ready ## fetch ONNX Runtime for browsers, so that phones can answer photos themselves (needs Node 18 and npm)

pages: .venv/.service service/web/ort/.ready ## write the page and a model as static files into DIST (default dist)
	$(BIN)/python -P deploy/web/pages.py $(DIST) $(MODEL)

dev: .venv/.dev ## install everything that tests and checks need (torch included)

test: .venv/.dev ## run every test except those of the image, in WORKERS processes (default 2)
	$(PARALLEL) -m "not docker and not alone"
	$(BIN)/pytest -m alone $(ALONE)

test-fast: .venv/.dev ## run the tests that take seconds
	$(PARALLEL) -m "not slow and not docker"

test-docker: .venv/.dev ## build the images and test them (needs a Docker engine)
	$(BIN)/pytest -m docker tests/docker

test-lowest: .venv/.dev ## test HTTP with the lowest versions that pyproject.toml allows
	$(BIN)/uv venv --quiet --clear .venv/lowest
	$(BIN)/uv pip install --quiet --python .venv/lowest/bin/python --resolution lowest-direct --editable .
	$(BIN)/uv pip freeze --python .venv/lowest/bin/python --exclude-editable > .venv/lowest/versions.txt
	$(BIN)/uv pip install --quiet --python .venv/lowest/bin/python --constraint .venv/lowest/versions.txt \
		onnx pillow-heif playwright pytest pytest-timeout pytest-xdist
	.venv/lowest/bin/pytest -q -m "not alone" -n $(WORKERS) $(LOWEST)
	.venv/lowest/bin/pytest -q -m "alone" $(LOWEST)

coverage: .venv/.dev ## run make test and print the branch coverage; aims: 95% of service/, 90% of the rest
	-$(PARALLEL) -m "not docker and not alone" --cov --cov-report=
	-$(BIN)/pytest -m alone $(ALONE) --cov --cov-append --cov-report=
	$(BIN)/coverage report --include='service/*'
	$(BIN)/coverage report --include='training/*,scoring/*,benchmarks/*'

bench: benchmarks/.venv/.ready ## measure SeeFood and its peers on this machine, into benchmarks/ (about an hour; run nothing else)
	benchmarks/.venv/bin/python -P -W ignore -m benchmarks $(ARGS)

docs: .venv/.dev ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

check: .venv/.dev ## lint, format check, types and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

lock: .venv/.dev ## resolve all versions again, to the newest releases: constraints.txt, deploy/locks/, benchmarks/
	$(LOCK) --universal --all-extras --upgrade pyproject.toml --output-file constraints.txt
	$(MAKE) locks

locks: .venv/.dev ## write deploy/locks/ (what each image installs) and benchmarks/requirements*.txt from constraints.txt
	$(LOCK) $(HASHES) pyproject.toml --output-file deploy/locks/service.txt
	$(LOCK) $(HASHES) --extra train pyproject.toml --output-file deploy/locks/train.txt
	$(LOCK) $(HASHES) --extra gpu --overrides deploy/locks/cuda.overrides pyproject.toml \
		--output-file deploy/locks/cuda.txt
	echo hatchling | $(LOCK) $(HASHES) - --output-file deploy/locks/build.txt
	$(LOCK) --universal --constraint constraints.txt --extra train --extra bulk pyproject.toml benchmarks/requirements.in \
		--output-file benchmarks/requirements.txt
	$(LOCK) --universal benchmarks/requirements-triton.in --output-file benchmarks/requirements-triton.txt

clean: ## remove environments and caches; models and checkpoints stay
	rm -rf .venv benchmarks/.venv site dist service/web/ort .pytest_cache .mypy_cache .ruff_cache .coverage

# One environment in three sizes. A file in it, named after the size, marks what is installed.
.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "SeeFood needs Python 3.11 or newer. Name one, for example: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -P -m venv .venv

.venv/.service: EXTRA :=
.venv/.train: EXTRA := [train]
.venv/.dev: EXTRA := [dev]
.venv/.service .venv/.train .venv/.dev: pyproject.toml constraints.txt | .venv/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".$(EXTRA)"
	@touch $@

service/web/ort/.ready: deploy/web/get-runtime.mjs
	@command -v npm >/dev/null || { echo "make web: install Node.js 18 or newer with npm" >&2; exit 2; }
	node deploy/web/get-runtime.mjs
	@touch $@

# The peers have their own environment, because their requirements conflict with newer versions here.
benchmarks/.venv/.ready: pyproject.toml $(wildcard benchmarks/requirements*.txt)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "SeeFood needs Python 3.11 or newer. Name one, for example: make bench PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -P -m venv benchmarks/.venv
	benchmarks/.venv/bin/pip install --quiet --disable-pip-version-check --requirement benchmarks/requirements.txt --editable .
	$(PYTHON) -P -m venv benchmarks/.venv/triton && benchmarks/.venv/triton/bin/pip install --quiet \
		--disable-pip-version-check --requirement benchmarks/requirements-triton.txt \
		|| echo "triton cannot be installed here; the tables will show it as not measured" >&2
	@touch $@
