#!/bin/sh
# Tests of the Python package and of the wheel, in an environment of their own (target/python). The commands have been
# built. Tests of PyTorch's tensors run where the python3 on PATH (or PYTHON) has torch. Arguments are pytest's.
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
"$python" - "$env" <<'PYTHON'
import glob, importlib.util, os, sys

spec = importlib.util.find_spec("torch")
link = glob.glob(sys.argv[1] + "/lib/python3*/site-packages")[0] + "/torch_of_another.pth"
with open(link, "w") as file:
    if spec and spec.origin:
        file.write(os.path.dirname(os.path.dirname(spec.origin)) + "\n")
PYTHON

"$env/bin/python" python/wheel.py
"$env/bin/python" -m mypy
"$env/bin/basedpyright"
"$env/bin/python" -m pytest -q "$@"
