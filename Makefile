# HMS-ACT. `make run` starts the dashboard on http://127.0.0.1:8080, `make test` checks everything.

.PHONY: run test chaos setup setup-test fmt bench

# Homebrew keeps versioned PostgreSQL out of PATH; the build asks its pg_config for libpq.
BREW_POSTGRES := $(lastword $(wildcard /usr/local/opt/postgresql@*/bin /opt/homebrew/opt/postgresql@*/bin))
ifneq ($(BREW_POSTGRES),)
export PATH := $(PATH):$(BREW_POSTGRES)
endif

# Where cargo puts what it builds.
BUILT := $(or $(CARGO_TARGET_DIR),target)

# In demo mode, on a private Postgres below ./data.
run: setup
	cargo build --release --locked
	@exec "$(BUILT)/release/hms-act" serve --demo

# Formatting, lints, all tests. Lints and tests share one profile, so that libraries are built once.
test: setup-test
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	cargo test --locked

# Kills three instances, the database and the called service at random, freezes instances and cuts them off, 200 times
# in all: `make chaos HMS_ACT_TEST_SEED=1` repeats one trial.
chaos: export HMS_ACT_TEST_HARMS := 200
chaos: setup-test
	cargo test --locked --test all -- chaos --nocapture

# Installs what is missing to build and run; nothing when all is there.
setup:
	@.ci/setup run

# The same for the test tools.
setup-test:
	@.ci/setup test

fmt:
	cargo fmt

# Runs per second, every one durable, beside the raw rate of the same inserts.
bench: setup
	cargo build --release --locked
	@exec "$(BUILT)/release/hms-act" bench
