# The only commands that README and CI call. `make help` prints them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

ARGS ?=
SEED ?=
SECONDS_MAX ?=
SHARD ?= 0/100
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
	$(call stage,tools for tests,tests/setup.sh)
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

# Coverage without a sanitizer works on a stable compiler.
FUZZ_HOST := $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ_FLAGS := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1
FUZZ_TARGETS := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
TARGET ?= $(FUZZ_TARGETS)
FUZZ_BIN := fuzz/target/$(FUZZ_HOST)/release

.PHONY: fuzz
fuzz: ## Fuzzing for SECONDS_MAX (3600) from SEED, all targets or TARGET=; INPUT=file replays one
	@RUSTFLAGS="$(FUZZ_FLAGS)" $(CARGO) build --quiet --release --manifest-path fuzz/Cargo.toml --target $(FUZZ_HOST) \
		--target-dir fuzz/target
ifdef INPUT
	$(FUZZ_BIN)/$(TARGET) $(INPUT)
else
	@mkdir -p fuzz/artifacts; failed=; \
	for target in $(TARGET); do \
		mkdir -p fuzz/target/corpus/$$target; \
		echo "== $$target: $$(( $(SECONDS_MAX) / $(words $(TARGET)) )) s"; \
		$(FUZZ_BIN)/$$target -seed=$(or $(SEED),0) -max_total_time=$$(( $(SECONDS_MAX) / $(words $(TARGET)) )) \
			-timeout=20 -rss_limit_mb=1024 -malloc_limit_mb=256 -max_len=4096 -print_final_stats=1 -verbosity=0 \
			-artifact_prefix=fuzz/artifacts/$$target- fuzz/target/corpus/$$target fuzz/corpus/$$target || { \
			failed=yes; found=$$(ls -t fuzz/artifacts/ | grep -m 1 "^$$target-"); \
			echo "== $$target fails$${found:+; replay it: make fuzz TARGET=$$target INPUT=fuzz/artifacts/$$found}"; }; \
	done; test -z "$$failed"
endif

.PHONY: properties
properties: ## The log against its model, a million sequences of each kind; PROPTEST_CASES=n for another number
	PROPTEST_CASES=$${PROPTEST_CASES:-1000000} $(CARGO) test --release --package roadbed-wal --all-features --test it model::

.PHONY: sync-audit
sync-audit: ## Every sync point of the log beside the test that fails without it
	$(CARGO) test --package roadbed-wal --all-features --test it sync_audit -- --nocapture

.PHONY: sim
sim: ## The simulator on all cores for SECONDS_MAX seconds (240); SEED=n replays one run and makes its failure small
	$(CARGO) run --release --package roadbed-tests --bin sim

# Every case of the log's exhaustive tests takes a minute; one in so many is enough for most mutants.
mutants: export ROADBED_CORE_STEPS ?= 20000
mutants: export ROADBED_WAL_EVERY ?= 37
mutants: export PROPTEST_CASES ?= 30
mutants: export CARGO_TARGET_DIR ?= $(CURDIR)/target
# A disk in memory, where there is one.
mutants: export TMPDIR := $(shell test -w /dev/shm && echo /dev/shm || echo $${TMPDIR:-/tmp})

.PHONY: mutants
mutants: ## Changes of the core and the log that no fast test notices (.cargo/mutants.toml); SHARD=k/n takes a part (0/100)
	command -v cargo-mutants >/dev/null || $(CARGO) install --locked cargo-mutants
	@failed=; \
	run() { mkdir -p target/mutants.out/$$1; out=target/mutants.out/$$1; shift; \
		$(CARGO) mutants "$$@" --shard $(SHARD) --output $$out $(ARGS) || failed=yes; }; \
	run core --package roadbed --exclude 'actors/src/*/policy.rs' --cargo-arg=--test=core; \
	run policies --package roadbed --exclude 'actors/src/state/**' --cargo-arg=--lib --cargo-arg=--test=core; \
	run log --package roadbed-wal --cargo-arg=--lib --cargo-arg=--test=it; \
	test -z "$$failed"

.PHONY: soak
soak: ## Random faults under load for SECONDS_MAX seconds (3600); SEED=n replays one round
	ROADBED_CHAOS_SECONDS=$(or $(SECONDS_MAX),3600) $(CARGO) test --release --package roadbed-tests --test chaos -- --nocapture
