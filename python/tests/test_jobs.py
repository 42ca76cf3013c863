"""The functions do what the commands do."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy
import pytest
import swa_tools
from conftest import FASHION, printed, tool
from safetensors.numpy import load_file, save_file
from swa_tools import _run, reports


def same(report: Any, found: Any, path: str = "") -> None:
    """Every field of JSON is an attribute of the same value."""
    if isinstance(found, dict) and dataclasses.is_dataclass(report):
        names = {field.name.rstrip("_") for field in dataclasses.fields(report)}
        assert set(found) - {"schema"} <= names, path
        for name, value in found.items():
            if name != "schema":
                attribute = name if hasattr(report, name) else name + "_"
                same(getattr(report, attribute), value, f"{path}.{name}")
    elif isinstance(found, list):
        assert len(report) == len(found), path
        for index, (a, b) in enumerate(zip(report, found)):
            same(a, b, f"{path}[{index}]")
    elif "seconds" not in path and "pace" not in path:
        assert report == found, path


def test_an_average_is_that_of_the_command(here: Path, checkpoints: list[Path]) -> None:
    lines: list[swa_tools.Progress] = []
    report = swa_tools.average(checkpoints, "a.safetensors", start=152, every=32, progress=lines.append)
    first = (here / "a.safetensors").read_bytes()
    flags = ["--start=152", "--every=32", "-o", "a.safetensors", "--json", "--force"]
    same(report, printed(tool("swa-avg"), *checkpoints, *flags))
    assert (here / "a.safetensors").read_bytes() == first
    assert [Path(path).name[5:9] for path in report.inputs] == ["0152", "0184", "0216"]
    assert lines[-1].done == lines[-1].total == report.bytes_read
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.bytes = 3  # type: ignore[misc]


def test_options_reach_the_command(here: Path, checkpoints: list[Path]) -> None:
    report = swa_tools.average(
        str(FASHION / "ckpt_*.safetensors"),
        {"mean": "mean=1.safetensors", "ema:0.9": Path("ema.safetensors")},
        range=(224, 240),
        exclude="^fc",
        dtype="bf16",
    )
    assert [output.scheme for output in report.outputs] == ["mean", "ema:0.9"]
    assert len(report.inputs) == 3
    held = swa_tools.contents("ema.safetensors").checkpoints[0]
    assert not [t for t in held.tensors if t.name.startswith("fc")]
    assert {t.dtype for t in held.tensors} == {"BF16", "I64"}
    weighted = swa_tools.average(checkpoints[:2], "w=1.safetensors", weights=[1, numpy.float32(3)])
    assert weighted.coefficients == (0.25, 0.75) and Path("w=1.safetensors").exists()
    Path("weights").write_text("1\n3\n")
    weighted = swa_tools.average(checkpoints[:2], "w=1.safetensors", weights=Path("weights"), force=True)
    assert weighted.coefficients == (0.25, 0.75)
    planned = swa_tools.average(checkpoints, "plan.safetensors", dry_run=True, max_shard_size=None)
    assert not planned.written and not Path("plan.safetensors").exists()
    open_ended = [((None, 144), ["0136", "0144"]), ((232, None), ["0232", "0240"])]
    for ends, numbers in open_ended:
        taken = swa_tools.average(str(FASHION / "ckpt_*.safetensors"), "x.safetensors", range=ends, dry_run=True)
        assert [Path(path).name[5:9] for path in taken.inputs] == numbers


def test_a_path_is_never_a_flag(here: Path) -> None:
    save_file({"x": numpy.ones(3, "f4")}, "--force")
    assert swa_tools.average(["--force"], "--verify.safetensors").inputs == ("--force",)
    assert Path("--verify.safetensors").exists()


def test_a_state_goes_on(here: Path, checkpoints: list[Path]) -> None:
    swa_tools.accumulate(checkpoints[:4], "a.safetensors", "state")
    report = swa_tools.accumulate(checkpoints[3:], "a.safetensors", "state", force=True)
    assert len(report.added) == 10 and len(report.repeated) == 1
    assert swa_tools.state_contents("state").state == "state"
    whole = swa_tools.average(checkpoints, "b.safetensors")
    assert set(report.load()) == set(whole.load())
    assert (here / "a.safetensors").read_bytes() == (here / "b.safetensors").read_bytes()
    with pytest.raises(swa_tools.UsageError, match="state_contents"):
        swa_tools.contents("state")
    with pytest.raises(swa_tools.UsageError, match="no state"):
        swa_tools.state_contents("a.safetensors")


def test_a_run_is_followed(here: Path, checkpoints: list[Path]) -> None:
    updates: list[reports.FollowUpdate] = []
    run = here / "run"
    run.mkdir()
    left = checkpoints[:3]

    def updated(update: reports.FollowUpdate | None) -> None:
        # The next one comes only when the last update has been heard of.
        if update is not None:
            updates.append(update)
        if left:
            path = left.pop(0)
            (run / path.name).symlink_to(path)

    updated(None)
    done = swa_tools.follow("run/ckpt_*", "swa.safetensors", on_update=updated, until=3, idle=30, poll=0.05)
    assert [update.count for update in updates] == [1, 2, 3] and len(done.inputs) == 3


def test_recompute_and_evaluate(here: Path, checkpoints: list[Path]) -> None:
    swa_tools.average(checkpoints, "swa.safetensors")
    options: dict[str, Any] = {"preset": "fashion-mnist", "samples": 128}
    stages: list[str] = []
    updated = swa_tools.update_bn(
        "swa.safetensors", FASHION, "bn.safetensors", progress=lambda p: stages.append(p.unit), **options
    )
    assert len(updated.layers) == 7 and set(stages) == {"images"}
    evaluated = swa_tools.evaluate(["bn.safetensors", "swa.safetensors"], FASHION, samples=128, ensemble=True)
    found = printed(
        *[tool("swa-eval"), "bn.safetensors", "swa.safetensors", "--data", FASHION],
        *["--samples=128", "--ensemble", "--json"],
    )
    same(evaluated, found)
    assert evaluated.models[1].difference is not None and evaluated.ensemble is not None
    html = evaluated._repr_html_()
    assert "<th>top1</th>" in html and "bn.safetensors" in html
    compared = swa_tools.compare_stats(
        "swa.safetensors", FASHION, FASHION, bn_samples=64, last=checkpoints[-1], **options
    )
    assert [row.statistics for row in compared.statistics][:2] == ["averaged", "kept"]
    made = swa_tools.soup(checkpoints[:2], FASHION, "soup.safetensors", bn_data=FASHION, bn_samples=64, **options)
    assert made.trials[0].accepted and made.trials[0].with_ is None
    for shard in ("0/2", "1/2"):
        swa_tools.update_bn_part("swa.safetensors", FASHION, f"part{shard[0]}", shard, **options)
        swa_tools.evaluate_part("bn.safetensors", FASHION, f"out{shard[0]}", shard, samples=128)
    merged = swa_tools.merge_stats("swa.safetensors", ["part0", "part1"], "bn2.safetensors")
    assert merged.to_dict()["layers"] == updated.to_dict()["layers"]
    assert swa_tools.merge_outcomes(["out0", "out1"]).models[0].top1 == evaluated.models[0].top1


def test_a_network_is_trained_and_its_surroundings_drawn(here: Path, checkpoints: list[Path]) -> None:
    trained = swa_tools.train(
        *["run", FASHION],
        **{"epochs": 2, "lr": 0.05, "arch": "preresnet-8", "preset": "fashion-mnist", "width": 4, "threads": 2},
        **{"samples": 64, "hold_out": 64, "batch_size": 32, "swa_start": 1, "eval_every": 1},  # type: ignore[arg-type]
    )
    assert [line.epoch for line in trained.epochs] == [1, 2] and trained.snapshots == (1, 2)
    assert trained.epochs[1].swa is not None and trained.epochs[1].swa.snapshots == 2
    with pytest.raises(swa_tools.UsageError) as there:
        swa_tools.train("run", FASHION, epochs=2, lr=0.05, arch="preresnet-8", preset="fashion-mnist")
    assert "`resume`" in str(there.value)
    landscape = swa_tools.landscape
    drawn = landscape.curves("run", "curves.svg")
    assert (drawn.svg, drawn.runs) == ("curves.svg", ("run",)) and Path("curves.svg").exists()
    few: Any = {"preset": "fashion-mnist", "train_samples": 32, "test_samples": 32, "bn_samples": 32}
    plane = landscape.plane(checkpoints[:3], FASHION, project=checkpoints[3:5], grid=2, csv="plane.csv", **few)
    assert (plane.kind, len(plane.points), len(plane.models)) == ("plane", 4, 5)
    # Heading, models, points.
    assert len(Path("plane.csv").read_text().splitlines()) == 1 + 5 + 4
    line = landscape.line(checkpoints[:2], FASHION, points=3, output="line.json", **few)
    for shard in ("0/2", "1/2"):
        part = landscape.line_part(checkpoints[:2], FASHION, f"part{shard[0]}", shard, points=3, **few)
        assert part.shard == shard
    merged = landscape.merge(["part0", "part1"])
    assert merged.points == line.points == landscape.draw("line.json", svg="line.svg").points
    assert Path("line.svg").exists() and line.to_pandas("points").shape[0] == 3
    rays = landscape.rays(checkpoints[0], FASHION, rays=1, steps=2, to=1.0, units="norm", **few)
    assert (rays.kind, rays.units, len(rays.points)) == ("rays", "norm", 2)
    with pytest.raises(swa_tools.UsageError, match="parts is empty|name one"):
        swa_tools.merge_outcomes([])


def test_swag_is_drawn(here: Path, checkpoints: list[Path]) -> None:
    swa_tools.average(checkpoints, "swag.safetensors", scheme="swag:5")
    drawn = swa_tools.sample_swag(
        "swag.safetensors", FASHION, 2, bn_data=FASHION, bn_samples=64, samples=64, preset="fashion-mnist"
    )
    assert len(drawn.draws) == 2 and drawn.main_table == "models"


def test_errors_are_exceptions_by_kind(here: Path, checkpoints: list[Path]) -> None:
    Path("there.safetensors").write_bytes(b"x")
    with pytest.raises(swa_tools.UsageError) as usage:
        swa_tools.average(checkpoints, "there.safetensors")
    assert (usage.value.kind, usage.value.exit_code) == ("output-exists", 2)
    assert usage.value.file == "there.safetensors" and "`force`" in str(usage.value.remedy)
    assert isinstance(usage.value, ValueError)
    with pytest.raises(swa_tools.InputError) as wrong:
        swa_tools.average([checkpoints[0], "there.safetensors"], "b.safetensors")
    assert wrong.value.exit_code == 3 and wrong.value.file == "there.safetensors"
    again = pickle.loads(pickle.dumps(wrong.value))
    assert (type(again), str(again), again.file) == (swa_tools.InputError, str(wrong.value), wrong.value.file)
    save_file({"x": numpy.array([1, numpy.nan], "f4")}, "nan.safetensors")
    with pytest.raises(swa_tools.InputError) as nan:
        swa_tools.average(["nan.safetensors", "nan.safetensors"], "c.safetensors")
    assert (nan.value.kind, nan.value.tensor) == ("not-finite", "x")
    with pytest.raises(swa_tools.WriteError) as write:
        swa_tools.average(checkpoints, "/proc/none.safetensors")
    assert isinstance(write.value, OSError) and write.value.exit_code == 4
    with pytest.raises(swa_tools.UsageError, match="no-such"):
        swa_tools.average(checkpoints, "d.safetensors", scheme="no-such")
    with pytest.raises(swa_tools.UsageError) as device:
        swa_tools.evaluate(checkpoints[0], FASHION, device="cuda:7", preset="fashion-mnist", samples=1)
    assert device.value.kind == "no-device"


def test_a_command_that_a_signal_ends_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = here / "bin"
    fake.mkdir()
    (fake / "swa-avg").write_text("#!/bin/sh\necho half >&2\nkill -9 $$\n")
    (fake / "swa-avg").chmod(0o755)
    monkeypatch.setenv("SWA_TOOLS_BIN", str(fake))
    with pytest.raises(swa_tools.SwaError, match="signal 9: half") as error:
        swa_tools.verify("x")
    assert (error.value.kind, error.value.exit_code) == ("killed", -9)
    monkeypatch.setenv("SWA_TOOLS_BIN", str(here))
    with pytest.raises(swa_tools.UsageError, match="which has no swa-avg"):
        swa_tools.verify("x")


def large(folder: Path) -> list[str]:
    """Two checkpoints that take a while."""
    values = numpy.zeros(8 << 20, "f4")
    for name in ("a", "b"):
        save_file({f"x{i}": values for i in range(4)}, str(folder / f"{name}.safetensors"))
    return ["a.safetensors", "b.safetensors"]


@pytest.mark.parametrize("of_shell", [signal.SIG_DFL, signal.SIG_IGN])
def test_an_interrupted_average_leaves_nothing(here: Path, of_shell: signal.Handlers) -> None:
    """Also below a shell's background, where Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, of_shell)
    try:
        interrupted(here)
    finally:
        signal.signal(signal.SIGINT, before)


def interrupted(here: Path) -> None:
    inputs = large(here)
    seen: list[set[str]] = []

    def stop(progress: swa_tools.Progress) -> None:
        # While it writes, its file has a temporary name.
        for _ in range(1000):
            if len(files := set(os.listdir(here))) > 2:
                seen.append(files)
                raise KeyboardInterrupt
            time.sleep(0.001)

    with pytest.raises(KeyboardInterrupt):
        swa_tools.average(inputs, "mean.safetensors", progress=stop)
    assert seen and "mean.safetensors" not in seen[0]
    assert sorted(os.listdir(here)) == inputs


def test_ctrl_c_in_a_program_ends_the_command(here: Path) -> None:
    """As from a notebook: the signal reaches Python alone."""
    program = "import swa_tools; print('go', flush=True); swa_tools.follow('run*', 'x.safetensors')"
    path = os.pathsep.join(sys.path)
    python = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert python.stdout is not None and python.stdout.readline() == "go\n"
    child = child_of(python.pid)
    python.send_signal(signal.SIGINT)
    _, error = python.communicate(timeout=30)
    assert error.rstrip().endswith("KeyboardInterrupt")
    assert ends(child)
    assert os.listdir(here) == []


def test_a_command_ends_with_its_program(here: Path) -> None:
    """However that ends: a follower would run on for ever."""
    for ended in (signal.SIGTERM, signal.SIGKILL):
        program = "import swa_tools; print('go', flush=True); swa_tools.follow('run*', 'x.safetensors', state='s')"
        python = subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert python.stdout is not None and python.stdout.readline() == "go\n"
        child = child_of(python.pid)
        python.send_signal(ended)
        assert python.wait(timeout=30) == -ended
        python.stdout.close()
        assert ends(child), "it runs on"


def ends(pid: str) -> bool:
    """Whether a process ends soon, on a busy machine too; else it is killed."""
    until = time.monotonic() + 30
    while runs(pid):
        if time.monotonic() > until:
            os.kill(int(pid), signal.SIGKILL)
            return False
        time.sleep(0.01)
    return True


def runs(pid: str) -> bool:
    """Whether a process is there, and not only waits for its parent's attention."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def child_of(pid: int) -> str:
    """The command that a program runs, once it has begun."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    while not (child := children.read_text().split()):
        time.sleep(0.01)
    # Its name is that of Python until it has become the command; it begins by watching its parent, and opens files later.
    while "swa-avg" not in Path(f"/proc/{child[0]}/cmdline").read_text():
        time.sleep(0.01)
    while len(os.listdir(f"/proc/{child[0]}/task")) < 2:
        time.sleep(0.01)
    return child[0]


def test_tables_become_frames(monkeypatch: pytest.MonkeyPatch, here: Path, checkpoints: list[Path]) -> None:
    report = swa_tools.average(checkpoints, {"mean": "a.pth", "ema:0.9": "b.pth"}, dry_run=True)
    with pytest.raises(swa_tools.UsageError, match="'nothing' is no table of this report; one of .'outputs'."):
        report.to_pandas("nothing")
    frame = report.to_pandas()
    assert list(frame.scheme) == ["mean", "ema:0.9"] and frame.shape[0] == 2
    assert set(frame.columns) == {field.name for field in dataclasses.fields(reports.Output)}
    assert report.to_pandas("outputs").equals(frame)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(swa_tools.UsageError, match="pandas is not installed; pip install pandas"):
        report.to_pandas()


def test_a_bar_of_tqdm(
    here: Path, checkpoints: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    swa_tools.average(checkpoints, "a.safetensors", progress=True)
    shown = capsys.readouterr().err
    assert "100%" in shown and "B/s" in shown, shown
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(swa_tools.UsageError, match="tqdm, which is not installed; pip install tqdm"):
        swa_tools.average(checkpoints, "b.safetensors", progress=True)
    assert not Path("b.safetensors").exists()


def test_values_of_numpy_are_options(here: Path, checkpoints: list[Path]) -> None:
    report = swa_tools.average(
        checkpoints,
        "a.safetensors",
        start=numpy.int64(136),
        every=numpy.uint8(24),
        range=numpy.array([136, 192]),
        dry_run=numpy.bool_(True),
        force=numpy.False_,
        threads=numpy.array(2),
    )
    assert not report.written and len(report.inputs) == 3
    weights = numpy.array([1, 3], "f4")
    assert swa_tools.average(checkpoints[:2], "w.safetensors", weights=weights).coefficients == (0.25, 0.75)
    with pytest.raises(swa_tools.UsageError, match="weights is empty"):
        swa_tools.average(checkpoints[:2], "x.safetensors", weights=[])
    with pytest.raises(swa_tools.UsageError, match="range has 3 numbers"):
        swa_tools.average(checkpoints, "x.safetensors", range=(1, 2, 3))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="neither a path nor a number"):
        swa_tools.average(checkpoints, "x.safetensors", start=object())  # type: ignore[arg-type]


def test_options_in_messages_are_those_of_python(here: Path, checkpoints: list[Path]) -> None:
    """Whatever the files are called."""
    folder = here / "swa-avg --force" / "--like"
    folder.mkdir(parents=True)
    (folder / "swa-1.safetensors").write_bytes(b"x")
    with pytest.raises(swa_tools.UsageError) as there:
        swa_tools.average(checkpoints, folder / "swa-1.safetensors")
    path = f"`{folder}/swa-1.safetensors`"
    assert str(there.value).startswith(path) and str(there.value).endswith("; `force` overwrites it, or name another file")
    assert str(there.value).count("overwrites") == 1
    assert there.value.remedy == "`force` overwrites it, or name another file"


def test_long_lines_are_read_in_time() -> None:
    lines: list[str] = []
    program = "import sys; [sys.stdout.write('x' * (1 << 20)) for _ in range(64)]; sys.stdout.write('\\nend')"
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    begun = time.process_time()
    _run._read(child, lines.append, lines.append)
    assert child.wait() == 0
    for pipe in (child.stdout, child.stderr):
        assert pipe is not None
        pipe.close()
    assert [len(line) for line in lines] == [64 << 20, 3]
    # Searched from its beginning at each piece, it takes more than ten.
    assert time.process_time() - begun < 3


def test_a_field_that_a_report_lacks() -> None:
    with pytest.raises(KeyError, match="threshold"):
        reports.Valley.of({"start": "1", "end": "2", "level": None})
    counts = {"averaged": 1, "copied": 0}
    output: dict[str, Any] = {"output": "a", "scheme": "mean", "coefficients": [1.0, None], "counting": 1}
    found = reports.Output.of({**output, "tensors": counts, "nonfinite": [], "bytes": 3, "fit": None})
    assert found.tensors == reports.TensorCounts(1, 0) and found.fit is None and found.next is None
    assert found.coefficients[0] == 1.0 and numpy.isnan(found.coefficients[1])
    assert numpy.isnan(reports.Fit.of({"condition": None, "misfit": 1.0}).condition)


def test_loading_needs_arrays_of_some_kind(
    here: Path, checkpoints: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    averaged = swa_tools.average(checkpoints, "a.safetensors")
    monkeypatch.setattr("swa_tools._state_dicts.optional", lambda name: None)
    with pytest.raises(swa_tools.UsageError, match=r"`a.safetensors` needs torch or NumPy .*install one"):
        averaged.load()


def test_what_is_no_scheme_is_no_part_of_a_path(here: Path, checkpoints: list[Path]) -> None:
    schemes: Any = ("ema-0.5", "uniform", "", "window:2=", None)
    for scheme in schemes:
        with pytest.raises(swa_tools.UsageError, match="is no scheme"):
            swa_tools.average(checkpoints, {scheme: "a.safetensors"})
    with pytest.raises(TypeError, match="are bytes"):
        swa_tools.average(b"run", "a.safetensors")  # type: ignore[arg-type]  # pyright: ignore


def test_a_loaded_output_is_what_is_in_it(here: Path, checkpoints: list[Path]) -> None:
    loaded = swa_tools.average(checkpoints, "a.safetensors").load()
    expected = load_file("a.safetensors")
    assert set(loaded) == set(expected)
    # The form is in the bytes, not in the name.
    assert set(swa_tools.average(checkpoints, "without-ending").load()) == set(expected)
    for name, value in expected.items():
        numpy.testing.assert_array_equal(numpy.asarray(loaded[name]), value)
