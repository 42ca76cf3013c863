#!/usr/bin/env python3
"""Times swa-avg in turn with the machine's floor (tests/bench/floor.rs), with `cat` of the inputs and `cp` of one, and
where PYTHON names a Python that has torch, with the same mean in torch and in timm (tests/bench/peers.py).

    python3 tests/bench/average.py [--pairs 15] [--dir FOLDER] [--disk FOLDER]

Needs the standard library only. Page cache warm, output beside the inputs. Prints Markdown; draws docs/averaging.svg.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import checkpoints
import curve

ROOT = Path(__file__).parents[2]
SWA_AVG = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/swa-avg"
FLOOR = SWA_AVG.with_name("examples") / "floor"
PEERS = Path(__file__).with_name("peers.py")
OUTPUTS = ("swa", "floor", "copy", "peer")
OURS = "`swa-avg ckpt_* -o swa`"


def commands():
    """Each a list of processes, whose times are added up."""
    return {
        OURS: [f"{SWA_AVG} ckpt_* -qo swa --force"],
        "floor: two threads that read all and write one": [f"{FLOOR} ckpt_* floor"],
        "`cat ckpt_* >/dev/null`, then `cp ckpt_0000 copy`": ["cat ckpt_* >/dev/null", "cp ckpt_0000.safetensors copy"],
    }


def ready(folder, old):
    """Removes the outputs, or leaves them to be written over. Then takes as much memory as an output needs and gives it
    back: hypervisors collect free memory after seconds, and who asks for it first waits."""
    for name in OUTPUTS:
        if not old:
            (folder / name).unlink(missing_ok=True)
    for path in folder.glob("out_*"):
        path.unlink()
    size = next(folder.glob("ckpt_*")).stat().st_size
    with open(folder / "warm", "wb", buffering=0) as file:
        for _ in range(0, size, 1 << 20):
            file.write(bytes(1 << 20))
    (folder / "warm").unlink()


def seconds(processes, folder, old=False):
    total = 0
    for line in processes:
        ready(folder, old)
        started = time.perf_counter()
        subprocess.run(["sh", "-c", line], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        total += time.perf_counter() - started
    return total


def peak(line, folder, **options):
    """Peak anonymous memory of one more run, in MiB, and its seconds: watching takes time of its own."""
    process = subprocess.Popen(["sh", "-c", f"exec {line}"], cwd=folder, stdout=subprocess.DEVNULL, **options)
    most, started = 0, time.perf_counter()
    while process.poll() is None:
        try:
            for entry in open(f"/proc/{process.pid}/status"):
                if entry.startswith("RssAnon"):
                    most = max(most, int(entry.split()[1]))
        except (FileNotFoundError, ProcessLookupError):
            pass
        time.sleep(0.002)
    assert process.returncode == 0, line
    return most / 1024, time.perf_counter() - started


def in_turn(lines, folder, rounds, old=False):
    """Seconds of each, round by round, each the first in its turn; the first round warms up."""
    times, names = {name: [] for name in lines}, list(lines)
    for i in range(rounds + 1):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            took = seconds(lines[name], folder, old)
            if i:
                times[name].append(took)
    return times


def fill(folder, left):
    """Takes a small machine's free memory but for so many bytes, so that all commands use the same again and again."""
    free = next(int(line.split()[1]) << 10 for line in open("/proc/meminfo") if line.startswith("MemFree"))
    room = shutil.disk_usage(folder).free  # the folder may be on disk
    with open(folder / "filling", "wb", buffering=0) as file:
        for _ in range(left, min(free, room) if free < 64 << 30 else 0, 1 << 20):
            file.write(bytes(1 << 20))


def spread(values, form="{:.3f}"):
    low, middle, high = (form.format(f(values)) for f in (min, statistics.median, max))
    return f"{middle} ({low}–{high})"


def compare(title, folder, pairs, peers):
    sizes = [path.stat().st_size for path in folder.iterdir()]
    fill(folder, 3 * max(sizes) + (1 << 30))
    size, lines = sum(sizes), commands()
    fresh, over = (in_turn(lines, folder, pairs, old) for old in (False, True))
    memory = {name: peak(processes[-1], folder)[0] for name, processes in lines.items()}
    if peers:
        lines |= {name: [line] for name, line in peers.items()}
        for name, took in in_turn({OURS: lines[OURS]} | {name: lines[name] for name in peers}, folder, 3).items():
            fresh[name if name != OURS else "with peers"] = took
        memory |= {name: peak(line, folder)[0] for name, line in peers.items()}
    (folder / "filling").unlink()
    print(f"### {title}, {size / 1e9:.2f} GB\n")
    print("| command | no old output | swa-avg takes | over an old output | swa-avg takes | anonymous memory |")
    print("|---|---|---|---|---|---|")
    for name in lines:
        cells = []
        for times in (fresh, over):
            if name not in times:
                cells += ["", ""]
                continue
            ours = times["with peers"] if name in (peers or {}) else times[OURS]
            ratios = [a / b for a, b in zip(ours, times[name])]
            cells += [spread(times[name]) + " s", "" if name == OURS else spread(ratios, "{:.2f}") + " ×"]
        print(f"| {name} | {' | '.join(cells)} | {memory[name]:.1f} MiB |")
    print(flush=True)


def pytorch_files(folder, pairs):
    """The same checkpoints as PyTorch's zip files, whose CRCs are compared. Both are written anew and in turn: how fast a
    file is read depends on where in the machine's memory it came to lie."""
    for path in sorted(folder.glob("ckpt_*")):
        pytorch = folder / f"pt_{path.stem}.pth"
        subprocess.run([SWA_AVG, path, "-qo", pytorch], check=True)
        for file in (path, pytorch):
            shutil.copyfile(file, folder / "anew")
            (folder / "anew").rename(file)
    lines = {"safetensors": [f"{SWA_AVG} ckpt_* -qo swa --force"], ".pth": [f"{SWA_AVG} pt_* -qo swa --force"]}
    times = in_turn(lines, folder, pairs)
    ratios = [a / b for a, b in zip(times[".pth"], times["safetensors"])]
    memory = peak(lines[".pth"][0], folder)[0]
    print(f"As `.pth` files, CRCs compared: {spread(times['.pth'])} s, {spread(ratios, '{:.2f}')} × the time of the same as")
    print(f"safetensors in turn; {memory:.1f} MiB of anonymous memory.\n", flush=True)


def several(title, folder, pairs, lines):
    """Outputs of one pass, each set beside the floor that writes as many; the first is what the others are compared with."""
    times = in_turn({name: [ours] for name, (ours, _) in lines.items()} | {f"floor {name}": [floor] for name, (_, floor) in lines.items()}, folder, pairs)
    one = next(iter(lines))
    print(f"### {title}\n\n| outputs | swa-avg | × one | floor | × one | swa-avg ÷ floor | anonymous memory |\n|---|---|---|---|---|---|---|")
    for name, (ours, _) in lines.items():
        cells = [name]
        for prefix in ("", "floor "):
            ratios = [a / b for a, b in zip(times[prefix + name], times[prefix + one])]
            cells += [spread(times[prefix + name]) + " s", spread(ratios, "{:.2f}")]
        cells.append(spread([a / b for a, b in zip(times[name], times[f"floor {name}"])], "{:.2f}"))
        print(f"| {' | '.join(cells)} | {peak(ours, folder)[0]:.1f} MiB |")
    print(flush=True)


SCHEMES = "-o mean=out_1 -o ema:0.99=out_2 -o wsm:1-sqrt=out_3 -o window:5=out_4"


def from_disk(folder, pairs):
    """One output and four where the inputs are on disk and not in the page cache, as after a long training."""
    checkpoints.write_all(folder, checkpoints.resnet152(), "F32", 10)
    lines = {"the mean": f"{SWA_AVG} ckpt_* -qo out_1", "mean, EMA, WSM, window": f"{SWA_AVG} ckpt_* -q {SCHEMES}"}
    times = {name: [] for name in lines}
    for _ in range(pairs):
        for name, line in lines.items():
            for path in folder.glob("out_*"):
                path.unlink()
            for path in folder.glob("ckpt_*"):
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            started = time.perf_counter()
            subprocess.run(["sh", "-c", line], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - started)
    one = times["the mean"]
    print("### The same from disk, nothing of it in the page cache\n\n| outputs | swa-avg | × one |\n|---|---|---|")
    for name, took in times.items():
        print(f"| {name} | {spread(took)} s | {spread([a / b for a, b in zip(took, one)], '{:.2f}')} |")
    print(flush=True)


def outputs(folder, pairs):
    """Four schemes, and prefixes."""
    checkpoints.write_all(folder, checkpoints.resnet152(), "F32", 10)
    several("Several outputs of 10 × ResNet-152 in fp32", folder, pairs, {
        "the mean": (f"{SWA_AVG} ckpt_* -qo out_1 --force", f"{FLOOR} ckpt_* out_"),
        "mean, EMA, WSM, window": (f"{SWA_AVG} ckpt_* -q {SCHEMES} --force", f"{FLOOR} 4 ckpt_* out_"),
    })  # fmt: skip
    clear(folder)
    checkpoints.write_all(folder, checkpoints.square(100 << 20), "F32", 20)
    several("Prefixes of 20 × 100 MiB in fp32", folder, pairs, {
        "the mean": (f"{SWA_AVG} ckpt_* -qo out_1 --force", f"{FLOOR} ckpt_* out_"),
        "20 prefixes": (f"{SWA_AVG} ckpt_* -qo prefix=out_{{n}} --force", f"{FLOOR} 20 ckpt_* out_"),
    })  # fmt: skip
    clear(folder)


def clear(folder):
    for path in folder.iterdir():
        path.unlink()


def curves(folder):
    """Cost against the number and against the size of checkpoints, medians of 5."""
    lines = {name: processes for name, processes in zip(("swa-avg", "floor", "cat, cp"), commands().values())}
    by_number, by_size = ({name: [] for name in lines} for _ in range(2))
    checkpoints.write_all(folder, checkpoints.square(100 << 20), "F32", 32)
    everything = sorted(folder.glob("ckpt_*"))
    for count in (32, 16, 8, 4, 2):
        for path in everything[count:]:
            path.unlink(missing_ok=True)
        for name, times in in_turn(lines, folder, 5).items():
            by_number[name].insert(0, (count, statistics.median(times)))
    clear(folder)
    for size in (1 << 20, 1 << 23, 1 << 26, 1 << 29, 1 << 31):
        checkpoints.write_all(folder, checkpoints.square(size), "F32", 4)
        for name, times in in_turn(lines, folder, 5).items():
            by_size[name].append((size >> 20, statistics.median(times)))
        clear(folder)
    svg = curve.svg([
        ("N checkpoints of 100 MiB", "N", str, by_number),
        ("4 checkpoints", "MiB each", str, by_size),
    ])  # fmt: skip
    (ROOT / "docs/averaging.svg").write_text(svg)
    print("### Against number and size\n")
    print("![Seconds against the number and the size of checkpoints](averaging.svg)\n")
    for what, series in (("N", by_number), ("MiB", by_size)):
        points = series["swa-avg"]
        print(f"| {what} | {' | '.join(str(x) for x, _ in points)} |\n|{'---|' * (len(points) + 1)}")
        print(f"| swa-avg | {' | '.join(f'{y:.3f} s' for _, y in points)} |\n")


def many(folder):
    """Thousands of files and tensors under the default limits."""
    print("### 10,000 small tensors, under `ulimit -n 1024`\n\n| checkpoints | GB | seconds | anonymous memory |\n|---|---|---|---|")
    checkpoints.write_all(folder, checkpoints.small(10_000), "F32", 1000)
    everything = sorted(folder.glob("ckpt_*"))
    rows = []
    for count in (1000, 500, 250, 125):
        for path in everything[count:]:
            path.unlink(missing_ok=True)
        line = f"{SWA_AVG} 'ckpt_*' -qo swa --force"
        took = statistics.median([seconds([f"ulimit -n 1024; {line}"], folder) for _ in range(3)])
        size = sum(path.stat().st_size for path in everything[:count])
        rows.insert(0, f"| {count} | {size / 1e9:.2f} | {took:.2f} | {peak(line, folder)[0]:.1f} MiB |")
    print("\n".join(rows) + "\n", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--dir", default="/dev/shm", help="where the checkpoints go, 16 GB [default: %(default)s]")
    parser.add_argument("--disk", help="a folder on a disk, for 4 GB [default: the temporary folder]")
    args = parser.parse_args()
    python = os.environ.get("PYTHON", sys.executable)
    peers = {}
    for modules, how, name in (
        ("torch, safetensors", "lerp", "`load_file` and `lerp_` in torch"),
        ("torch, timm", "timm", "timm's way: f64 sums, f32 out"),
    ):
        if subprocess.run([python, "-c", f"import {modules}"], capture_output=True).returncode == 0:
            peers[name] = f"{python} {PEERS} {how} ckpt_* peer"
    folder = Path(tempfile.mkdtemp(dir=args.dir))
    try:
        print(f"{checkpoints.machine()}; medians of {args.pairs} rounds in turn, and their range.\n")
        checkpoints.write_all(folder, checkpoints.resnet152(), "F32", 10)
        compare("10 × ResNet-152 in fp32", folder, args.pairs, peers)
        pytorch_files(folder, args.pairs)
        clear(folder)
        checkpoints.write_all(folder, checkpoints.language_model(), "BF16", 4)
        compare("4 × a language model of 1.1 billion parameters in bf16", folder, args.pairs, {})
        with tempfile.TemporaryDirectory(dir=args.disk) as disk:
            most, took = peak(f"{SWA_AVG} ckpt_* -qo {disk}/swa", folder)
            print(f"With the output on disk, fsync included: {took:.1f} s, {most:.1f} MiB of anonymous memory.\n")
            clear(folder)
            from_disk(Path(disk), args.pairs)
        outputs(folder, args.pairs)
        curves(folder)
        many(folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
