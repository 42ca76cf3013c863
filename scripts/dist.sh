#!/bin/sh
# Writes release archives of swa-avg into dist/, with their checksums: static, so that each runs on any Linux of its
# processor. Named as `cargo binstall` expects. TARGETS chooses; by default this machine's, and 64-bit Arm where Rust's
# library for it is installed, which brings its own C library; Rust's own linker does the rest.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
cargo=${CARGO:-cargo}
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
host=$(rustc -vV | sed -n 's/^host: //p')
arm=aarch64-unknown-linux-musl

has_library() { [ -d "$(rustc --print target-libdir --target "$1" 2>/dev/null)" ]; }
if [ -z "${TARGETS:-}" ]; then
    TARGETS=$host
    if [ "$host" = "$arm" ] || has_library "$arm"; then
        [ "$host" = "$arm" ] || TARGETS="$TARGETS $arm"
    else
        echo "dist: without $arm: rustup target add $arm" >&2
    fi
fi

mkdir -p dist
work=$(mktemp -d dist/.work.XXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# The same sources give the same bytes.
pack() {
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime='2020-01-01 00:00Z' -C "$work" -cf - "$1" |
        gzip -n9 >"$work/$1.tgz"
    mv "$work/$1.tgz" "dist/$1.tgz"
    echo "dist/$1.tgz"
}

for triple in $TARGETS; do
    has_library "$triple" || { echo "error: Rust has no library for $triple: rustup target add $triple" >&2; exit 1; }
    # Without --target for the host, so that nothing is compiled twice.
    folder=$target/release
    set --
    if [ "$triple" != "$host" ]; then
        folder=$target/$triple/release
        set -- --target "$triple"
    fi
    linker=
    [ "$triple" != "$arm" ] || [ "$host" = "$arm" ] || linker=-Clinker=rust-lld
    "$cargo" rustc --release --locked --package swa-tools --bin swa-avg "$@" -- \
        -Ctarget-feature=+crt-static -Cstrip=symbols $linker
    name=swa-tools-$triple-v$version
    mkdir -p "$work/$name/completions" "$work/$name/man"
    cp "$folder/swa-avg" README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$work/$name"
    # That of this machine speaks for all.
    [ "$triple" != "$host" ] || cp "$folder/swa-avg" "$work/swa-avg"
    [ -x "$work/swa-avg" ] || { echo "error: TARGETS begins with this machine's, $host" >&2; exit 1; }
    "$work/swa-avg" --generate man >"$work/$name/man/swa-avg.1"
    "$work/swa-avg" --generate bash >"$work/$name/completions/swa-avg.bash"
    "$work/swa-avg" --generate zsh >"$work/$name/completions/_swa-avg"
    "$work/swa-avg" --generate fish >"$work/$name/completions/swa-avg.fish"
    "$work/swa-avg" --generate powershell >"$work/$name/completions/_swa-avg.ps1"
    chmod -R u=rwX,go=rX "$work/$name"
    pack "$name"
done
(cd dist && sha256sum -- *.tgz *.whl 2>/dev/null >SHA256SUMS || sha256sum -- *.tgz >SHA256SUMS)
echo dist/SHA256SUMS
