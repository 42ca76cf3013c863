#!/usr/bin/env python3
"""Measures the methods of swa-bn-update: the tables and the curves of docs/numerics.md.

    python3 tests/bench/batchnorm.py [--document]      # a quarter of an hour on two cores; standard library only

Averages the shipped snapshots, recomputes the statistics from the 10,000 training images that are shipped, evaluates on
the 10,000 test images. `--models`, `--data`, `--preset` take other snapshots and data; `--document` writes the tables
and docs/batchnorm.svg.

methods
    By batch size: accuracy, and how far the statistics are from the layerwise ones, which are what inference sees.
images
    `pooled` from n images, drawn by several seeds: how far the least certain layer's statistics are from those of all
    images, against the standard error that the tool estimates from the n images alone; and the accuracy.
"""

import argparse
import array
import json
import math
import os
import statistics
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import curve
import document
from checkpoints import machine

ROOT = Path(__file__).parents[2]
FASHION = ROOT / "fixtures/fashion-mnist"
BIN = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
SIZES = (2, 8, 32, 128)
BATCHED = ("cma", "weighted", "pooled")
EPS = 1e-5


def tool(name, *arguments):
    command = [BIN / name, *map(str, arguments)]
    out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if out.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{out.stderr}")
    return json.loads(out.stdout)


def layers_of(path):
    """Layer → (means, variances), of a safetensors file in F32."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])

    def values(name):
        begin, end = header[name]["data_offsets"]
        return array.array("f", data[8 + size + begin : 8 + size + end])

    names = [name.removesuffix(".running_mean") for name in header if name.endswith(".running_mean")]
    return {name: (values(f"{name}.running_mean"), values(f"{name}.running_var")) for name in names}


def squares(found, truth):
    """Of each channel: (shift in σ)² + ln(ratio of σ)², σ the true standard deviation."""
    for m, v, mean, variance in zip(*found, *truth):
        yield (m - mean) ** 2 / (variance + EPS) + (math.log((v + EPS) / (variance + EPS)) / 2) ** 2


def distance(found, truth):
    """Root mean square over all channels."""
    return math.sqrt(statistics.fmean(s for layer in truth for s in squares(found[layer], truth[layer])))


def farthest(found, truth):
    """The same of the layer where it is largest."""
    return max(math.sqrt(statistics.fmean(squares(found[layer], truth[layer]))) for layer in truth)


def variance_ratio(found, truth):
    """Geometric mean over all channels."""
    logs = [math.log((v + EPS) / (w + EPS)) for name in truth for v, w in zip(found[name][1], truth[name][1])]
    return math.exp(statistics.fmean(logs))


class Bench:
    def __init__(self, folder, arguments):
        self.folder, self.flags = folder, ["--data", arguments.data, "--preset", arguments.preset]
        self.swa = folder / "swa.safetensors"
        tool("swa-avg", *arguments.models, "-o", self.swa, "--json")
        self.reports = {}

    def update(self, name, *arguments):
        """Recomputes the statistics; the report is kept."""
        path = self.folder / f"{name}.safetensors"
        self.reports[path] = tool("swa-bn-update", self.swa, "-o", path, *self.flags, *arguments, "--json")
        return path

    def evaluate(self, paths):
        return tool("swa-eval", *paths, *self.flags, "--json")["models"]

    def methods(self):
        runs = [("averaged", "", self.swa)]
        runs += [
            (method, size, self.update(f"{method}-{size}", "--method", method, "--batch-size", size))
            for size in SIZES
            for method in BATCHED
        ]
        layerwise = self.update("layerwise", "--method", "layerwise")
        runs.append(("layerwise", "any", layerwise))
        truth = layers_of(layerwise)
        yield "| `--method` | `--batch-size` | top-1 % | nll | ece | variance ÷ `layerwise`'s | distance from `layerwise` |"
        yield "|---|---|---|---|---|---|---|"
        for (method, size, path), row in zip(runs, self.evaluate([path for *_, path in runs])):
            found = layers_of(path)
            yield (
                f"| {method if method == 'averaged' else f'`{method}`'} | {size} | {row['top1']:.2f} | {row['nll']:.4f} "
                f"| {row['ece']:.4f} | {variance_ratio(found, truth):.3f} | {distance(found, truth):.4f} |"
            )

    def images(self, seeds):
        """Rows of n, measured and estimated error (means over the seeds), top-1 and nll (of the first)."""
        everything = self.update("all")
        truth, total = layers_of(everything), self.reports[everything]["images"]
        counts = [128 * 2**i for i in range(20) if 128 * 2**i < total] + [total]
        runs = [
            [self.update(f"{n}-{seed}", "--samples", n, "--seed", seed) for seed in range(seeds if n < total else 1)]
            for n in counts
        ]
        models = self.evaluate([paths[0] for paths in runs])
        for n, paths, row in zip(counts, runs, models):
            errors = [self.reports[path]["standard_error"] for path in paths]
            yield {
                "n": n,
                "measured": math.sqrt(statistics.fmean(farthest(layers_of(path), truth) ** 2 for path in paths)),
                "estimated": statistics.fmean(e["largest"] for e in errors) if errors[0] else None,
                "top1": row["top1"],
                "nll": row["nll"],
            }


def images_table(rows):
    yield "| images | error, measured | error, estimated | top-1 % | nll |"
    yield "|---|---|---|---|---|"
    for row in rows:
        estimated = f"{row['estimated']:.4f}" if row["estimated"] else "–"
        yield f"| {row['n']:,} | {row['measured']:.4f} | {estimated} | {row['top1']:.2f} | {row['nll']:.4f} |"


def figure(rows):
    error = {
        "measured": [(row["n"], row["measured"]) for row in rows if row["measured"]],
        "estimated": [(row["n"], row["estimated"]) for row in rows if row["estimated"]],
    }
    top1 = {"top-1": [(row["n"], row["top1"]) for row in rows]}

    counts = [row["n"] for row in rows]
    crowded = {n for n, following in zip(counts, counts[1:]) if following < 1.5 * n}

    def thousands(n):
        return "" if n in crowded else f"{n / 1000:.1f}k" if n >= 1000 else str(n)

    return curve.svg([
        ("Error of the statistics, in σ", "images", thousands, error, lambda y: f"{y:g}"),
        ("Top-1 on the test images", "images", thousands, top1, lambda y: f"{y:g} %", True),
    ])  # fmt: skip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="+", default=sorted(FASHION.glob("ckpt_*.safetensors")))
    parser.add_argument("--data", default=FASHION)
    parser.add_argument("--preset", default="fashion-mnist")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=("methods", "images"), help="one of the tables")
    parser.add_argument("--document", action="store_true")
    arguments = parser.parse_args()
    document.DOCUMENT = ROOT / "docs/numerics.md"

    def show(name, text):
        print(f"{name}\n\n{text}\n", flush=True)
        if arguments.document:
            document.put(name, text)

    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), arguments)
        if arguments.only in (None, "methods"):
            show("statistics-methods", "\n".join([f"{machine()}\n", *bench.methods()]))
        if arguments.only in (None, "images"):
            rows = list(bench.images(arguments.seeds))
            show("statistics-images", "\n".join(images_table(rows)))
            if arguments.document:
                (ROOT / "docs/batchnorm.svg").write_text(figure(rows))


if __name__ == "__main__":
    main()
