#!/bin/sh
# `make bench`: the figures of docs/performance.md, each against its peer in the same run.
# PYTHON names a Python with torch, torchvision and safetensors for the second half.
set -eu
cd "$(dirname "$0")/../.."
${CARGO:-cargo} build --release --locked --example floor
python3 tests/bench/average.py "$@"
echo
python=${PYTHON:-python3}
if "$python" -c 'import torch, torchvision, safetensors' 2>/dev/null; then
    "$python" tests/bench/networks.py
else
    echo "skipped: the comparison with PyTorch ($python has no torch, torchvision and safetensors; set PYTHON)"
fi
