# The only commands that README and CI call. `make help` prints them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

ARGS ?=
SEED ?=
SECONDS_MAX ?=
CARGO ?= cargo
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)
export SEED SECONDS_MAX

# Runs a command and prints what it took.
define stage
	@began=$$(date +%s); echo "== $(1)"; $(2); code=$$?; \
	echo "== $(1): $$(( $$(date +%s) - began )) s"; exit $$code
endef

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## The demo validator, data in ./data; ARGS="--blocks 1000 --json" for more
	@$(CARGO) run --quiet --release --package roadbed-node -- run --dir data $(ARGS)

.PHONY: test
test: ## Every test; ROADBED_REQUIRE_ALL=1 makes a skipped one a failure
ifeq ($(NEXTEST),yes)
	$(call stage,tests,$(CARGO) nextest run --workspace --all-features --no-fail-fast)
else
	$(call stage,tests,$(CARGO) test --workspace --all-features --all-targets --no-fail-fast)
endif
	$(call stage,documentation examples,$(CARGO) test --quiet --workspace --all-features --doc)

.PHONY: lint
lint: ## Formatting, clippy, rustdoc and licences, warnings denied
	$(call stage,format,$(CARGO) fmt --all -- --check)
	$(call stage,clippy,$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings)
	$(call stage,rustdoc,RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --workspace --all-features --no-deps)

	$(call stage,licences and sources,command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny; \
		$(CARGO) deny --log-level error check licenses bans sources)

.PHONY: fmt
fmt: ## Format everything
	$(CARGO) fmt --all

.PHONY: docs
docs: ## Write docs/metrics.md and docs/metrics.json anew from the code
	ROADBED_WRITE_DOCS=1 $(CARGO) test --quiet --package roadbed-tests --test it pages_about_metrics

.PHONY: bench
bench: ## Benchmarks beside their physical limits, into target/bench/report.json
	$(CARGO) run --release --package roadbed-benches -- $(ARGS)

.PHONY: bench-peers
bench-peers: ## The log beside other logs, into target/bench/peers.json; a build of its own
	$(CARGO) run --release --manifest-path peers/Cargo.toml -- $(ARGS)

.PHONY: sync-audit
sync-audit: ## Every sync point of the log beside the test that fails without it
	$(CARGO) test --package roadbed-wal --all-features --test it sync_audit -- --nocapture

.PHONY: sim
sim: ## The simulator on all cores for SECONDS_MAX seconds (240); SEED=n replays one run and makes its failure small
	$(CARGO) run --release --package roadbed-tests --bin sim

.PHONY: soak
soak: ## Random faults under load for SECONDS_MAX seconds (3600); SEED=n replays one round
	ROADBED_CHAOS_SECONDS=$(or $(SECONDS_MAX),3600) $(CARGO) test --release --package roadbed-tests --test chaos -- --nocapture
