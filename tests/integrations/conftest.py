"""Each test runs in a folder of its own, with images in data/train and data/val."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Iterator

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "python"))
os.environ.setdefault("SWA_TOOLS_BIN", str(Path(__file__).parents[2] / "target" / "release"))
sys.dont_write_bytecode = True

import common  # noqa: E402

Images = tuple[Tensor, Tensor]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "data"
    common.write_images(folder / "train", 24, 0)
    common.write_images(folder / "val", 16, 1)
    return folder


@pytest.fixture(scope="session")
def images(data: Path) -> Images:
    return common.read_images(data / "train")


@pytest.fixture(scope="session")
def held_out(data: Path) -> Images:
    return common.read_images(data / "val")


@pytest.fixture(autouse=True)
def scene(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "data").symlink_to(data)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    yield tmp_path
