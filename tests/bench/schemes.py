#!/usr/bin/env python3
"""Compares weighting schemes on the shipped snapshots: the table of docs/schemes.md.

    python3 tests/bench/schemes.py [--document]      # minutes on two cores; standard library only

Averages the snapshots of fixtures/fashion-mnist by every scheme in one pass, recomputes the batchnorm statistics of each
average from the 2,500 images that they were trained on, and evaluates all on the 10,000 test images.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import document
from checkpoints import machine

ROOT = Path(__file__).parents[2]
FASHION = ROOT / "fixtures/fashion-mnist"
BIN = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
SCHEMES = ["mean", "window:5", "window:2", "ema:0.9", "ema:0.5", "wsm:1-sqrt", "wsm:cosine"]
PREFIXES = [2, 4, 7, 10]


def tool(name, *arguments):
    command = [BIN / name, *map(str, arguments), "--json"]
    out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if out.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{out.stderr}")
    return json.loads(out.stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--document", action="store_true", help="write the table into docs/schemes.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        outputs = [("-o", f"{scheme}={folder}/{i}.safetensors") for i, scheme in enumerate(SCHEMES)]
        outputs.append(("-o", f"prefix={folder}/first_{{n}}.safetensors"))
        tool("swa-avg", FASHION / "ckpt_*.safetensors", *(word for pair in outputs for word in pair))
        averages = {f"`{scheme}`": folder / f"{i}.safetensors" for i, scheme in enumerate(SCHEMES)}
        averages |= {f"`prefix`, the first {n}": folder / f"first_{n}.safetensors" for n in PREFIXES}
        data = ["--data", FASHION, "--preset", "fashion-mnist"]
        models = {}
        for name, path in averages.items():
            models[name] = path.with_suffix(".bn.safetensors")
            tool("swa-bn-update", path, *data, "--samples", "2500", "-o", models[name])
        models["the last snapshot"] = FASHION / "ckpt_0240.safetensors"
        models["plain SGD, decayed over 160 epochs"] = FASHION / "sgd.safetensors"
        models["the same, over 240 epochs"] = FASHION / "sgd_long.safetensors"
        report = tool("swa-eval", *models.values(), *data)
        lines = [f"{machine()}\n", "| | top-1 % | 95 % interval | nll | ece |", "|---|---|---|---|---|"]
        for name, model in zip(models, report["models"]):
            low, high = model["interval"]
            cells = [f"{model['top1']:.2f}", f"{low:.2f}–{high:.2f}", f"{model['nll']:.4f}", f"{model['ece']:.4f}"]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    table = "\n".join(lines)
    print(table)
    if arguments.document:
        document.put("schemes", table, ROOT / "docs/schemes.md")


if __name__ == "__main__":
    main()
