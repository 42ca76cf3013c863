#!/usr/bin/env python3
"""Times swa-avg on 10 × ResNet-152 in fp32 (2.4 GB) against `cat` of the inputs and `cp` of one, in turn.

    python3 tests/bench/average.py [--pairs 15] [--dir FOLDER]

Needs the standard library only. Page cache warm, output beside the inputs. Prints a Markdown table:
wall time, median and range; the ratio pair by pair; peak anonymous memory (RssAnon of the process).
"""

import argparse
import array
import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SWA_AVG = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/swa-avg"


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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--dir", help="where the checkpoints go [default: the temporary folder]")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=args.dir))
    try:
        tensors = resnet152()
        for i in range(10):
            write(folder / f"ckpt_{i:02}.safetensors", tensors, i)
        size = sum(p.stat().st_size for p in folder.iterdir())
        ours = [SWA_AVG, *sorted(p.name for p in folder.iterdir()), "-o", "swa", "--force"]
        copy = ["sh", "-c", "cat ckpt_* >/dev/null; cp ckpt_00.safetensors copy"]
        times, copies, ratios, peak = [], [], [], 0
        for pair in range(args.pairs + 1):
            a, anon = run(ours, folder)
            b, _ = run(copy, folder)
            if pair:  # the first warms the page cache
                times.append(a), copies.append(b), ratios.append(a / b)
                peak = max(peak, anon)
        version = [run([SWA_AVG, "--version"], folder)[0] for _ in range(20)]
        print(f"10 × ResNet-152 fp32, {size / 1e9:.2f} GB, {args.pairs} interleaved pairs, {os.cpu_count()} cores\n")
        print("| command | wall time, median (range) |\n|---|---|")
        print(f"| `swa-avg ckpt_* -o swa` (fsync included) | {spread(times)} |")
        print(f"| `cat ckpt_* >/dev/null; cp ckpt_00 copy` | {spread(copies)} |")
        print(f"| ratio, pair by pair | {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}) |")
        print(f"| peak anonymous memory of swa-avg | {peak:.1f} MiB |")
        print(f"| `swa-avg --version` | {1000 * statistics.median(version):.1f} ms |")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
