"""Changes label files at random and looks at what is made of them: tables.py [SECONDS [SEED]]

Needs `cargo build --release -p swa-data --example verdicts`. No file may end the program, take long, or be refused as anything but
bad input or a limit. What breaks this is kept in fuzz/finds/labels; exit 1.
"""

import collections
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
BATCH = 300
NAMES = ["a.png", "b.png", "1.jpg", "x/2.jpg", "x/d e.png", "n01440764.webp"]
TABLES = [
    "image,fold,label\na.png,1,0\nb.png,0,1\n1.jpg,1,2\n2.jpg,0,0\nd e.png,1,1\nn01440764.webp,0,2\n",
    'a.png 0\nb.png 1\n1.jpg 2\nx/2.jpg 0\n"d e.png" 1\nn01440764.webp 2\n',
    "image;A;B;C\r\na;1;0;0\r\nb;0;1;0\r\n1;0;0;1\r\n2;1;0;0\r\nd e;0;1;0\r\nn01440764;1;0;0\r\n",
    "".join(f'{{"file_name": "{name}", "label": {i}}}\n' for i, name in enumerate(NAMES)),
    '{"labels": [["a.png", 0], ["b.png", 1], ["1.jpg", 2], ["x\\\\2.jpg", 0], ["d e.png", 1], ["n01440764", 2]]}',
    '{"a.png": "cat", "b.png": "dog", "1.jpg": "cat", "2.jpg": "cat", "d e.png": "dog", "n01440764": "dog"}',
    "0\n1\n2\n0\n1\n2\n",
    "a,n01440764 1 2 3 4 n01440764 5 6 7 8\nb,n01443537 1 2 3 4\n1,n01440764\n2,n01440764\nd e,n01443537\nn01440764,n01443537\n",
    "image,is_train,is_val,kind,stage\na,1,0,cat,train\nb,0,1,dog,val\n1,0,0,cat,test\n2,0,1,cat,val\nd e,1,0,dog,train\nn01440764,0,0,cat,test\n",
    "image,partition,A,B\na,0,x,\nb,1,,x\n1,2,x,\n2,0,x,\nd e,1,,x\nn01440764,2,,x\n",
    "image,split,label\na,train,1\nb,val,0\n1,val,1\n2,test,2\nd e,val,0\nn01440764,val,1\n",
]
WORDS = ["label", "fold", "image", "a.png", "x/2.jpg", "1", "0", "-1", "0.5", "1e9", "99999999999999999999", "", '"', ",", ";", "\t", "|", " ",
         "\n", "\r\n", "[1, 2]", "{", "}", "null", "\ufeff", "\0", "n01440764", "train", "\u4e2d", "#", "yes", "no", "x",
         "tensor(1)", "1 0", "(1,)", "\u200b1"]


def changed(text, draw):
    data = bytearray(text.encode())
    for _ in range(draw.choice([1, 1, 2, 4, 8])):
        at = draw.randrange(len(data) + 1)
        what = draw.randrange(6)
        if what == 0:
            data[at : at + draw.randrange(6)] = draw.choice(WORDS).encode()
        elif what == 1:
            del data[at : at + draw.randrange(1, 12)]
        elif what == 2:
            data[at:at] = data[at : at + draw.randrange(1, 60)] * draw.choice([1, 1, 2, 200])
        elif what == 3 and at < len(data):
            data[at] = draw.randrange(256)
        elif what == 4:
            lines = data.split(b"\n")
            draw.shuffle(lines)
            data = bytearray(b"\n".join(lines))
        else:
            other = draw.choice(TABLES).encode()
            start = draw.randrange(len(other))
            data[at:at] = other[start : start + draw.randrange(1, 60)]
    return bytes(data)


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    draw = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    tool = ROOT / "target/release/examples/verdicts"
    counts, messages, finds = collections.Counter(), collections.Counter(), []
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        images = pathlib.Path(folder) / "images"
        for name in NAMES:
            (images / name).parent.mkdir(parents=True, exist_ok=True)
            (images / name).touch()
        paths = [pathlib.Path(folder) / str(i) for i in range(BATCH)]
        names = "".join(f"{path}\n" for path in paths)
        while time.monotonic() - started < seconds:
            batch = [changed(draw.choice(TABLES), draw) for _ in range(BATCH)]
            for path, data in zip(paths, batch):
                path.write_bytes(data)
            done = subprocess.run([tool, images], input=names, capture_output=True, text=True, errors="replace", timeout=120)
            answers = done.stdout.splitlines()
            if done.returncode != 0 or len(answers) != BATCH:
                finds.append((batch[min(len(answers), BATCH - 1)], f"it ended with {done.returncode}: {done.stderr[-300:]}"))
            for data, answer in zip(batch, answers):
                if not answer.startswith("refused"):
                    counts["read"] += 1
                    continue
                counts["refused"] += 1
                code, message = answer.split(" ", 2)[1:]
                messages[re.sub(r"`[^`]*`|\d+", "N", message)[:80]] += 1
                if code not in "36":
                    finds.append((data, answer[:300]))
    for data, what in finds[:100]:
        path = ROOT / "fuzz/finds/labels" / f"{zlib.crc32(data):08x}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        print(path.name, what)
    print(sum(counts.values()), "files:", dict(counts))
    for message, count in messages.most_common(25):
        print(f"{count:7} {message}")
    sys.exit(1 if finds else 0)


main()
