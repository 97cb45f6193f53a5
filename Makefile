# Three commands set everything up on a fresh Debian or Ubuntu machine:
#
#   make demo     the whole path without hardware
#   make test     every check, the same in CI
#   make faults   every fault of docs/faults.md, put into a run on purpose (FAULTS_ARGS=--write renews its table)
#
# Each keeps a virtual environment of its own below this folder. Nothing but pip and apt packages is fetched.

PYTHON ?= python3
# 2.13.0 exactly: looser pins bring other CUDA builds along.
TORCH ?= torch==2.13.0
# One of the two, never both: they install the same module.
ORT := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)

DEMO_VENV := .venv-demo
TEST_VENV := .venv-test
DEMO_OUT := demo-out

.PHONY: demo test faults format clean

demo: $(DEMO_VENV)/.ready
	$(DEMO_VENV)/bin/gigaedge demo --out $(DEMO_OUT)

test: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/ruff format --check .
	$(TEST_VENV)/bin/ruff check .
	$(TEST_VENV)/bin/mypy
	$(TEST_VENV)/bin/lint-imports
	$(TEST_VENV)/bin/python -m pytest $(PYTEST_ARGS)

faults: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/python -m tests.faults $(FAULTS_ARGS)

format: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/ruff format .
	$(TEST_VENV)/bin/ruff check --fix .

clean:
	rm -rf $(DEMO_VENV) $(TEST_VENV) $(DEMO_OUT) build dist

$(DEMO_VENV)/.ready: EXTRAS := export,robot,$(ORT)
$(TEST_VENV)/.ready: EXTRAS := export,robot,text,dataset,plots,$(ORT),dev

%/.ready: pyproject.toml tools/system-packages.sh
	sh tools/system-packages.sh venv $(PYTHON)
	$(PYTHON) -m venv $*
	$*/bin/python -m pip install --quiet --upgrade pip
	$*/bin/python -m pip install --quiet $(TORCH) --editable ".[$(EXTRAS)]"
	sh tools/system-packages.sh opencv $*/bin/python
	touch $@
