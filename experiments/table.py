#!/usr/bin/env python3
"""The table of an experiment, from the evaluations that it left: python3 experiments/table.py e1a. Standard library only.

A row a model: test accuracy and NLL, mean ± standard deviation over the seeds (of a sample, n − 1); the difference from the
first row, image by image of the same seed, and McNemar's exact p of each seed."""

import json
import re
import statistics
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests/bench"))

NAMES = {
    "sgd": "SGD, 1 B",
    "sgd-1.5": "SGD, 1.5 B",
    "swa-1": "SWA, 1 B",
    "swa-1.25": "SWA, 1.25 B",
    "swa-1.5": "SWA, 1.5 B",
    "swa": "last snapshot",
}


def spread(values, digits):
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


def run_of(model, seed):
    """`swa-1.5-3.safetensors`, of seed 3, is `swa-1.5`; `sgd-3/results/last.safetensors` is `sgd`."""
    return re.sub(rf"-{seed}(\.safetensors|/.*)$", "", model)


def table(name):
    evaluations = sorted((HERE / name).glob("models-*.json"))
    if not evaluations:
        sys.exit(f"{HERE / name}: nothing was evaluated")
    rows = {}
    for path in evaluations:
        seed = path.stem.split("-")[-1]
        for model in json.loads(path.read_text())["models"]:
            rows.setdefault(run_of(model["model"], seed), []).append(model)
    seeds = ", ".join(path.stem.split("-")[-1] for path in evaluations)
    lines = [f"Seeds {seeds}; {next(iter(rows.values()))[0]['n']} test images.", ""]
    lines += ["| model | accuracy, % | NLL | difference, points | p a seed |", "|---|---|---|---|---|"]
    for run, models in rows.items():
        cells = [NAMES.get(run, run), spread([m["top1"] for m in models], 2), spread([m["nll"] for m in models], 4)]
        if "difference" in models[0]:
            cells += [spread([m["difference"] for m in models], 2), ", ".join(f"{m['mcnemar_p']:.2g}" for m in models)]
        else:
            cells += ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    import document

    for name in sys.argv[1:]:
        text = table(name)
        document.put(name, text, HERE.parent / "docs/experiments.md")
        print(text)


if __name__ == "__main__":
    main()
