#!/usr/bin/env python3
"""Times swa-avg on 10 × ResNet-152 in fp32 (2.4 GB) and on 4 × a 1.1B model in bf16 (8.8 GB), in turn with the
machine's floor (tests/bench/floor.rs) and with `cat` of the inputs and `cp` of one.

    python3 tests/bench/average.py [--pairs 15] [--dir FOLDER]

Needs the standard library only. Page cache warm, output beside the inputs. Prints Markdown tables: wall time,
median and range; the ratios round by round; peak anonymous memory (RssAnon of the process).
"""

import argparse
import array
import json
import math
import os
import random
import shutil
import statistics
import struct
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SWA_AVG = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/swa-avg"
FLOOR = SWA_AVG.with_name("examples") / "floor"


def resnet152():
    """Names and shapes of torchvision's ResNet-152."""
    tensors = {}

    def conv(name, o, i, k):
        tensors[f"{name}.weight"] = [o, i, k, k]

    def norm(name, n):
        for part in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{name}.{part}"] = [n]
        tensors[f"{name}.num_batches_tracked"] = []

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    inputs = 64
    for stage, blocks in enumerate((3, 8, 36, 3)):
        width = 64 << stage
        for block in range(blocks):
            at = f"layer{stage + 1}.{block}"
            for i, shape in enumerate([(width, inputs, 1), (width, width, 3), (4 * width, width, 1)], 1):
                conv(f"{at}.conv{i}", *shape)
                norm(f"{at}.bn{i}", shape[0])
            if block == 0:
                conv(f"{at}.downsample.0", 4 * width, inputs, 1)
                norm(f"{at}.downsample.1", 4 * width)
            inputs = 4 * width
    tensors["fc.weight"], tensors["fc.bias"] = [1000, 2048], [1000]
    return tensors


def write(path, tensors, seed):
    rng = random.Random(seed)
    pool = array.array("f", (rng.gauss(0, 0.05) for _ in range(100_003))).tobytes()
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors.items():
        count = 1
        for n in shape:
            count *= n
        dtype, size = ("I64", 8) if not shape else ("F32", 4)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + count * size]}
        at += count * size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        while at > 0:
            f.write(pool[: min(at, len(pool))])
            at -= len(pool)


def run(command, cwd):
    """Wall seconds and peak RssAnon in MiB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        try:
            for line in open(f"/proc/{process.pid}/status"):
                if line.startswith("RssAnon"):
                    peak = max(peak, int(line.split()[1]))
        except (FileNotFoundError, ProcessLookupError):
            pass
        time.sleep(0.002)
    seconds = time.perf_counter() - started
    assert process.returncode == 0, command
    return seconds, peak / 1024


def spread(values):
    return f"{statistics.median(values):.3f} s ({min(values):.3f}–{max(values):.3f})"


def llm():
    """Names and shapes of a language model of 1.1 billion parameters."""
    tensors = {"model.embed_tokens.weight": [32000, 2048]}
    parts = {"q": [2048, 2048], "k": [256, 2048], "v": [256, 2048], "o": [2048, 2048], "norm": [2048],
             "gate": [5632, 2048], "up": [5632, 2048], "down": [2048, 5632]}
    for i in range(22):
        tensors |= {f"model.layers.{i}.{name}.weight": shape for name, shape in parts.items()}
    return tensors | {"lm_head.weight": [32000, 2048]}


def write_bf16(path, tensors, seed):
    rng = random.Random(seed)
    pool = b"".join(struct.pack("<f", rng.gauss(0, 0.02))[2:] for _ in range(500_003))
    header, at = {}, 0
    for name, shape in tensors.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        while at > 0:
            file.write(pool[:at])
            at -= len(pool)


def compare(title, folder, make, count, pairs):
    """One table: swa-avg, the floor and cat + cp in turn."""
    for i in range(count):
        make(folder / f"ckpt_{i:02}.safetensors", i)
    names = sorted(p.name for p in folder.iterdir())
    size = sum(p.stat().st_size for p in folder.iterdir())
    commands = {
        "`swa-avg ckpt_* -o swa` (digests and fsync included)": [SWA_AVG, *names, "-qo", "swa", "--force"],
        "floor: two threads that read all and write one": [FLOOR, *names, "floor"],
        "`cat ckpt_* >/dev/null; cp ckpt_00 copy`": ["sh", "-c", "cat ckpt_* >/dev/null; cp ckpt_00.safetensors copy"],
    }
    times, peak = {name: [] for name in commands}, 0
    for pair in range(pairs + 1):
        for name, command in commands.items():
            seconds, anon = run(command, folder)
            if pair:  # the first warms the page cache
                times[name].append(seconds)
                if command[0] == SWA_AVG:
                    peak = max(peak, anon)
    ours = times[next(iter(times))]
    print(f"{title}, {size / 1e9:.2f} GB, {pairs} rounds, {os.cpu_count()} cores\n")
    print("| command | wall time, median (range) | swa-avg takes, round by round |\n|---|---|---|")
    for name, values in times.items():
        ratios = [a / b for a, b in zip(ours, values)]
        ratio = "" if values is ours else f"{statistics.median(ratios):.2f} × ({min(ratios):.2f}–{max(ratios):.2f})"
        print(f"| {name} | {spread(values)} | {ratio} |")
    print(f"\nPeak anonymous memory of swa-avg: {peak:.1f} MiB.\n")
    for path in folder.iterdir():
        path.unlink()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--dir", help="where the checkpoints go, 14 GB [default: the temporary folder]")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=args.dir))
    try:
        tensors, model = resnet152(), llm()
        compare("10 × ResNet-152 in fp32", folder, lambda path, i: write(path, tensors, i), 10, args.pairs)
        compare("4 × a 1.1B model in bf16", folder, lambda path, i: write_bf16(path, model, i), 4, args.pairs)
        version = [run([SWA_AVG, "--version"], folder)[0] for _ in range(20)]
        print(f"`swa-avg --version`: {1000 * statistics.median(version):.1f} ms")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
