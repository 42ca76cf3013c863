#!/usr/bin/env python3
"""Puts an experiment's table into docs/experiments.md: python3 experiments/table.py fashion. Standard library only.

From evaluations (`models-SEED.json`), a row a model: test accuracy and NLL, mean ± standard deviation over the seeds (of a
sample, n − 1); the difference from the first row, image by image of the same seed, and McNemar's exact p of each seed.
From evaluations of ensembles (`KIND-SEED.json`), the same for each ensemble, and for its snapshots one by one, on average.
From logs alone, where rates were chosen, a row a run: accuracy and NLL on the images held out, of the model and of the average."""

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
    "constant": "last snapshot",
    "tuned": "last snapshot",
    "swa-5": "SWA, 5 cycles",
    "swa-10": "SWA, 10 cycles",
}

ENSEMBLES = {
    "fge": "fast geometric ensembling",
    "snapshots": "snapshots of SWA's run",
    "cosine": "snapshots of cosine cycles",
}


def spread(values, digits):
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


def run_of(model, seed):
    """`swa-1.5-3.safetensors`, of seed 3, is `swa-1.5`; `../e1a/sgd-3/results/last.safetensors` is `sgd`."""
    return re.sub(rf"-{seed}(\.safetensors|/.*)$", "", re.sub(r"^\.\./[^/]*/", "", model))


def table(name):
    evaluations = sorted((HERE / name).glob("models-*.json"))
    ensembles = [path for kind in ENSEMBLES for path in sorted((HERE / name).glob(f"{kind}-*.json"))]
    if evaluations:
        return of_evaluations(evaluations)
    return of_ensembles(ensembles) if ensembles else of_logs(name)


def of_logs(name):
    logs = sorted((HERE / name).glob("*.jsonl"))
    if not logs:
        sys.exit(f"{HERE / name}: nothing was run")
    lines = ["| run | epochs | last model, % | NLL | average, % | NLL |", "|---|---|---|---|---|---|"]
    for path in logs:
        epochs = [json.loads(line) for line in path.read_text().splitlines()]
        scores = [next((e[of] for e in reversed(epochs) if e[of]), None) for of in ("model", "swa")]
        cells = [path.stem.rsplit("-", 1)[0], str(len(epochs))]
        for score in scores:
            cells += [f"{100 * score['accuracy']:.2f}", f"{score['loss']:.4f}"] if score else ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def of_evaluations(evaluations):
    rows = {}
    for path in evaluations:
        for model in json.loads(path.read_text())["models"]:
            run = run_of(model["model"], seed_of(path))
            rows.setdefault(NAMES.get(run, run), {})[seed_of(path)] = model
    return of_rows(rows)


def of_ensembles(evaluations):
    rows = {}
    for path in evaluations:
        report, kind = json.loads(path.read_text()), path.stem.rsplit("-", 1)[0]
        references, members = report["models"][:2], report["models"][2:]
        for model in references:
            run = run_of(model["model"], seed_of(path))
            # They stand in the evaluation of each kind.
            rows.setdefault(NAMES.get(run, run), {})[seed_of(path)] = model
        mean = {key: statistics.mean(m[key] for m in members) for key in ("top1", "nll")}
        for number, model in (("one alone", mean), (f"{len(members)} together", report["ensemble"])):
            rows.setdefault(f"{ENSEMBLES[kind]}, {number}", {})[seed_of(path)] = model
    return of_rows(rows)


def seed_of(path):
    return path.stem.rsplit("-", 1)[1]


def of_rows(rows):
    """`rows`: by name, then by seed, a model's figures."""
    first = next(iter(rows.values()))
    lines = [f"Seeds {', '.join(sorted(first))}; {next(iter(first.values()))['n']} test images.", ""]
    lines += ["| model | accuracy, % | NLL | difference, points | p a seed |", "|---|---|---|---|---|"]
    for name, by_seed in rows.items():
        models = [by_seed[seed] for seed in sorted(by_seed)]
        cells = [name, spread([m["top1"] for m in models], 2), spread([m["nll"] for m in models], 4)]
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
