# Two commands set everything up on a fresh Debian or Ubuntu machine:
#
#   make demo     the whole path without hardware
#   make test     every check, the same in CI
#
# Longer ones:
#
#   make faults   every fault of docs/faults.md, put into a run on purpose (FAULTS_ARGS=--write renews its table)
#   make soak     ten minutes of two arms: memory, queues, and why a tick was late (SOAK_ARGS="cell.yaml --for 8h")
#   make fuzz     a million random chunk sequences through the limit layer, half an hour on two cores
#   make trials   calibration on many synthetic cells of known truth: lenses, and who moved
#   make train-demo  demonstrations, a VAE and a tiny policy from nothing, two hours on two cores; resumes by itself
#   make judge    the shipped policy at every precision, step count and hand-over mode: docs/judge.md, an hour on two cores
#   make mutants  every small change to the limit layer must be noticed by its tests, and every line be run by them
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
TRAIN_VENV := .venv-train
# Dataset, latents, log and checkpoint. What is there already is not made again: make train-demo goes on after a break.
TRAIN_OUT ?= train-demo
TRAIN_SEED ?= 0
TRAINED := export/gigaedge_export/trained
JUDGE_OUT ?= judge
JUDGE_EPISODES ?= 100
PRECISIONS := fp32 fp16 int8 int4
# What tests leave for a person to look at: screenshots of pages.
ARTEFACTS := $(CURDIR)/test-artefacts
# Calibration is tested with the newest OpenCV 4, too; it lies beside the environment's own.
OPENCV4 := $(CURDIR)/$(TEST_VENV)/opencv4
OPENCV4_PIN := opencv-python>=4.9,<5
PYTEST = GIGAEDGE_ARTEFACTS=$(ARTEFACTS) $(TEST_VENV)/bin/python -m pytest

.PHONY: demo train-demo judge test faults soak fuzz trials mutants format clean

demo: $(DEMO_VENV)/.ready
	$(DEMO_VENV)/bin/gigaedge demo --out $(DEMO_OUT)

train-demo: $(TRAIN_OUT)/checkpoint/training.json

$(TRAIN_OUT)/lift-block/meta/info.json: $(TRAIN_VENV)/.ready
	$(TRAIN_VENV)/bin/gigaedge collect --task lift-block --episodes 700 --jobs 2 --out $(TRAIN_OUT)/lift-block \
		$(if $(wildcard $(TRAIN_OUT)/lift-block.unfinished),--resume)

$(TRAIN_OUT)/checkpoint/training.json: $(TRAIN_OUT)/lift-block/meta/info.json
	$(TRAIN_VENV)/bin/gigaedge train $(TRAIN_OUT)/lift-block --vae-minutes 25 --minutes 60 --held-out 20 --jobs 2 \
		--seed $(TRAIN_SEED) --resume --force --html $(TRAIN_OUT)/training.html --out $(TRAIN_OUT)/checkpoint

judge: $(TRAIN_VENV)/.ready $(foreach p,$(PRECISIONS),$(JUDGE_OUT)/$(p)/manifest.json)
	$(TRAIN_VENV)/bin/gigaedge trials examples/cell.yaml --tasks lift-block --episodes $(JUDGE_EPISODES) \
		$(foreach p,$(PRECISIONS),--bundle $(JUDGE_OUT)/$(p)) --steps 10,5,4,2 --modes rtc,synchronous --latency 60ms \
		--blind --expert --jobs 2 --out $(JUDGE_OUT)/trials.json --report $(JUDGE_OUT)/trials.html $(JUDGE_ARGS)

$(JUDGE_OUT)/%/manifest.json: $(TRAIN_VENV)/.ready
	$(TRAIN_VENV)/bin/gigaedge export --checkpoint $(TRAINED) --precision $* --steps 10,5,4,2 --force \
		--prompt lift-block=$(TRAINED)/prompts/lift-the-red-block.safetensors --out $(JUDGE_OUT)/$*

test: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/ruff format --check .
	$(TEST_VENV)/bin/ruff check .
	$(TEST_VENV)/bin/mypy
	$(TEST_VENV)/bin/lint-imports
	OMP_NUM_THREADS=1 $(PYTEST) -n 2 --dist worksteal -m "not realtime" $(PYTEST_ARGS)
	OMP_NUM_THREADS=1 PYTHONPATH=$(OPENCV4) $(PYTEST) -n 2 --dist worksteal tests/calibration $(PYTEST_ARGS)
	$(PYTEST) -m realtime $(PYTEST_ARGS)

faults: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/python -m tests.faults $(FAULTS_ARGS)

soak: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/python tools/soak.py $(SOAK_ARGS)

fuzz: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/python tools/fuzz_limits.py --sequences 1000000 --seed 1 --jobs 2

trials: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/python -m tests.calibration.study_intrinsics --sets 20
	$(TEST_VENV)/bin/python -m tests.calibration.witness_trials 100

mutants: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/python tools/coverage_limits.py
	$(TEST_VENV)/bin/python tools/mutate_limits.py --jobs 2

format: $(TEST_VENV)/.ready
	$(TEST_VENV)/bin/ruff format .
	$(TEST_VENV)/bin/ruff check --fix .

clean:
	rm -rf $(DEMO_VENV) $(TEST_VENV) $(TRAIN_VENV) $(DEMO_OUT) $(ARTEFACTS) build dist

$(DEMO_VENV)/.ready: EXTRAS := export,robot,dataset,sim,$(ORT)
$(TRAIN_VENV)/.ready: EXTRAS := export,robot,dataset,plots,sim,$(ORT)
$(TEST_VENV)/.ready: EXTRAS := export,robot,text,dataset,plots,sim,$(ORT),dev

# What only the tests need: a browser, and the other major of OpenCV.
$(TEST_VENV)/.ready: TESTING := yes

%/.ready: pyproject.toml tools/system-packages.sh
	sh tools/system-packages.sh venv $(PYTHON)
	$(PYTHON) -m venv $*
	$*/bin/python -m pip install --quiet --upgrade pip
	$*/bin/python -m pip install --quiet $(TORCH) --editable ".[$(EXTRAS)]"
	sh tools/system-packages.sh opencv $*/bin/python
	sh tools/system-packages.sh egl $*/bin/python
	$(if $(TESTING),sh tools/system-packages.sh browser $*/bin/python)
	$(if $(TESTING),$*/bin/python -m pip install --quiet --no-deps --upgrade --target $(OPENCV4) '$(OPENCV4_PIN)')
	touch $@
