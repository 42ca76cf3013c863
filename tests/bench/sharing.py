"""What sharing an average costs: four checkpoints of 2.2 GB in eight shards each, averaged by one process, and by two at a
time with --shard and --finish. Prints seconds and CPU seconds, the least of some rounds. Two of the four are links to the
others, to save space: they are read as any other. Standard library only.

    python3 tests/bench/sharing.py --dir /dev/shm/bench --rounds 3      # takes 7 GB there
"""

import argparse
import hashlib
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


def digest(folder):
    """Of all files and their names."""
    sha = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        sha.update(path.name.encode())
        with open(path, "rb") as file:
            while part := file.read(1 << 22):
                sha.update(part)
    return sha.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    args.dir.mkdir()
    try:
        write_all(args.dir, language_model(), "BF16", 2)
        inputs = []
        for i in range(2):
            file, folder = args.dir / f"ckpt_{i:04}.safetensors", args.dir / f"step-{i}"
            timed([file, "-o", folder, "--max-shard-size", "320MB"])
            file.unlink()
            other = args.dir / f"step-{i + 2}"
            shutil.copytree(folder, other, copy_function=os.link)
            inputs += [folder, other]
        inputs.append("--allow-duplicates")
        shards = len(list(inputs[0].glob("*.safetensors")))
        size = sum(file.stat().st_size for file in inputs[0].iterdir())
        print(f"{machine()}: 4 checkpoints of {size / 1e9:.2f} GB in {shards} shards")
        output, threads = args.dir / "averaged", os.cpu_count()
        rounds, digests = {"one process": [], "two processes": []}, set()
        for _ in range(args.rounds):
            rounds["one process"].append(timed([*inputs, "-o", output, "--threads", threads]))
            digests.add(digest(output))
            shutil.rmtree(output)
            one = [*inputs, "-o", output, "--threads", max(threads // 2, 1), "--shard"]
            both, end = timed([*one, "0/2"], [*one, "1/2"]), timed(["--finish", output])
            rounds["two processes"].append((both[0] + end[0], both[1] + end[1]))
            digests.add(digest(output))
            shutil.rmtree(output)
        assert len(digests) == 1, "other bytes"
        for name, times in rounds.items():
            seconds, cpu = min(t for t, _ in times), min(c for _, c in times)
            print(f"{name}: {seconds:.2f} s, {cpu:.2f} s of CPU; all rounds: {times}")
    finally:
        shutil.rmtree(args.dir)


if __name__ == "__main__":
    main()
