# Two commands are enough on a fresh machine: make demo, make test.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 24

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "cutlayer needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: install
install: $(READY) ## Set up .venv with everything

.PHONY: demo
demo: $(READY) ## Train, split, serve, attack, measure: experiments/demo.toml, then the report
	$(BIN)/cutlayer run experiments/demo.toml
	$(BIN)/cutlayer report runs

.PHONY: test
test: $(READY) ## The whole test suite, linters included
	$(BIN)/python -m pytest

.PHONY: fuzz
fuzz: $(READY) ## Spoiled frames: 200,000 for the decoders, 20,000 for a live server of each transport
	$(BIN)/python -m tests.fuzz.run

.PHONY: soak
soak: $(READY) ## 32 clients for 10 minutes: every answer right, memory flat
	$(BIN)/python -m tests.faults.soak

.PHONY: kill
kill: $(READY) ## The cloud killed 20 times during 2,000 requests, and the device 50 times with its queue, over each transport: nothing lost, nothing recorded twice
	$(BIN)/python -m tests.faults.kill
	$(BIN)/python -m tests.faults.kill_device

.PHONY: bench-wire
bench-wire: $(READY) ## Both transports beside a bare socket and the usual ways; requests/s by batches; the codecs
	$(BIN)/python benchmarks/wire.py
	$(BIN)/python benchmarks/wire_load.py
	$(BIN)/python benchmarks/codecs.py

.PHONY: bench-shaper
bench-shaper: $(READY) ## How near the shaped networks come to the rates and round trips that they should have
	$(BIN)/python benchmarks/shaper.py

.PHONY: bench-white-box
bench-white-box: $(READY) ## White-box inversion of 64 images in one batch against one at a time
	$(BIN)/python benchmarks/white_box.py

.PHONY: bench-decoder
bench-decoder: $(READY) ## Decoder training against a plain loop
	$(BIN)/python benchmarks/decoder_training.py

.PHONY: bench-pruning
bench-pruning: $(READY) ## What removing channels saves: size, multiply-accumulates, bytes and time of a head
	$(BIN)/python benchmarks/pruned_head.py

.PHONY: bench-int8
bench-int8: $(READY) ## What heads in int8 gain in time and cost in accuracy, at early and late cuts
	$(BIN)/python benchmarks/int8_heads.py

.PHONY: full-ressfl
full-ressfl: $(READY) ## ResSFL at full size on CIFAR-10: training speed and what attackers get; for a machine with a GPU
	$(BIN)/python benchmarks/ressfl_full.py

.PHONY: bench-overhead
bench-overhead: $(READY) ## What the testbed adds to a request, over head, tail and the bare transport
	$(BIN)/python benchmarks/overhead.py

.PHONY: bench-profile
bench-profile: $(READY) ## What the edge pipeline adds to two ONNX sessions and a bare socket; import time and memory; the time of a profile
	$(BIN)/python benchmarks/edge_profile.py

.PHONY: bench-defenses
bench-defenses: $(READY) ## Every defense at three strengths, two seeds, two data sets, under adaptive attack; an hour and more
	$(BIN)/python benchmarks/defense_sweep.py

.PHONY: lint
lint: $(READY) ## Format check, linter, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: proto
proto: $(READY) ## Regenerate the message classes from proto/, by the oldest generator, for old runtimes refuse what newer ones write
	$(PYTHON) -m venv $(VENV)-proto
	$(VENV)-proto/bin/python -m pip install --quiet grpcio-tools==1.66.2
	$(VENV)-proto/bin/python -m grpc_tools.protoc -I proto --python_out=. --pyi_out=. proto/cutlayer/wire/*.proto
	rm -rf $(VENV)-proto

.PHONY: lock
lock: ## Resolve the newest versions and write requirements.lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --editable '.[dev]'
	$(VENV)-lock/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' | grep -vE '^(nvidia-|cuda-|triton==)' > requirements.lock
	rm -rf $(VENV)-lock

.PHONY: clean
clean: ## Remove .venv, caches and artifacts; runs stay
	rm -rf $(VENV) artifacts .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
