#!/bin/sh
# Puts libtorch where .cargo/config.toml looks for it (target/libtorch/torch). In this order:
#   1. the folder LIBTORCH names, if it is set;
#   2. the PyTorch of the python3 on PATH, if it has the right version;
#   3. the CPU part of the torch wheel, fetched with pip (544 MB, of which 499 MB are kept).
# The first two are linked, not copied. Running it again does nothing.
set -eu

want=2.11
wheel=2.11.0
root=$(cd "$(dirname "$0")/.." && pwd)
home=$root/target/libtorch

say() { printf 'setup: %s\n' "$*"; }
die() {
    printf 'setup: error: %s\n' "$*" >&2
    exit 1
}

# version FOLDER: the libtorch version its own header states, or nothing.
version() {
    for header in torch/headeronly/version.h torch/csrc/api/include/torch/version.h; do
        if [ -f "$1/include/$header" ]; then
            found=$(tr -d '\\\n' <"$1/include/$header" |
                sed -n 's/.*#define TORCH_VERSION  *"\([^"]*\)".*/\1/p')
            [ -n "$found" ] && echo "$found" && return
        fi
    done
}

# wanted VERSION
wanted() {
    case "$1" in "$want" | "$want".*) true ;; *) false ;; esac
}

# link FOLDER: make it the one in use.
link() {
    folder=$(cd "$1" && pwd -P)
    if [ "$(readlink "$home/torch" 2>/dev/null)" != "$folder" ]; then
        mkdir -p "$home"
        rm -rf "$home/torch" "$home/nvidia"
        ln -s "$folder" "$home/torch"
    fi
    say "libtorch $(version "$folder") in $folder"
    exit 0
}

if [ -n "${LIBTORCH:-}" ] && [ "$LIBTORCH" != "$home/torch" ]; then
    [ -d "$LIBTORCH" ] || die "LIBTORCH is $LIBTORCH, which is not a folder"
    found=$(version "$LIBTORCH")
    [ -n "$found" ] || die "LIBTORCH is $LIBTORCH, which holds no libtorch (no include/torch with a version.h)"
    wanted "$found" || die "LIBTORCH is $LIBTORCH, which holds libtorch $found; $want is needed. Unset LIBTORCH to fetch it, or name another folder"
    link "$LIBTORCH"
fi

if wanted "$(version "$home/torch")" && [ -e "$home/torch/lib/libtorch_cpu.so" ]; then
    say "libtorch $(version "$home/torch") is in place"
    exit 0
fi

command -v python3 >/dev/null || die "python3 is not on PATH: install it (with pip), or set LIBTORCH to a folder with libtorch $want"

theirs=$(python3 -c '
import importlib.util
spec = importlib.util.find_spec("torch")
print(next(iter(spec.submodule_search_locations or []), "") if spec else "")' 2>/dev/null) || theirs=
if [ -n "$theirs" ]; then
    found=$(version "$theirs")
    wanted "$found" && link "$theirs"
    say "python3 has PyTorch ${found:-of an unknown version} in $theirs; $want is needed, so the CPU libraries of $wheel are fetched"
fi

[ "$(uname -s) $(uname -m)" = "Linux x86_64" ] ||
    die "no libtorch $want found, and only Linux on x86-64 has one to fetch: install PyTorch $want for python3, or set LIBTORCH"
python3 -m pip --version >/dev/null 2>&1 ||
    die "python3 has no pip to fetch libtorch with: install it (Debian: apt-get install python3-pip), or set LIBTORCH to a folder with libtorch $want"

say "fetching libtorch $wheel for the CPU (544 MB, once)"
mkdir -p "$home"
wheels=$(mktemp -d "$home/wheels.XXXXXX")
trap 'rm -rf "$wheels"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m pip download --no-deps --only-binary=:all: --dest "$wheels" \
    "torch==$wheel" 'nvidia-cuda-cupti==13.0.*' 'nvidia-cuda-runtime==13.0.*' ||
    die "pip could not fetch torch $wheel (its message stands above). Without a network, set LIBTORCH to a folder with libtorch $want, or install PyTorch $want for python3"

say "unpacking"
rm -rf "$home/torch" "$home/nvidia" "$wheels/out"
# libtorch_cpu.so finds the two nvidia libraries by its own RPATH, relative to itself.
python3 - "$wheels" <<'PYTHON'
import sys, zipfile
from pathlib import Path

wheels = Path(sys.argv[1])
keep = {"torch/lib/" + n for n in ("libtorch_cpu.so", "libtorch.so", "libc10.so", "libgomp.so.1")}
keep |= {"nvidia/cu13/lib/" + n for n in ("libcupti.so.13", "libcudart.so.13")}
for wheel in wheels.glob("*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name in keep or name.startswith("torch/include/"):
                archive.extract(name, wheels / "out")
                keep.discard(name)
if keep:
    sys.exit("setup: error: the wheels lack " + ", ".join(sorted(keep)))
PYTHON
mv "$wheels/out/nvidia" "$home/nvidia"
mv "$wheels/out/torch" "$home/torch" # last: its presence means that the set-up is whole
say "libtorch $(version "$home/torch") in $home/torch"
