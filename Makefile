# Two commands do everything: `make demo` shows what Coracle does, `make test` passes all tests.
SHELL := /bin/sh
CARGO ?= cargo
TARGET := target/x86_64-unknown-linux-gnu
CORACLE ?= $(TARGET)/release/coracle
PYTHON := .cache/venv/bin/python

SIM_SEEDS ?= 0..2000
TORTURE_SECONDS ?= 300
FUZZ_SECONDS ?= 60

.PHONY: sim build demo demo-clean test test-rust test-apps test-e2e torture fuzz bench fresh lint schema tools images charts clean

build: schema ## The binary, stripped and static: target/x86_64-unknown-linux-gnu/release/coracle
	$(CARGO) build --release --locked -p coracle

# What comes through pip comes through the venv's: a Debian with python3-venv has no other.
schema: .cache/venv/done ## Upstream's definitions, which the build compresses into the binary
	@$(PYTHON) scripts/fetch-schema

tools: .cache/venv/done ## Pinned kubectl and helm, and what the tests are written with
	@$(PYTHON) scripts/fetch-tools

images: .cache/venv/done ## Images that the end-to-end tests and the demo run
	@scripts/apt-install busybox-static
	@scripts/test-images
	@scripts/app-images

charts: tools ## The applications' charts, packaged
	@scripts/charts

.cache/venv/done: tests/requirements.txt apps/app_python/requirements.txt
	python3 -m venv .cache/venv
	.cache/venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	touch $@

lint: schema
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

test: lint test-rust build sim test-apps test-e2e

test-rust: schema
	@scripts/apt-install busybox-static nftables iproute2 e2fsprogs
	$(CARGO) test --workspace --locked

test-apps: tools schema ## app_python, both pages in a browser, both charts without a cluster
	@scripts/apt-install busybox-static iproute2 chromium chromium-driver
	@scripts/app-images
	scripts/private-host $(PYTHON) -m pytest -q apps/app_python tests/apps tests/bench

test-e2e: build tools charts
	@scripts/apt-install busybox-static nftables iproute2 e2fsprogs procps openssl docker-registry
	@scripts/test-images
	@scripts/app-images
	scripts/private-host $(PYTHON) -m pytest -q -n 2 --dist loadfile tests/e2e

# `make test` has them for 20 seconds each; FUZZ_SEED=N plays the case that a failure names.
fuzz: schema ## Schemas, expressions, patches and conversion, made up: FUZZ_SECONDS each
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(if $(FUZZ_SEED),FUZZ_SEED=$(FUZZ_SEED)) \
		$(CARGO) test --locked -p coracle-server --test fuzz -- --nocapture

# What pods have synced under faults, for TORTURE_SECONDS; TORTURE_SEED=N repeats a run.
torture: build tools ## `make torture VOLUMES=1`: minutes of full disks, kills, freezes and foreign mounts
	@scripts/apt-install busybox-static nftables iproute2 e2fsprogs procps
	@scripts/test-images busybox
	$(if $(VOLUMES),,$(error name what to torture: VOLUMES=1))
	TORTURE_SECONDS=$(TORTURE_SECONDS) $(if $(TORTURE_SEED),TORTURE_SEED=$(TORTURE_SEED)) \
		scripts/private-host $(PYTHON) -m pytest -q -s tests/e2e/test_torture.py

# `make demo KUBECONFIG=FILE` plays it on that cluster; a variable of the environment does not count.
ifeq ($(origin KUBECONFIG),command line)
DEMO := --kubeconfig $(KUBECONFIG)
endif

demo: build tools charts ## Plays a session with both applications on a cluster of its own, and checks it
	@scripts/apt-install busybox-static chromium chromium-driver
	@scripts/app-images
	@scripts/demo $(DEMO)

demo-clean: ## Removes all that the demo made
	@scripts/demo --clean $(DEMO)

# With the engine's own dependencies and their features, so that `build` and this share all but two
# of the things that are compiled.
sim: schema ## Simulated worlds with faults, one a seed: SIM_SEEDS=FROM..TO
	$(CARGO) build --release --locked -p coracle -p coracle-sim --bin sim
	$(TARGET)/release/sim --seeds $(SIM_SEEDS)

# `make bench BENCH=store,cluster` measures a part; `make bench CORACLE=FILE` an engine built before.
bench: $(if $(filter file,$(origin CORACLE)),build) schema tools charts ## One table of all figures, also as bench/results.tsv (as root, some minutes)
	@scripts/apt-install busybox-static iproute2 etcd-server
	@scripts/test-images busybox
	@scripts/app-images
	$(CARGO) build --release --locked -p coracle-bench
	CORACLE=$(abspath $(CORACLE)) RECORD=$(RECORD) $(PYTHON) -m bench $(BENCH)

# `make fresh FRESH=demo` plays a part.
fresh: ## Plays `make demo` and `make test` of what is committed on a machine that has only what README names
	@scripts/fresh --forwarding 0 $(FRESH)
	@scripts/fresh --forwarding 1 $(FRESH)

clean: demo-clean
	$(CARGO) clean
	rm -rf .cache
