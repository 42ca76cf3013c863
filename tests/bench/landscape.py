#!/usr/bin/env python3
"""What a plane costs beside its forward passes: the table `landscape` of docs/performance.md.

    python3 tests/bench/landscape.py [--rounds 3] [--arch preresnet-20]      # standard library only

Three networks with weights as training begins with them, on the shipped images. A point of a plane takes 2,000 images for
batchnorm's statistics, and 2,000 each for training loss and test error. Its time is the difference between a large and a
small grid by their points, that of an image's forward pass the difference between two runs of swa-eval (which folds
batchnorm into convolutions) by their images: starting and reading are in neither. One thread each, processor time, in turn.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from checkpoints import machine

ROOT = Path(__file__).parents[2]
FASHION = ROOT / "fixtures/fashion-mnist"
BIN = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
IMAGES = 2000
GRIDS = (2, 3)
EVALUATED = (2000, 10000)


def cpu(*command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def initial(folder, arch, seed):
    """The weights that a training of this seed begins with."""
    run = folder / f"run_{seed}"
    subprocess.run(
        [BIN / "swa-train", run, "--data", FASHION, "--arch", arch, "--preset", "fashion-mnist", "--samples", "64"]
        + ["--epochs", "1", "--lr", "0.001", "--batch-size", "32", "--hold-out", "32", "--seed", str(seed)],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return run / "results/last.safetensors"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arch", default="preresnet-20")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = [initial(Path(folder), options.arch, seed) for seed in (1, 2, 3)]
        data = ["--data", FASHION, "--preset", "fashion-mnist", "--threads", "1", "--quiet"]
        samples = [f"--{what}-samples={IMAGES}" for what in ("bn", "train", "test")]

        def plane(grid):
            return cpu(BIN / "swa-landscape", "plane", *models, *data, *samples, "--json", "--grid", grid)

        def evaluate(images):
            return cpu(BIN / "swa-eval", models[0], *data, "--samples", images)

        points, images = [], []
        for _ in range(options.rounds):
            points.append((plane(GRIDS[1]) - plane(GRIDS[0])) / (GRIDS[1] ** 2 - GRIDS[0] ** 2))
            images.append((evaluate(EVALUATED[1]) - evaluate(EVALUATED[0])) / (EVALUATED[1] - EVALUATED[0]))
    point, image = statistics.median(points), statistics.median(images)
    print(f"{machine()}; medians of {options.rounds} rounds, one thread, processor time.\n")
    print("| | seconds | by 6,000 forward passes |\n|---|---|---|")
    print(f"| 6,000 forward passes of {options.arch}, 28 × 28, as swa-eval runs them | {6000 * image:.3f} | |")
    print(f"| a point of `swa-landscape plane` | {point:.3f} | {point / image / 6000:.2f} × |")
    print(f"| a plane of 21 × 21 points | {441 * point:.0f} | |")


if __name__ == "__main__":
    main()
