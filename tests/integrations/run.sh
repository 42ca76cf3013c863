#!/bin/sh
# Runs docs/integrations.md with the libraries: a virtual environment of pinned versions, once, then pytest with the arguments given.
# The PyTorch of $PYTHON (or python3) is used if it has one, else it is downloaded with the rest. The commands come from
# $SWA_TOOLS_BIN, or target/release.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/tests/integrations
venv=$root/target/integrations/venv
python=${PYTHON:-python3}
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
    if torch=$("$python" -c 'import os, torch, torchvision; print(os.path.dirname(os.path.dirname(torch.__file__)))' 2>/dev/null); then
        site=$("$venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')
        echo "$torch" >"$site/torch.pth"
    else
        "$venv/bin/python" -m pip install --quiet torch==2.11.0 torchvision==0.26.0
    fi
    "$venv/bin/python" -m pip install --quiet --no-deps -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$venv"
fi
cd "$here"
exec "$venv/bin/python" -m pytest -q -p no:cacheprovider --disable-warnings "$@"
