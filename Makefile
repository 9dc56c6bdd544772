# make erase | make test | make check | make docs | make test-slow | make test-faults | make teacher
PYTHON ?= python3
# What is installed for torch. For Linux PyPI has the CUDA build, of gigabytes; that for CPUs alone:
# make erase TORCH="--extra-index-url https://download.pytorch.org/whl/cpu torch==2.13.0+cpu"
TORCH ?= torch==2.13.0
BIN := .venv/bin
REQUEST ?= examples/requests/astronaut.yaml
FAULTS ?= .faults
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: erase test test-slow test-faults check docs teacher format

# The environment, at exact versions; made once, and again when a version changes.
.venv/installed: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "$(PYTHON) is Python %s; 3.11 or newer is needed: make PYTHON=python3.11 ..." % sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt $(TORCH)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

# With what tests and checks need besides.
.venv/developing: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# Honour one request on the embedded teacher. FRESH=1 does everything again.
erase: .venv/installed
	$(BIN)/erasure run $(REQUEST) $(if $(FRESH),--fresh)

test: .venv/developing
	$(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Whole runs on the embedded teacher, kills of every step, a real Prefect server with a real worker:
# an hour and more on 2 cores.
test-slow: .venv/developing
	$(BIN)/python -m pytest -q -m slow

# Faults of every kind, laid for real (docs/faults.md): hours on 2 cores. Stopped, it goes on from there.
test-faults: .venv/developing
	mkdir -p $(FAULTS)
	$(BIN)/python -m tests.faults --folder $(FAULTS)/world --out $(FAULTS)/results.jsonl

check: .venv/developing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The pages of docs/ as a site, in site/.
docs: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

format: .venv/developing
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Rebuild the embedded teacher from its pictures (hours) and measure it; the results are in git.
teacher: .venv/installed
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/dvc repro
