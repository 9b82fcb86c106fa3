# Two commands are enough on a fresh machine: make demo, make test.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# What the demo needs is installed first; the rest only for tests and development.
DEMO   := $(VENV)/.demo
READY  := $(VENV)/.ready
NPM    := $(VENV)/npm/.ready

# uv, where there is one, takes from its cache what it has downloaded before.
ifneq ($(shell command -v uv 2>/dev/null),)
PIP    := uv pip install --quiet --python $(BIN)/python
else
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif

.DEFAULT_GOAL := help

.PHONY: help
help: ## Print this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 24

$(DEMO): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "cutlayer needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@echo "Installing what the demo needs into $(VENV), once: about 1.5 GB on disk, 1 to 3 minutes."
	@echo "On Linux for x86-64, torch from PyPI brings CUDA, 4.5 GB more, unless pip has an index with torch for the CPU."
	@$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.lock
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(READY): $(DEMO) requirements-dev.lock
	@echo "Installing what tests, checks and documentation need into $(VENV), once: about 0.4 GB more, 1 to 3 minutes."
	$(PIP) -r requirements-dev.lock
	@touch $@

# What the browser tests take from npm; without it these tests are skipped, and say so.
$(NPM): tests/package.json tests/package-lock.json | $(READY)
	@mkdir -p $(VENV)/npm && cp tests/package.json tests/package-lock.json $(VENV)/npm
	@if npm ci --prefix $(VENV)/npm --ignore-scripts --no-audit --no-fund --loglevel error; then touch $@; \
		else echo "npm is missing or failed: the tests of pages do not look for barriers."; fi

.PHONY: install
install: $(READY) $(NPM) ## Set up .venv with all packages

.PHONY: demo
demo: $(DEMO) ## Run the demonstration (train, split, serve, measure, attack), and write the report
	$(BIN)/cutlayer demo

.PHONY: demo-picture
demo-picture: $(DEMO) ## Draw docs/demo.jpg from the records of the demonstration
	$(BIN)/python docs/demo_picture.py runs docs/demo.jpg

.PHONY: report-picture
report-picture: $(READY) ## Draw docs/report.jpg with headless Chromium from a report on four defenses; runs what is missing
	$(BIN)/cutlayer run experiments/report-picture.toml --out runs/report-picture
	$(BIN)/python docs/report_picture.py runs/report-picture docs/report.jpg

.PHONY: live-pictures
live-pictures: $(READY) ## Draw docs/live.jpg and docs/live.webp from a real room in headless Chromium; trains what is missing in live/
	$(BIN)/python -m tests.live.browser.pictures docs live

.PHONY: test
# Each test computes with one thread. A file's tests stay in one process, for they share what is slow to make; the files
# come in the order of tests/conftest.py, which begins with the long ones.
test: $(READY) $(NPM) ## Run the test suite, linters included, without the tests of test-slow
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: docs
docs: $(READY) ## Build the documentation, pages and Python API, as a site in docs/_site
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --jobs auto docs docs/_site
	@echo "The site is docs/_site/index.html"

.PHONY: test-slow
test-slow: $(READY) $(NPM) ## Run the tests that take minutes: every defense through processes, sockets and attacks
	$(BIN)/python -m pytest -m slow

OLDEST := $(VENV)-oldest
OLDEST_TESTS ?= tests/wire tests/edge tests/cloud tests/doctor $(addprefix tests/onnx/test_,file.py graph.py odd.py types.py random.py corpus.py)

# uv, because pip cannot choose the oldest versions.
$(OLDEST)/bin/uv:
	@$(PYTHON) -m venv $(OLDEST) && $(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check uv || \
		{ echo "The oldest versions are found with uv, which pip cannot install here; see what it says above."; exit 2; }

.PHONY: test-oldest
test-oldest: $(OLDEST)/bin/uv ## Test device and server, without torch, with the oldest packages that pyproject.toml allows, for the Python that PYTHON names
	$(OLDEST)/bin/uv venv --quiet --clear --no-python-downloads --python "$$(command -v $(PYTHON))" $(OLDEST)/env
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/env/bin/python --only-binary :all: --no-binary cutlayer \
		--resolution lowest-direct --editable '.[certs,cut,zstd]'
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/env/bin/python pytest pytest-timeout hypothesis pyyaml
	$(OLDEST)/env/bin/cutlayer doctor
	$(OLDEST)/env/bin/python -m pytest -p no:cacheprovider $(OLDEST_TESTS)

.PHONY: fuzz
fuzz: $(READY) ## Send damaged frames: 200,000 to the decoders, 20,000 to a live server of each transport; cut 5,000 damaged ONNX files; damage 7,000 files for their readers
	$(BIN)/python -m tests.fuzz.run

.PHONY: hostile
hostile: $(READY) ## Attack a server of each transport, with keys and without, while a victim asks; check its answers, its times and the memory
	$(BIN)/python -m tests.hostile.run

.PHONY: soak
soak: $(READY) ## Run 32 clients for 10 minutes; check every answer and the growth of memory
	$(BIN)/python -m tests.faults.soak

.PHONY: kill
kill: $(READY) ## Kill the cloud 20 times during 2,000 requests, and the device 50 times with its queue, over each transport; check that no request is lost or recorded twice
	$(BIN)/python -m tests.faults.kill
	$(BIN)/python -m tests.faults.kill_device

.PHONY: bench-wire
bench-wire: $(READY) ## Compare both transports with a bare socket and other protocols; measure requests/s with batches, and the codecs
	$(BIN)/python benchmarks/wire.py
	$(BIN)/python benchmarks/wire_load.py
	$(BIN)/python benchmarks/codecs.py

.PHONY: bench-train
bench-train: $(READY) ## Compare training over both transports with the model in one process and other ways to send; pieces over a slow link, codecs, 50 clients: make bench-train [DATA=mnist DATA_ROOT=DIR]
	$(BIN)/python benchmarks/training.py $(if $(DATA),--data $(DATA)) $(if $(DATA_ROOT),--data-root $(DATA_ROOT))

.PHONY: bench-traffic
bench-traffic: $(READY) ## Measure what the lengths of encrypted messages give away, over TLS and CURVE, and what padding costs
	$(BIN)/python benchmarks/traffic.py

.PHONY: bench-shaper
bench-shaper: $(READY) ## Compare the emulated networks with their target rates and round trips
	$(BIN)/python benchmarks/shaper.py

.PHONY: bench-attacks
bench-attacks: $(READY) ## Compare the training of decoders with a plain loop, and white-box inversion of a batch with one image at a time
	$(BIN)/python benchmarks/attack_speed.py

.PHONY: bench-gpu
bench-gpu: $(READY) ## Measure on one GPU, in at most 8 minutes: training of decoders, white-box inversion, random defenses, ResSFL: make bench-gpu DATA_ROOT=DIR
	$(BIN)/python benchmarks/gpu.py $(if $(DATA_ROOT),--data-root $(DATA_ROOT))

.PHONY: bench-ceiling
bench-ceiling: $(READY) ## Compute the ceiling of ResNet-20 on CIFAR-10 at four cuts: make bench-ceiling WEIGHTS=resnet20-12fca82f.th
	$(BIN)/python benchmarks/ceiling.py $(WEIGHTS)

.PHONY: bench-pruning
bench-pruning: $(READY) ## Measure what the removal of channels saves: size, multiply-accumulates, bytes and time of a head
	$(BIN)/python benchmarks/pruned_head.py

.PHONY: bench-int8
bench-int8: $(READY) ## Measure the gain in time and the loss of accuracy of heads in int8, at early and late cuts
	$(BIN)/python benchmarks/int8_heads.py

.PHONY: full-ressfl
full-ressfl: $(READY) ## Run ResSFL at full size on CIFAR-10, for a machine with a GPU: training speed and the errors of the attackers
	$(BIN)/python benchmarks/ressfl_full.py

.PHONY: full-priors
full-priors: $(READY) ## Measure what priors find at a deep cut of ResNet-20 on CIFAR-10, for a machine with a GPU: make full-priors WEIGHTS=resnet20-12fca82f.th
	$(BIN)/python benchmarks/priors.py --weights $(WEIGHTS)

.PHONY: full-certified
full-certified: $(READY) ## Measure the ceiling of certified-noise and its accuracy at three cuts of ResNet-20 on CIFAR-10; takes an hour or more: make full-certified WEIGHTS=resnet20-12fca82f.th
	$(BIN)/cutlayer run experiments/certified.toml --set model.weights=$(WEIGHTS)

.PHONY: bench-answers
bench-answers: $(READY) ## Measure what replies with an answer defense and a log of queries cost a server, and after how many questions each attack is flagged: make bench-answers [DATA_ROOT=DIR]
	$(BIN)/python -m benchmarks.answers
	$(if $(DATA_ROOT),CUTLAYER_DATA=$(DATA_ROOT) $(BIN)/python -m benchmarks.query_log)

.PHONY: bench-overhead
bench-overhead: $(READY) ## Measure the time that the testbed adds to a request, over head, tail and the bare transport
	$(BIN)/python benchmarks/overhead.py

.PHONY: bench-live
bench-live: $(READY) ## Measure a room: frames per second with two devices, their times with and without attackers, and how soon the picture of a phone (headless Chromium) is rebuilt
	$(BIN)/python benchmarks/live.py
	$(BIN)/python benchmarks/phone.py

.PHONY: bench-profile
bench-profile: $(READY) ## Measure the time that the edge pipeline adds to two ONNX sessions and a bare socket; import time and memory; the time of a profile
	$(BIN)/python benchmarks/edge_profile.py

.PHONY: bench-defenses
bench-defenses: $(READY) ## Measure every defense at three strengths, with two seeds, on two data sets, under adaptive attacks; takes an hour or more
	$(BIN)/python benchmarks/defense_sweep.py

.PHONY: frontier
frontier: $(READY) ## Write the report of four defenses at three strengths, with two seeds, on photographs and Fashion-MNIST; goes on where it stopped: make frontier [DATA_ROOT=DIR] [WORKERS=2] [DATA=photos]
	$(BIN)/cutlayer grid experiments/frontier.toml --out runs/frontier $(if $(WORKERS),--workers $(WORKERS)) \
		$(if $(DATA_ROOT),--data-root $(DATA_ROOT)) $(if $(DATA),--set data=$(DATA))
	$(BIN)/cutlayer report runs/frontier

.PHONY: bench-engines
bench-engines: $(READY) ## Measure what Ray and submitit add to each trial of a grid, over processes of this machine, and what a second worker gains
	$(BIN)/python benchmarks/engines.py

.PHONY: bench-training-reference
bench-training-reference: $(READY) ## Train with every protocol on MNIST, IID and not, with and without batch normalization, three seeds; about 15 minutes: make bench-training-reference DATA_ROOT=DIR
	$(BIN)/python benchmarks/training_reference.py $(if $(DATA_ROOT),--data-root $(DATA_ROOT))

.PHONY: bench-reference
bench-reference: $(READY) ## Measure the defenses at two strengths on ResNet-20 and VGG-11-BN, two cuts each, on CIFAR-10; takes hours, and goes on where it stopped: make bench-reference WEIGHTS=resnet20-12fca82f.th
	$(BIN)/python benchmarks/reference.py --resnet20 $(WEIGHTS)

.PHONY: bench-gradients
bench-gradients: $(READY) ## Rebuild samples from clients' updates: every attack and defense, six data sets, two seeds; some hours on 2 cores, and goes on where it stopped: make bench-gradients DATA_ROOT=DIR
	$(BIN)/python -m benchmarks.gradients $(if $(DATA_ROOT),--data-root $(DATA_ROOT))

.PHONY: bench-class-level
bench-class-level: $(READY) ## Recover digits and faces from a model's answers and weights, beside floors, three seeds; an hour on 2 cores by estimate, and goes on where it stopped: make bench-class-level DATA_ROOT=DIR
	$(BIN)/python -m benchmarks.class_level $(if $(DATA_ROOT),--data-root $(DATA_ROOT))

.PHONY: bench-labels
bench-labels: $(READY) ## Measure what gradients of a training on Bank Marketing tell about labels, with defenses of the gradient: make bench-labels DATA_ROOT=DIR
	$(BIN)/python benchmarks/training_labels.py $(if $(DATA_ROOT),--data-root $(DATA_ROOT))

.PHONY: bench-text
bench-text: $(READY) ## Read sentences from MiniLM after each of its six layers, two processes, both transports; noise of three strengths, up to 16 releases; 20 minutes by estimate: make bench-text [FOLDER=all-MiniLM-L6-v2]
	$(BIN)/python benchmarks/text.py $(FOLDER)

.PHONY: bench-tables
bench-tables: $(READY) ## Measure what a tree trained on Bank Marketing tells of a sensitive answer, with privacy-guided trees and released rows: make bench-tables DATA_ROOT=DIR
	$(BIN)/python benchmarks/table_attributes.py $(if $(DATA_ROOT),--data-root $(DATA_ROOT))

.PHONY: full-training-attacks
full-training-attacks: $(READY) ## Let servers rebuild images while they train (FSHA, SDAR) at full size, in at most 10 minutes on a machine with a GPU: make full-training-attacks DATA_ROOT=DIR
	$(BIN)/python benchmarks/training_attacks.py $(if $(DATA_ROOT),--data-root $(DATA_ROOT))

.PHONY: full-gradients
full-gradients: $(READY) ## Invert gradients of ResNet-20 on CIFAR-10, 32 images in one batch and one by one, then by other systems, in at most 10 minutes on a machine with a GPU: make full-gradients WEIGHTS=resnet20-12fca82f.th DATA_ROOT=DIR
	$(BIN)/python benchmarks/full_gradients.py $(if $(WEIGHTS),--weights $(WEIGHTS)) $(if $(DATA_ROOT),--data-root $(DATA_ROOT))

.PHONY: full-class-level
full-class-level: $(READY) ## Show the classes of ResNet-20 on CIFAR-10 and of a network that knows people of CelebA, with the published settings, on a machine with a GPU: make full-class-level WEIGHTS=resnet20-12fca82f.th DATA_ROOT=DIR
	$(BIN)/python benchmarks/full_class_level.py $(if $(WEIGHTS),--weights $(WEIGHTS)) $(if $(DATA_ROOT),--data-root $(DATA_ROOT))

.PHONY: full-defenses
full-defenses: $(READY) ## The same on all images with more epochs and stronger attacks, for a machine with a GPU: make full-defenses WEIGHTS=resnet20-12fca82f.th
	$(BIN)/python benchmarks/reference.py --full --resnet20 $(WEIGHTS) --out runs/full-defenses

.PHONY: lint
lint: $(READY) ## Check format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: proto
proto: $(READY) ## Regenerate the message classes from proto/, with the oldest generator, because old runtimes refuse the output of newer ones
	$(PYTHON) -m venv $(VENV)-proto
	$(VENV)-proto/bin/python -m pip install --quiet grpcio-tools==1.66.2
	$(VENV)-proto/bin/python -m grpc_tools.protoc -I proto --python_out=. --pyi_out=. proto/cutlayer/wire/*.proto
	rm -rf $(VENV)-proto

.PHONY: lock
lock: ## Resolve the newest versions and write both locks: for the demo, and what development adds to it
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet hatchling editables --editable '.[lab]'
	$(FREEZE) > requirements.lock
	$(VENV)-lock/bin/python -m pip install --quiet --constraint requirements.lock --editable '.[dev]'
	$(FREEZE) | grep -vxFf requirements.lock > requirements-dev.lock
	rm -rf $(VENV)-lock

FREEZE = $(VENV)-lock/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' | grep -vE '^(nvidia-|cuda-|triton==)'

.PHONY: clean
clean: ## Remove .venv, caches and artifacts; keep runs
	rm -rf $(VENV) $(OLDEST) docs/_site artifacts .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
