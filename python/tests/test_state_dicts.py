"""State dicts in memory, and snapshots of a loop."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import swa_tools
from swa_tools import _state_dicts
from safetensors.numpy import load_file


def test_arrays_average_as_their_files_do(here: Path, checkpoints: list[Path]) -> None:
    mean = swa_tools.average_state_dicts(load_file(path) for path in checkpoints)
    swa_tools.average(checkpoints, "a.safetensors")
    expected = load_file("a.safetensors")
    assert set(mean) == set(expected)
    for name, value in expected.items():
        numpy.testing.assert_array_equal(numpy.asarray(mean[name]), value)
        assert str(mean[name].dtype) == str(value.dtype)
    weighted = swa_tools.average_state_dicts([{"x": numpy.float32([0])}, {"x": numpy.float32([8])}], [3, 1])
    assert float(weighted["x"][0]) == 2.0


def test_equal_state_dicts_count_as_often_as_they_are_given() -> None:
    zero, eight = {"x": numpy.float32([0])}, {"x": numpy.float32([8])}
    mean = swa_tools.average_state_dicts([zero, zero, eight, zero])
    assert float(mean["x"][0]) == 2.0


def test_a_full_memory_folder_is_no_end(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = _state_dicts.save

    def full(path: Path, tensors: Any) -> None:
        if str(path).startswith(memory) or not room:
            path.write_bytes(b"a part")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(path, tensors)

    (here / "memory").mkdir()
    memory, room = str(here / "memory"), True
    monkeypatch.setattr(_state_dicts, "_memory", lambda: memory)
    monkeypatch.setattr(_state_dicts, "save", full)
    pair = [{"x": numpy.float32([0])}, {"x": numpy.float32([8])}]
    assert float(swa_tools.average_state_dicts(pair)["x"][0]) == 4.0
    room = False
    with pytest.raises(swa_tools.WriteError, match="TMPDIR"):
        swa_tools.average_state_dicts(pair)
    assert os.listdir(memory) == []


def test_files_are_in_the_order_of_their_epochs(here: Path) -> None:
    snapshots = swa_tools.Snapshots(here)
    for epoch in (10000, 9999, 5):
        snapshots.path(epoch).touch()
    (here / "epoch_last.pth").touch()
    assert snapshots.files() == [snapshots.path(epoch) for epoch in (5, 9999, 10000)]
    # Folders, as Hugging Face's callback leaves them.
    folders = swa_tools.Snapshots(here / "folders")
    folders.ending = ""
    for epoch in (10000, 5):
        folders.path(epoch).mkdir(parents=True)
    assert folders.files() == [folders.path(epoch) for epoch in (5, 10000)]
    assert [snapshots.first(epochs) for epochs in (6, 10, 20)] == [6, 9, 16]


def test_any_layout_of_an_array_counts() -> None:
    big = numpy.arange(12, dtype=">f8").reshape(3, 4).T[::2]
    mean = swa_tools.average_state_dicts([{"x": big}, {"x": big * 3}])
    numpy.testing.assert_array_equal(mean["x"], big * 2)
    empty = swa_tools.average_state_dicts([{"x": numpy.zeros((0, 3), "f4"), "n": numpy.int64(7)}] * 2)
    assert empty["x"].shape == (0, 3) and empty["n"] == 7


def test_what_is_wrong_is_named() -> None:
    one = {"x": numpy.ones(2, "f4"), "y": numpy.ones(2, "f4")}
    with pytest.raises(swa_tools.InputError) as shape:
        swa_tools.average_state_dicts([one, {**one, "y": numpy.ones(3, "f4")}])
    assert shape.value.kind == "mismatch" and "`y`" in str(shape.value)
    assert "state dict 1" in str(shape.value) and "/dev/shm" not in str(shape.value)
    with pytest.raises(swa_tools.InputError, match="'y' of state dict 1 is a str, no tensor"):
        swa_tools.average_state_dicts([one, {**one, "y": "text"}])
    with pytest.raises(swa_tools.UsageError, match="no state dicts"):
        swa_tools.average_state_dicts([])
    model: Any = [1]
    with pytest.raises(swa_tools.InputError, match=r"state dict 1 is a list.* give model.state_dict\(\)"):
        swa_tools.average_state_dicts([one, model])
    with pytest.raises(swa_tools.InputError, match="type complex128"):
        swa_tools.average_state_dicts([{"x": numpy.ones(1, "c16")}])
    with pytest.raises(swa_tools.UsageError, match="NumPy has no bf16"):
        swa_tools.average_state_dicts([one], dtype="bf16")


def test_what_was_just_written_stays(here: Path, torch: Any) -> None:
    """Beside the files of a longer run, which are newer by their numbers."""
    snapshots = swa_tools.Snapshots("run", start=1, keep=2)
    for epoch in (9, 10):
        snapshots.save({"w": torch.ones(1) * epoch}, epoch)
    path = snapshots.save({"w": torch.ones(1)}, 1)
    assert path is not None and path.exists() and len(snapshots.files()) == 2
    one = swa_tools.Snapshots("one", start=1, keep=1)
    for epoch in (3, 1, 2):
        path = one.save({"w": torch.ones(1)}, epoch)
        assert one.files() == [path]


def test_files_of_another_run_are_not_averaged(here: Path, torch: Any) -> None:
    def run(epochs: int, **options: Any) -> swa_tools.Snapshots:
        snapshots = swa_tools.Snapshots("run", **options)
        for epoch in range(1, epochs + 1):
            if snapshots.due(epoch, epochs):
                snapshots.save({"w": torch.ones(1) * epoch}, epoch)
        return snapshots

    run(8, start=0.5).average("swa.pth")
    # A shorter one in the same folder.
    with pytest.raises(swa_tools.UsageError, match="epoch_0007.pth` is of a longer run: this one ended with epoch 6"):
        run(6, start=0.5).average("swa.pth", force=True)
    # One that goes on where it was, and one that only averages what is there.
    assert (mean := run(8, start=4).average("swa.pth", force=True)) and len(mean.inputs) == 5
    assert swa_tools.Snapshots("run").average("swa.pth", force=True)


def test_due_counts_cycles() -> None:
    def due(epochs: int, **options: Any) -> list[int]:
        snapshots = swa_tools.Snapshots("x", **options)
        return [epoch for epoch in range(1, epochs + 1) if snapshots.due(epoch, epochs)]

    assert due(8) == [7, 8]
    assert due(10, start=0.5, every=2) == [6, 8, 10]
    assert due(10, start=7) == [7, 8, 9, 10]
    assert due(3, start=0) == [1, 2, 3]
    assert swa_tools.Snapshots("x", start=3).due(5)
    with pytest.raises(swa_tools.UsageError, match="share of all epochs: 0.75; say how many"):
        swa_tools.Snapshots("x").due(5)
    for options in ({"start": -1}, {"every": 0}, {"keep": 0}):
        with pytest.raises(swa_tools.UsageError):
            swa_tools.Snapshots("x", **options)  # type: ignore[arg-type]
    with pytest.raises(swa_tools.UsageError, match="no snapshots"):
        swa_tools.Snapshots("nowhere").average("x.pth")


def test_tensors_of_pytorch(here: Path, torch: Any) -> None:
    torch.manual_seed(1)
    dicts = []
    for step in range(4):
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5)).half()
        dicts.append({**model.state_dict(), "bf": torch.randn(3, 2).bfloat16().T, "n": torch.tensor(step)})
    mean = swa_tools.average_state_dicts(dicts)
    for name, value in mean.items():
        every = torch.stack([d[name].double() for d in dicts])
        expected = every.mean(0) if value.is_floating_point() else every[-1]
        assert value.dtype == dicts[0][name].dtype and value.shape == dicts[0][name].shape
        assert torch.equal(value, expected.to(value.dtype)), name
    with pytest.raises(swa_tools.InputError, match="'x' of state dict 1 is on the device `meta`"):
        swa_tools.average_state_dicts([{"x": torch.ones(1)}, {"x": torch.ones(1, device="meta")}])
    with pytest.raises(swa_tools.InputError) as differ:
        swa_tools.average_state_dicts([{"x": torch.ones(1)}, {"x": numpy.ones(1, "f4")}])
    assert (differ.value.kind, differ.value.tensor) == ("mismatch", "x")


def test_snapshots_of_a_loop(here: Path, torch: Any) -> None:
    model = torch.nn.Linear(3, 2)
    snapshots = swa_tools.Snapshots(here / "run", start=0.5, keep=3)
    kept = []
    for epoch in range(1, 11):
        torch.nn.init.normal_(model.weight)
        if snapshots.due(epoch, 10):
            snapshots.save(model, epoch)
            kept.append(model.weight.detach().clone())
    assert [path.name for path in snapshots.files()] == ["epoch_0008.pth", "epoch_0009.pth", "epoch_0010.pth"]
    assert len(list((here / "run").iterdir())) == 3
    report = snapshots.average("swa.pth")
    assert report is not None
    model.load_state_dict(report.load())
    expected = torch.stack(kept[-3:]).double().mean(0).float()
    assert torch.equal(model.weight.detach(), expected)


def test_views_of_other_values(here: Path, torch: Any) -> None:
    """Conjugate and negative views, as `imag` of a conjugate is: what counts is the value."""
    base = torch.complex(torch.arange(6.0), torch.arange(6.0) + 1)
    views = {"imaginary": base.conj().imag, "real": base.conj().real[::2], "conjugate": base.conj(), "bits": base.real > 2}
    assert views["imaginary"].is_neg() and views["conjugate"].is_conj()
    mean = swa_tools.average_state_dicts([views, views])
    for name, view in views.items():
        assert torch.equal(mean[name], view.resolve_conj().resolve_neg()), name


def test_a_distributed_tensor_is_refused(torch: Any) -> None:
    class Distributed(torch.Tensor):  # type: ignore[misc, name-defined]
        def full_tensor(self) -> None: ...

    one = torch.ones(2).as_subclass(Distributed)
    with pytest.raises(swa_tools.InputError, match=r"'x' of state dict 0 is distributed \(DTensor\): .*full_tensor"):
        swa_tools.average_state_dicts([{"x": one}])


def test_pytorch_without_numpy(here: Path, torch: Any) -> None:
    program = (
        "import sys, warnings; sys.modules['numpy'] = None; warnings.simplefilter('ignore'); import torch, swa_tools\n"
        "one = {'x': torch.arange(4.0), 'h': torch.ones(3).bfloat16(), 'n': torch.tensor(3), 'e': torch.ones(0, 2)}\n"
        "two = {name: tensor * 3 for name, tensor in one.items()}\n"
        "mean = swa_tools.average_state_dicts([one, two])\n"
        "assert mean['x'].tolist() == [0, 2, 4, 6] and mean['h'].tolist() == [2, 2, 2] and mean['n'] == 9\n"
        "torch.save(one, 'a.pth'); torch.save(two, 'b.pth')\n"
        "report = swa_tools.average(['a.pth', 'b.pth'], 'c.safetensors', threads=torch.tensor(2))\n"
        "assert report.load()['x'].tolist() == [0, 2, 4, 6] and report.load()['e'].shape == (0, 2)\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
