"""Changes images at random and compares our decoder's verdict and pixels with Pillow's: images.py [SECONDS [SEED [KIND...]]]

Needs Pillow, and `cargo build --release -p swa-data --example verdicts`. A file that we refuse and Pillow reads is counted by our
message: broken data are refused where Pillow fills a gap. What we read must be read by Pillow, to the same bytes. Files that
break this are kept in fuzz/finds/images; exit 1.
"""

import collections
import io
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time
import warnings
import zlib

from PIL import Image

warnings.simplefilter("ignore")
Image.MAX_IMAGE_PIXELS = 89_478_485
ROOT = pathlib.Path(__file__).resolve().parent.parent
BATCH = 400


def seeds(kinds):
    folders = kinds or ["bmp", "gif", "tiff", "png", "jpeg", "webp", "netpbm"]
    found = []
    for folder in folders:
        path = ROOT / "fixtures/pixels" / folder
        found += [file.read_bytes() for file in sorted(path.glob("*")) if file.stat().st_size < 40_000]
    if not found:
        sys.exit(f"no images in {folders}")
    return found


def changed(data, others, draw):
    """One to four changes: bits, bytes, telling numbers, cuts, repeats, parts of another file."""
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        size = len(data)
        # Headers say most.
        at = draw.randrange(min(size, 96) if draw.random() < 0.6 else size) if size else 0
        what = draw.randrange(8)
        if what == 0 and size:
            data[at] ^= 1 << draw.randrange(8)
        elif what == 1 and size:
            data[at] = draw.randrange(256)
        elif what == 2 and size:
            data[at] = draw.choice([0, 1, 2, 3, 4, 7, 8, 15, 16, 24, 32, 40, 64, 127, 128, 254, 255])
        elif what == 3:
            width = draw.choice([2, 4])
            number = draw.choice([0, 1, 2, 13, 255, 256, 0x7FFF, 0xFFFF, (1 << 31) - 1, (1 << 32) - 1]) % (1 << 8 * width)
            data[at : at + width] = number.to_bytes(width, draw.choice(["little", "big"]))
        elif what == 4:
            del data[at : None if draw.random() < 0.3 else at + draw.randrange(1, 9)]
        elif what == 5:
            data[at:at] = data[at : at + draw.randrange(1, 17)]
        elif what == 6:
            other = draw.choice(others)
            start = draw.randrange(len(other))
            part = other[start : start + draw.randrange(1, 65)]
            data[at : at + len(part)] = part
        else:
            data[at:at] = bytes(draw.randrange(256) for _ in range(draw.randrange(1, 5)))
    return bytes(data)


def pillows(data):
    """Width, height and CRC-32 as Pillow has them, or why it refuses."""
    try:
        image = Image.open(io.BytesIO(data))
        if image.width * image.height > 4_000_000:
            return None
        image = image.convert("RGB")
        return f"{image.width} {image.height} {zlib.crc32(image.tobytes())}"
    except Exception as error:
        return f"refused {type(error).__name__}: {error}"


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    draw, all_seeds = random.Random(seed), seeds(sys.argv[3:])
    tool = ROOT / "target/release/examples/verdicts"
    counts, strict, finds = collections.Counter(), collections.Counter(), []
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        paths = [pathlib.Path(folder) / str(i) for i in range(BATCH)]
        names = "".join(f"{path}\n" for path in paths)
        while time.monotonic() - started < seconds:
            batch = [changed(draw.choice(all_seeds), all_seeds, draw) for _ in range(BATCH)]
            for path, data in zip(paths, batch):
                path.write_bytes(data)
            done = subprocess.run([tool], input=names, capture_output=True, text=True)
            ours = done.stdout.splitlines()
            if done.returncode != 0 or len(ours) != BATCH:
                finds.append((batch[min(len(ours), BATCH - 1)], f"it ended with {done.returncode}: {done.stderr[-300:]}"))
                ours += ["refused"] * (BATCH - len(ours))
            for data, own in zip(batch, ours):
                theirs = pillows(data)
                if theirs is None:
                    counts["too large to compare"] += 1
                elif own.startswith("refused"):
                    counts["refused by both" if theirs.startswith("refused") else "refused, read by Pillow"] += 1
                    if not theirs.startswith("refused"):
                        strict[re.sub(r"\d+", "N", own.split("`: ", 1)[-1])[:90]] += 1
                elif own == theirs:
                    counts["equal"] += 1
                else:
                    counts["NOT AS PILLOW"] += 1
                    finds.append((data, f"{own} | {theirs}"))
    for data, what in finds[:100]:
        path = ROOT / "fuzz/finds/images" / f"{zlib.crc32(data):08x}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        print(path.name, data[:4], len(data), what)
    print(sum(counts.values()), "files:", dict(counts))
    for message, count in strict.most_common(30):
        print(f"{count:7} {message}")
    sys.exit(1 if finds else 0)


main()
