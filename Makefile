# The two commands: `make demo` shows the tools at work, `make test` checks everything.
# `make bench` measures, `make install` puts the three tools on PATH.

CARGO ?= cargo
# One profile everywhere: the C++ bindings take minutes to compile, once.
TORCH := --release --features torch

.PHONY: all setup build demo test test-light test-long test-arm fuzz lint bench install

all: build

# libtorch for the feature `torch`: your own PyTorch 2.11 if there is one, else fetched.
setup:
	@sh .cargo/setup-libtorch.sh

# swa-avg is built without the feature, so that it does not load libtorch (2 ms to start, not 200).
build: setup
	$(CARGO) build $(TORCH) --locked
	$(CARGO) build --release --locked --bin swa-avg

demo: build
	@sh fixtures/demo.sh

lint: setup
	$(CARGO) fmt --check
	$(CARGO) clippy --release --locked --all-targets -- -D warnings
	$(CARGO) clippy --release --locked --all-targets --features data -- -D warnings
	$(CARGO) clippy --release --locked --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --locked --no-deps --all-features

# The averaging alone: no libtorch, no Python, no C++ compiler.
test-light:
	@if $(CARGO) tree --locked -e normal,build --prefix none | grep -E '^(tch|torch-sys|cc|cmake|bindgen|pyo3|libloading) '; \
	then echo 'error: the default build must need neither libtorch nor C++'; exit 1; fi
	$(CARGO) test --release --locked

test: lint test-light
	$(CARGO) test $(TORCH) --locked

# Every system call killed, power cuts, full disks: minutes, as root, with strace.
test-long:
	SWA_TESTS_LONG=1 SWA_TESTS_MUST_RUN=1 $(CARGO) test --release --locked --test system -- --nocapture

# Every layout that is read, each for so many seconds; needs nightly and cargo-fuzz. See docs/formats.md.
SECONDS ?= 600
fuzz:
	sh fuzz/run.sh $(SECONDS)

# The averaging's arithmetic on 64-bit Arm, emulated: Debian's qemu-user and gcc-aarch64-linux-gnu.
test-arm:
	rustup target add aarch64-unknown-linux-gnu
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER='qemu-aarch64 -L /usr/aarch64-linux-gnu' \
	$(CARGO) test --release --locked --target aarch64-unknown-linux-gnu --lib average

bench: build
	sh tests/bench/run.sh

install: setup
	$(CARGO) install --path . --locked --features torch --bin swa-bn-update --bin swa-eval
	$(CARGO) install --path . --locked --bin swa-avg
