#!/bin/sh
# Tests of the Python package and of the wheel, in an environment of their own (target/python). The commands have been
# built. Arguments are pytest's. What PyTorch's tensors and models are tested with is the torch of the python3 on PATH (or
# PYTHON): where it has none, as in CI, those tests are skipped, and this says so.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
target=${CARGO_TARGET_DIR:-$root/target}
python=${PYTHON:-python3}
env=$target/python

skip() {
    [ -z "${SWA_TESTS_MUST_RUN:-}" ] || { echo "error: the Python tests need $1" >&2; exit 1; }
    echo "skipped: the Python tests need $1" >&2
    exit 0
}

"$python" -c 'import tomllib, venv' 2>/dev/null || skip "Python 3.11 or later, with venv"
if ! cmp -s python/tests/requirements.txt "$env/requirements.txt"; then
    rm -rf "$env"
    "$python" -m venv "$env" || skip "a Python that makes environments (Debian: python3-venv)"
    "$env/bin/python" -m pip install --quiet --disable-pip-version-check -r python/tests/requirements.txt ||
        skip "the packages in python/tests/requirements.txt"
    cp python/tests/requirements.txt "$env/requirements.txt"
fi
packages=$("$env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
if torch=$("$python" -c 'import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))' 2>/dev/null); then
    echo "$torch" >"$packages/torch_of_another.pth"
    SWA_TESTS_TORCH=1
    export SWA_TESTS_TORCH
else
    : >"$packages/torch_of_another.pth"
    unset SWA_TESTS_TORCH
    echo "skipped: tests of PyTorch's tensors and of a loop in plain PyTorch need a python3 with torch (or PYTHON)" >&2
fi

"$env/bin/python" python/wheel.py
"$env/bin/python" -m mypy
"$env/bin/basedpyright"
"$env/bin/python" -m pytest -q -rs "$@"
