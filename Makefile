# The two commands: `make demo` shows the tools at work, `make test` checks everything.
# `make wheel` makes what pip installs, `make bench` measures, `make install` puts the commands on PATH.

CARGO ?= cargo
# One profile everywhere: the C++ bindings take minutes to compile, once.
ALL := --release --locked --workspace

.PHONY: all setup build demo test test-light test-python test-integrations test-long test-scale test-arm check-macos fuzz lint wheel wheel-programs dist bench install

all: build

# libtorch for the package swa-torch: your own PyTorch 2.11 if there is one, else fetched.
setup:
	@sh scripts/setup-libtorch.sh

# All commands. The averaging alone: cargo build --release.
build: setup
	$(CARGO) build $(ALL)

demo: build
	@sh fixtures/demo.sh

lint: setup
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --no-default-features -- -D warnings
	$(CARGO) clippy $(ALL) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(ALL) --no-deps

# The averaging alone: no libtorch, no Python, no C++ compiler.
test-light:
	$(CARGO) test --release --locked

test: lint
	$(CARGO) test $(ALL)
	sh python/tests/run.sh

# The Python package and the wheel, of commands that have been built. Needs Python 3.11 and, the first time, PyPI.
test-python: wheel-programs build
	sh python/tests/run.sh

# dist/swa_tools-*.whl: all commands and the Python package. Needs Python 3.11.
wheel: wheel-programs
	python3 python/wheel.py

wheel-programs: setup
	$(CARGO) build $(ALL) --examples

# dist/*.tgz: static swa-avg for this processor, and for 64-bit Arm where Rust's library for it is installed.
dist:
	sh scripts/dist.sh

# Every system call killed or failing, power cuts, full disks, inputs that shrink: minutes, as root, with strace.
# SWA_SWEEP_KILLS, SWA_SWEEP_FAULTS, SWA_SWEEP_CUTS and SWA_SWEEP_TRUNCATIONS say how many (tests/sweeps.rs), of the data
# commands SWA_SWEEP_DATA_KILLS and SWA_SWEEP_DATA_FAULTS.
test-long:
	SWA_TESTS_LONG=1 SWA_TESTS_MUST_RUN=1 $(CARGO) test $(ALL) \
	--test system --test running_faults --test follow --test sweeps -- --nocapture

# The averaging and the pixels for macOS on arm64: compiled as far as that goes without a linker, not run.
check-macos:
	rustup target add aarch64-apple-darwin
	$(CARGO) check --release --locked --target aarch64-apple-darwin -p swa-tools -p swa-data

# The scripts of docs/scale.md on a real Slurm, GNU parallel and Ray: as root, minutes.
test-scale: build
	CARGO=$(CARGO) sh scripts/test-scale.sh

# Every layout that is read, each for so many seconds; needs nightly and cargo-fuzz. See docs/formats.md.
SECONDS ?= 600
fuzz:
	sh fuzz/run.sh $(SECONDS)

# docs/integrations.md with the trainers themselves: gigabytes of Python packages, the first time.
test-integrations: build
	sh tests/integrations/run.sh

# The averaging's arithmetic on 64-bit Arm, emulated: Debian's qemu-user and gcc-aarch64-linux-gnu.
test-arm:
	rustup target add aarch64-unknown-linux-gnu
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER='qemu-aarch64 -L /usr/aarch64-linux-gnu' \
	$(CARGO) test --release --locked --target aarch64-unknown-linux-gnu --lib average

bench: build
	sh tests/bench/run.sh

install: setup
	$(CARGO) install --path . --locked
	$(CARGO) install --path crates/torch --locked
