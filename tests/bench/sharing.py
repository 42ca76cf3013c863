"""What sharing an average costs: four checkpoints of 2.2 GB in eight shards each, averaged by one process, and by two at a
time with --shard and --finish. Prints seconds and CPU seconds, the least of some rounds. Standard library only.

    python3 tests/bench/sharing.py --dir /dev/shm/bench --rounds 3      # takes 14 GB there
"""

import argparse
import filecmp
import os
import resource
import shutil
import subprocess
import time
from pathlib import Path

from checkpoints import language_model, machine, write_all

SWA_AVG = Path(__file__).parents[2] / "target/release/swa-avg"


def timed(*commands):
    """Runs commands side by side: seconds until the last ends, and CPU seconds of all."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    for process in [subprocess.Popen([SWA_AVG, "-q", *map(str, command)]) for command in commands]:
        assert process.wait() == 0, commands
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - started, cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    args.dir.mkdir()
    try:
        write_all(args.dir, language_model(), "BF16", 4)
        inputs = []
        for i in range(4):
            file, folder = args.dir / f"ckpt_{i:04}.safetensors", args.dir / f"step-{i}"
            timed([file, "-o", folder, "--max-shard-size", "280MB"])
            file.unlink()
            inputs.append(folder)
        shards = len(list(inputs[0].glob("*.safetensors")))
        size = sum(file.stat().st_size for file in inputs[0].iterdir())
        print(f"{machine()}: 4 checkpoints of {size / 1e9:.2f} GB in {shards} shards")
        alone, shared, threads = args.dir / "alone", args.dir / "shared", os.cpu_count()
        rounds = {"one process": [], "two processes": []}
        for _ in range(args.rounds):
            shutil.rmtree(alone, ignore_errors=True)
            rounds["one process"].append(timed([*inputs, "-o", alone, "--threads", threads]))
            shutil.rmtree(shared, ignore_errors=True)
            one = [*inputs, "-o", shared, "--threads", max(threads // 2, 1), "--shard"]
            both, end = timed([*one, "0/2"], [*one, "1/2"]), timed(["--finish", shared])
            rounds["two processes"].append((both[0] + end[0], both[1] + end[1]))
            names = [path.name for path in alone.iterdir()]
            assert not any(filecmp.cmpfiles(alone, shared, names, shallow=False)[1:]), "other bytes"
        for name, times in rounds.items():
            seconds, cpu = min(t for t, _ in times), min(c for _, c in times)
            print(f"{name}: {seconds:.2f} s, {cpu:.2f} s of CPU; all rounds: {times}")
    finally:
        shutil.rmtree(args.dir)


if __name__ == "__main__":
    main()
