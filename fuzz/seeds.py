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
# What was kept and found.
for path in sorted(fixtures.parent.glob("fuzz/*/*")):
    seed(path.parent.name, path.read_bytes())
print(count, "seeds")
