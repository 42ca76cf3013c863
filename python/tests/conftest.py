"""What the tests share: the commands that were built, and checkpoints."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

# Shells start what runs in the background with Ctrl-C ignored, and everything below it inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
FASHION = ROOT / "fixtures/fashion-mnist"

os.environ.setdefault("SWA_TOOLS_BIN", str(TARGET / "release"))


def tool(name: str) -> str:
    return os.path.join(os.environ["SWA_TOOLS_BIN"], name)


def tools() -> list[str]:
    import sys

    sys.path.insert(0, str(ROOT / "python"))
    import wheel

    return list(wheel.tools())


def printed(*command: Any) -> Any:
    """The object that a command prints."""
    done = subprocess.run([str(word) for word in command], capture_output=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture
def torch() -> Any:
    """PyTorch. run.sh says whether the Python that the tests were started with has it; else they are skipped."""
    if os.environ.get("SWA_TESTS_TORCH"):
        return importlib.import_module("torch")
    return pytest.importorskip("torch")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def checkpoints() -> list[Path]:
    found = sorted(FASHION.glob("ckpt_*.safetensors"))
    assert len(found) == 14
    return found
