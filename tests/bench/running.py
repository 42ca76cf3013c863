#!/usr/bin/env python3
"""The cost of an update of the running average (`swa-avg --state`) against the number of checkpoints that were counted
before, beside `cat` of the new one and `cp` of state and output, and beside averaging all of them again.

    python3 tests/bench/running.py [--count 200] [--mib 10] [--dir FOLDER]

Needs the standard library only. Prints Markdown; draws docs/updates.svg."""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import checkpoints
import curve

ROOT = Path(__file__).parents[2]
SWA_AVG = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/swa-avg"
STEP = 10


def measured(lines, folder):
    """Seconds of some processes one after the other: by the clock, and of processors."""

    def used():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before, started = used(), time.perf_counter()
    for line in lines:
        subprocess.run(line.split(), cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started, used() - before


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--mib", type=int, default=10, help="size of a checkpoint [default: %(default)s]")
    parser.add_argument("--dir", default="/dev/shm", help="where the checkpoints go, 2 GB [default: %(default)s]")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=args.dir))
    try:
        checkpoints.write_all(folder, checkpoints.square(args.mib << 20), "F32", args.count)
        names = sorted(path.name for path in folder.glob("ckpt_*"))
        ours, copies, again, sizes = [], [], [], []
        for n, name in enumerate(names, 1):
            ours.append(measured([f"{SWA_AVG} {name} --state state -qo swa"], folder))
            sizes.append((folder / "state").stat().st_size)
            if n % STEP == 0:
                copies.append(measured([f"cat {name}", "cp state state-copy", "cp swa swa-copy"], folder))
                again.append(measured([f"{SWA_AVG} {' '.join(names[:n])} -qo all --force"], folder))
                assert (folder / "all").read_bytes() == (folder / "swa").read_bytes()
    finally:
        shutil.rmtree(folder)
    xs = list(range(STEP, len(names) + 1, STEP))

    def windows(which):
        return [statistics.median(one[which] for one in ours[x - STEP : x]) for x in xs]

    print(f"{checkpoints.machine()}; checkpoints of {args.mib} MiB in fp32, medians of {STEP} updates.\n")
    marks = [i for i in range(len(xs)) if xs[i] in (10, 50, 100, 150, 200)]
    print(f"| update | {' | '.join(str(xs[i]) for i in marks)} |\n|{'---|' * (len(marks) + 1)}")
    rows = {
        "one update": windows(0),
        "one update, seconds of processors": windows(1),
        "`cat` of the new one, `cp` of state and output": [clock for clock, _ in copies],
        "averaging all again": [clock for clock, _ in again],
        "averaging all again, seconds of processors": [cpu for _, cpu in again],
    }
    for label, values in rows.items():
        print(f"| {label} | {' | '.join(f'{values[i]:.3f} s' for i in marks)} |")
    size = args.mib << 20
    print(f"| size of the state, of the model's | {' | '.join(f'{sizes[xs[i] - 1] / size:.2f} ×' for i in marks)} |\n")
    print("![Seconds of an update against the number before it](updates.svg)")
    series = {
        "an update": list(zip(xs, windows(1))),
        "cat, cp": [(x, cpu) for x, (_, cpu) in zip(xs, copies)],
        "all again": [(x, cpu) for x, (_, cpu) in zip(xs, again)],
    }
    label = lambda x: str(x) if x in (10, 20, 50, 100, 200) else ""  # noqa: E731
    title = f"an update, {args.mib} MiB"
    (ROOT / "docs/updates.svg").write_text(curve.svg([(f"{title}: seconds of processors", "update", label, series)]))


if __name__ == "__main__":
    main()
