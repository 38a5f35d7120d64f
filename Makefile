# Container Conductor. `make help` lists the targets.

PREFIX  ?= /usr/local
DESTDIR ?=
CARGO   ?= cargo
KEY     ?=

# musl where its target is installed, else the machine's own; static either way.
HOST   := $(shell rustc -vV | sed -n 's/^host: //p')
MUSL   := $(shell ls -d "$$(rustc --print sysroot)"/lib/rustlib/$$(uname -m)-unknown-linux-musl 2>/dev/null | xargs -r basename)
TARGET ?= $(or $(MUSL),$(HOST))
export CARGO_TARGET_DIR ?= $(CURDIR)/target
STATIC := RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --locked --target $(TARGET)
MAX_SIZE := 3145728

.PHONY: help build install sign store-check clean demo test check quick unit clean-room clean-room-demo e2e attacks bench fuzz mutants store-test

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 17

build: ## build the static program, dist/coco
	$(STATIC) --release
	@mkdir -p dist
	@install -m 0755 "$(CARGO_TARGET_DIR)/$(TARGET)/release/coco" dist/coco.new
	@! readelf -lW dist/coco.new | grep -q INTERP || { echo "dist/coco is not static" >&2; rm dist/coco.new; exit 1; }
	@test "$$(stat -c %s dist/coco.new)" -le $(MAX_SIZE) || { echo "dist/coco has more than $(MAX_SIZE) bytes" >&2; rm dist/coco.new; exit 1; }
	@mv dist/coco.new dist/coco
	@echo "dist/coco: static, $$(stat -c %s dist/coco) bytes"

install: build ## install dist/coco into PREFIX/bin
	install -D -m 0755 dist/coco "$(DESTDIR)$(PREFIX)/bin/coco"

STORE ?= store
sign: ## sign what changed in store/ (KEY=path of the secret key; STORE=directory for another one)
	@test -n "$(KEY)" || { echo "usage: make sign KEY=path [STORE=directory]" >&2; exit 2; }
	scripts/sign.sh "$(KEY)" "$(STORE)"

store-check: ## prove that files, signatures, comments and index of store/ agree
	touch store/index.json
	$(CARGO) build --locked
	$(CARGO) test --locked --lib store::
	$(CARGO) test --locked --test integration -- signing:: reading::

clean: ## remove what was built
	rm -rf dist "$(CARGO_TARGET_DIR)"

# --- trying and testing -----------------------------------------------------

export COCO_TEST_BINARY := $(CURDIR)/dist/coco
# What the tests make is for the rootless user as well, whatever the caller's umask.
REACHED := umask 022 && bash tests/support/machine.sh reach dist/coco &&

demo: ## set everything up in .demo and show a tool in its sandbox
	bash scripts/demo.sh

test: ## install what the tests need and run everything
	bash scripts/test.sh

CLEAN_ROOM ?=
clean-room: ## try the last commit on a bare Debian (as root; an hour or more; CLEAN_ROOM="demo install" for some parts)
	bash scripts/clean-room.sh $(CLEAN_ROOM)

clean-room-demo: ## that with the part `demo` alone: make demo, as root
	bash scripts/clean-room.sh demo

check: ## format, lints, and the lists of packages in the documents
	bash scripts/check-packages.sh
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

quick: ## the unit tests alone
	$(CARGO) test --locked --lib

unit: ## unit, golden, property and integration tests; no engine needed
	@echo "unit: building the tests, then running the library's, the integration tests and the laws"
	$(CARGO) test --locked --lib --test integration --test laws

e2e: build ## end to end on every engine of this machine
	$(REACHED) bash scripts/engine-tests.sh $(CARGO) e2e

attacks: build ## every attack, on every engine of this machine
	$(REACHED) bash scripts/attacks.sh $(CARGO)

bench: build ## speed, side by side, as ratios
	bash scripts/bench.sh
	bash scripts/bench-network.sh

store-test: ## install and run every tool of the store that can be had here (an hour or more; NAMES="ruff eslint" for some)
	nice bash scripts/store-test.sh $(NAMES)

FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?= client_hello second_hello http_stream dns_query control_message signature trusted_comment store_index
fuzz: ## fuzz what reads hostile bytes (FUZZ_SECONDS for each target)
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install cargo-fuzz --locked
	@for target in $(FUZZ_TARGETS); do \
		mkdir -p "$(CARGO_TARGET_DIR)/fuzz-corpus/$$target"; \
		RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$(CARGO_TARGET_DIR)/fuzz" $(CARGO) fuzz run $$target \
			"$(CARGO_TARGET_DIR)/fuzz-corpus/$$target" fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 || exit 1; \
	done

MUTANTS ?=
mutants: ## change what decides in one place at a time; a test must notice (MUTANTS="--re src/policy")
	@$(CARGO) mutants --version >/dev/null 2>&1 || $(CARGO) install cargo-mutants --locked
	bash scripts/mutants.sh $(MUTANTS)
