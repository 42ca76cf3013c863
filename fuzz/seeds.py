"""Makes the corpora to begin with: python3 seeds.py FIXTURES CORPUS. CRCs of pickles become 0, not computed, so that
changed pickles are read."""

import gzip
import io
import json
import pathlib
import struct
import sys
import zipfile

fixtures, corpus = map(pathlib.Path, sys.argv[1:])
SMALL = 20_000
NEXT = b"\xfe\xffNEXT\xff\xfe"
count = 0


def seed(target, content):
    global count
    if 0 < len(content) <= 65_536:
        folder = corpus / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"seed-{count:04}").write_bytes(content)
        count += 1


def without_crcs(zipped):
    """All CRCs 0, in the directory and beside the data, also in files of several zips."""
    out = bytearray(zipped)
    for signature, crc, flags in ((b"PK\x01\x02", 16, 8), (b"PK\x03\x04", 14, 6), (b"PK\x07\x08", 4, None)):
        at = out.find(signature)
        while at >= 0:
            out[at + crc : at + crc + 4] = bytes(4)
            at = out.find(signature, at + 1)
    return bytes(out)


def pickle_of(zipped):
    with zipfile.ZipFile(io.BytesIO(zipped)) as file:
        for name in file.namelist():
            if name.endswith("data.pkl"):
                return file.read(name)
    return b""


for path in sorted(fixtures.rglob("*")):
    if not path.is_file() or path.stat().st_size > 400_000:
        continue
    content = path.read_bytes()
    if content.startswith(b"PK\x03\x04") and path.suffix not in (".distcp", ".keras"):
        if len(content) < SMALL:
            seed("torch_zip", without_crcs(content))
        try:
            seed("pickle", pickle_of(content))
        except Exception:
            pass
    elif path.suffix == ".safetensors" and len(content) < SMALL:
        seed("safetensors", content)
    elif content[:1] == b"\x80" and b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19" in content[:30] and len(content) < SMALL:
        seed("torch_legacy", content)
    elif path.suffix in (".h5", ".keras"):
        seed("hdf5", content)
    elif path.suffix == ".msgpack":
        seed("flax", content)
    if path.name == ".metadata":
        seed("pickle", content)
        chunks = [without_crcs(p.read_bytes()) for p in sorted(path.parent.glob("*.distcp"))]
        seed("distributed", NEXT.join([content] + chunks))
    if path.name.endswith("rank_00_optim_states.pt") and "rank_0_mp" in path.name:
        optimizers = sorted(path.parent.glob("*optim_states.pt"))
        models = sorted(path.parent.glob("*model_states.pt"))
        pickles = [pickle_of(p.read_bytes()) for p in models[:1] + optimizers + models[1:]]
        seed("deepspeed", NEXT.join(pickles))
# Programs: the graph without what is not read, and what stands beside it.
for path in sorted(fixtures.parent.glob("programs/*.pt2.gz")):
    with zipfile.ZipFile(io.BytesIO(gzip.decompress(path.read_bytes()))) as file:
        parts = {}
        for name in file.namelist():
            for end in ("models/model.json", "weights_config.json", "constants_config.json", "exported_program.json"):
                if name.endswith(end):
                    parts[end] = json.loads(file.read(name))
        for graph in parts.values():
            for node in graph.get("graph_module", {}).get("graph", {}).get("nodes", []):
                node["metadata"].pop("stack_trace", None)
        texts = [json.dumps(part, separators=(",", ":")).encode() for part in parts.values()]
        if "models/model.json" in parts and len(parts) == 3:
            names = ("models/model.json", "weights_config.json", "constants_config.json")
            texts = [json.dumps(parts[name], separators=(",", ":")).encode() for name in names]
        seed("program", NEXT.join(texts))
# Label files, lists of classes and images.
TABLES = [
    "image,fold,label\na.png,1,0\nb.png,0,1\n1.jpg,1,2\n2.jpg,0,0\nd e.png,1,1\nn01440764.webp,0,2\n",
    "a.png 0\nb.png 1\n1.jpg 2\nx/2.jpg 0\n\"d e.png\" 1\nn01440764.webp 2\n",
    "image;A;B;C\r\na;1;0;0\r\nb;0;1;0\r\n1;0;0;1\r\n2;1;0;0\r\nd e;0;1;0\r\nn01440764;1;0;0\r\n",
    "".join(f'{{"file_name": "{n}", "label": {i}}}\n' for i, n in enumerate(["a.png", "b.png", "1.jpg", "x/2.jpg", "x/d e.png", "n01440764.webp"])),
    '{"labels": [["a.png", 0], ["b.png", 1], ["1.jpg", 2], ["x\\\\2.jpg", 0], ["d e.png", 1], ["n01440764", 2]]}',
    "0\n1\n2\n0\n1\n2\n",
    "a,n01440764 1 2 3 4 n01440764 5 6 7 8\nb,n01443537 1 2 3 4\n",
    "image,split,label\na,train,1\nb,val,0\n1,val,1\n2,test,2\nd e,val,0\nn01440764,val,1\n",
]
for table in TABLES:
    for form in (0, 1, 5, 128):
        seed("labels", bytes([form]) + table.encode())
seed("labels", b"\0" + b"\xff\xfe" + TABLES[0].encode("utf-16-le"))
# The list of classes that some come with, after a record separator.
for table, classes in ((TABLES[0], "cat\ndog\nbird\n"), (TABLES[1], "0 cat\n1 dog\n2 bird\n"), (TABLES[6], "n01440764\nn01443537\n"), (TABLES[0], "")):
    seed("labels", b"\x20" + table.encode() + b"\x1e" + classes.encode())
for text in ('{"cat": 0, "dog": 1, "n01440764": null}', '{"0": ["cat", "x"], "1": "dog", "2": "n01440764"}', '["cat", "dog", "n01440764"]',
             "cat 0\ndog 2\nn01440764 -\n", "cat\ndog\nn01440764\n", "1 cat\n2 dog\n3 n01440764\n", "n01440764 tench, Tinca tinca\n"):
    seed("class_map", text.encode())
for path in sorted((fixtures.parent / "pixels").rglob("*")):
    if path.is_file() and path.suffix not in (".json", ".py", ".md") and path.stat().st_size < SMALL:
        seed("image", path.read_bytes())
# What was kept and found.
for path in sorted(fixtures.parent.glob("fuzz/*/*")):
    seed(path.parent.name, path.read_bytes())
print(count, "seeds")
