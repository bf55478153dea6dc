# Two commands do everything: `make demo` shows what Coracle does, `make test` passes all tests.
SHELL := /bin/sh
CARGO ?= cargo
TARGET := target/x86_64-unknown-linux-gnu
CORACLE := $(TARGET)/release/coracle
PYTHON := .cache/venv/bin/python

.PHONY: build demo demo-clean test test-rust test-e2e bench lint schema tools images clean

build: schema ## The binary, stripped and static: target/x86_64-unknown-linux-gnu/release/coracle
	$(CARGO) build --release --locked -p coracle

schema: ## Upstream's definitions, which the build compresses into the binary
	@scripts/fetch-schema

tools: .cache/venv/done ## Pinned kubectl and helm, and what the tests are written with
	@scripts/fetch-tools

images: ## Images that the end-to-end tests run
	@scripts/test-images

.cache/venv/done: tests/requirements.txt
	python3 -m venv .cache/venv
	.cache/venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	touch $@

lint: schema
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

test: lint test-rust test-e2e

test-rust: schema
	@scripts/apt-install busybox-static nftables iproute2
	$(CARGO) test --workspace --locked

test-e2e: build tools
	@scripts/apt-install busybox-static nftables iproute2 e2fsprogs
	@scripts/test-images
	scripts/private-host $(PYTHON) -m pytest -q tests/e2e

clean:
	$(CARGO) clean
	rm -rf .cache
