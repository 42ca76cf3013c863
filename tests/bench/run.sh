#!/bin/sh
# `make bench`: the tables of docs/performance.md, each against its peer in the same run.
# PYTHON names a Python with torch, torchvision, safetensors and timm for what is compared with them.
set -eu
cd "$(dirname "$0")/../.."
export PYTHON="${PYTHON:-python3}"
measured=$(mktemp)
trap 'rm -f "$measured"' EXIT
${CARGO:-cargo} build --release --locked --example floor
python3 tests/bench/average.py "$@" >"$measured"
python3 tests/bench/document.py averaging <"$measured"
python3 tests/bench/running.py >"$measured"
python3 tests/bench/document.py running <"$measured"
if "$PYTHON" -c 'import torch, torchvision, safetensors' 2>/dev/null; then
    ${CARGO:-cargo} build --release --locked --workspace
    ${CARGO:-cargo} build --release --locked -p swa-data --example preprocess
    "$PYTHON" tests/bench/networks.py >"$measured"
    python3 tests/bench/document.py networks <"$measured"
    "$PYTHON" tests/bench/programs.py >"$measured"
    python3 tests/bench/document.py programs <"$measured"
    "$PYTHON" tests/bench/training.py >"$measured"
    python3 tests/bench/document.py training <"$measured"
    python3 tests/bench/landscape.py >"$measured"
    python3 tests/bench/document.py landscape <"$measured"
else
    echo "skipped: the comparison with PyTorch ($PYTHON has no torch, torchvision and safetensors; set PYTHON)"
fi
