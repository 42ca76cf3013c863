//! Hostile files: pickles, tensors, zip files, and those of before PyTorch 1.6.

use super::Case;
use super::build::*;

const LONG: usize = 30_000;

/// A line that no output may have.
pub const FORGED: &str = "error: forged";

pub fn pickles() -> Vec<Case> {
    let long = text(&"k".repeat(LONG));
    // A tensor made from a list that holds the tensor.
    let cycle = join(&[
        b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_parameter\n",
        b"ctorch\nTensor\n]q\x01}tRq\x02h\x01h\x02a0",
    ]);
    let cycle = join(&[&cycle, b"}", &text("w"), b"h\x02s"]);
    // Dicts of dicts: the same thousands of tensors again and again.
    let leaf = join(&[&tensor(&[16], &[1]), &put(1), b"0"]);
    let numbered = |n: usize, value: &[u8]| -> Bytes {
        (0..n).flat_map(|i| join(&[&text(&i.to_string()), value])).collect()
    };
    let inner = join(&[&leaf, &dict(&[&numbered(3000, &get(1))]), &put(2), b"0"]);
    let product = join(&[&inner, &dict(&[&text("model"), &dict(&[&numbered(3000, &get(2))])])]);
    let below_long = dict(&[&text("model"), &dict(&[&text("b"), &get(1), &long, &get(2)])]);
    let long_path = join(&[&inner, &below_long]);
    let long_keys = join(&[
        &leaf,
        &long,
        &put(3),
        b"0",
        &dict(&[&text("model"), &dict(&[&join(&[&get(3), &get(1)]).repeat(7000)])]),
    ]);
    let long_class = "c".repeat(LONG);
    let foreign = join(&[b"c", long_class.as_bytes(), b"\nC\n)\x81", &put(3), b"0"]);
    let objects =
        join(&[&foreign, &leaf, b"}(", &numbered(2500, &get(3)), &text("w"), &get(1), b"u"]);
    let stack_global =
        join(&[&long, &put(3), b"0](", &join(&[&get(3), &get(3), b"\x93"]).repeat(6000), b"e"]);
    let dotted = join(&[
        &text("m"),
        &put(3),
        &text(&"a.".repeat(140)),
        &put(4),
        b"00](",
        &join(&[&get(3), &get(4), b"\x93"]).repeat(12_000),
        b"e",
    ]);
    // A persistent id of many parts, which is asked for its class again and again.
    let outside = join(&[
        b"(",
        &b"N".repeat(15_000),
        b"tQ",
        &put(3),
        b"0](",
        &join(&[&get(3), b")R"]).repeat(12_000),
        b"e",
    ]);
    let others = join(&[
        &leaf,
        &foreign,
        b"}(",
        &text("model"),
        &dict(&[&text("w"), &get(1)]),
        &numbered(2500, &get(3)),
        b"u",
    ]);
    let forged = dict(&[
        &text("model"),
        &dict(&[&text("w"), &tensor(&[16], &[1])]),
        &text(&format!("x\n{FORGED}")),
        b"N",
    ]);
    let walked = join(&[b"}", &put(5), b"0", &dict(&[&long, &dict(&[&numbered(3000, &get(5))])])]);
    vec![
        ("a tensor within itself", torch_file(&cycle), 3, "broken"),
        ("a product of dicts", torch_file(&product), 6, "far more values"),
        ("a long path", torch_file(&long_path), 6, "longer than"),
        ("one long name many times", torch_file(&long_keys), 6, "longer than"),
        ("objects of a long name", torch_file(&objects), 6, "more than 300 bytes"),
        ("long names from the stack", torch_file(&stack_global), 6, "more than 300 bytes"),
        ("many dots", torch_file(&dotted), 6, "more than 16 parts"),
        ("a class outside, of many parts", torch_file(&outside), 3, "what is outside"),
        ("others of a long name", torch_file(&others), 6, "more than 300 bytes"),
        ("a forged line", torch_file(&forged), 0, ""),
        ("a way with a long name", torch_file(&walked), 3, "holds no weights"),
    ]
}

pub fn tensors() -> Vec<Case> {
    let weights = |value: &[u8]| torch_file(&dict(&[&text("w"), value]));
    let many = |first: &[u8], one: &[u8], n: usize| {
        let all: Bytes = (0..n).flat_map(|i| join(&[&text(&i.to_string()), one])).collect();
        torch_file(&join(&[first, &dict(&[&all])]))
    };
    let rebuild = |storage: &[u8], shape: &[u8], hooks: &[u8]| {
        let rebuild = b"ctorch._utils\n_rebuild_tensor_v2\nq\x01(";
        join(&[rebuild, storage, b"K\0", shape, shape, b"\x89", hooks, b"tq\x020"])
    };
    let call = b"h\x01h\x02R";
    let ones = join(&[b"(", &b"K\x01".repeat(7000), b"t"]);
    let marks = join(&[b"}(", &b"NN".repeat(10_000), b"u"]);
    let long_key = storage(&text(&"k".repeat(LONG)));
    let half = 1i64 << 60;
    let huge =
        join(&[&text("a"), &tensor(&[1 << 58], &[0]), &text("b"), &tensor(&[1 << 58], &[0])]);
    let petabyte = tensor(&[1 << 48], &[0]);
    let petabytes = dict(&[&text("a"), &petabyte, &text("b"), &petabyte]);
    vec![
        ("more than all disks hold", torch_file(&petabytes), 6, "its tensors are too large"),
        ("a huge view", weights(&tensor(&[half], &[0])), 3, "too large"),
        ("huge views together", torch_file(&dict(&[&huge])), 3, "too large"),
        ("zero and huge", weights(&tensor(&[0, half, half], &[0, 0, 0])), 3, "too large"),
        (
            "a stride that overflows",
            weights(&tensor(&[2, 2], &[i64::MAX, 1])),
            3,
            "beyond its storage",
        ),
        ("a negative stride", weights(&tensor(&[2], &[-1])), 3, "broken"),
        (
            "many dimensions",
            many(&rebuild(&storage(&text("0")), &ones, b"}"), call, 2500),
            3,
            "broken",
        ),
        (
            "many marks",
            many(&rebuild(&storage(&text("0")), &ints(&[1]), &marks), call, 2500),
            3,
            "broken",
        ),
        ("a long key", many(&rebuild(&long_key, &ints(&[1]), b"}"), call, 2500), 3, "broken"),
    ]
}

pub fn zips() -> Vec<Case> {
    let w = pickle(&dict(&[&text("w"), &tensor(&[16], &[1])]));
    let whole = torch(&dict(&[&text("w"), &tensor(&[16], &[1])]));
    let at = |signature: &[u8], n: usize| {
        let mut found = (0..whole.len()).filter(|&i| whole[i..].starts_with(signature));
        found.nth(n).unwrap()
    };
    let (local, central, end) = (b"PK\x03\x04", b"PK\x01\x02", at(b"PK\x05\x06", 0));
    let with = |place: usize, bytes: &[u8]| {
        let mut file = whole.clone();
        file[place..place + bytes.len()].copy_from_slice(bytes);
        vec![("x.pt", file)]
    };
    let data = (at(local, 1), at(central, 1));
    // The header of the storage lies in the bytes of another entry.
    let mut inside = zip(&[("x/data.pkl", &w), ("x/data/0", &[0; 64]), ("x/y", &[0; 200])]);
    {
        let find = |file: &[u8], signature: &[u8], n: usize| {
            (0..file.len()).filter(|&i| file[i..].starts_with(signature)).nth(n).unwrap()
        };
        let y = find(&inside, local, 2);
        let header = inside[find(&inside, local, 1)..][..38].to_vec();
        inside[y + 40..][..38].copy_from_slice(&header);
        // y: 10 bytes only up to the header's own bytes.
        let directory = find(&inside, central, 1);
        inside[directory + 42..][..4].copy_from_slice(&(y as u32 + 40).to_le_bytes());
    }
    // The CRC behind the pickle is the next entry's signature.
    let mut descriptor = whole.clone();
    descriptor[at(local, 0) + 6] = 8;
    descriptor[at(central, 0) + 16..][..4].copy_from_slice(local);
    vec![
        ("whole", vec![("x.pt", whole.clone())], 0, ""),
        ("a descriptor within the next entry", vec![("x.pt", descriptor)], 3, "overlaps"),
        ("a local header of another name", with(data.0 + 30, b"X"), 3, "its local header"),
        ("a local header of another method", with(data.0 + 8, b"\x08"), 3, "its local header"),
        ("a local header of another CRC", with(data.0 + 14, b"\x08"), 3, "its local header"),
        ("a local header's long extra", with(data.0 + 28, b"\xff\xff"), 3, "outside"),
        ("a local header's overlap", with(data.0 + 28, b"\x10\0"), 3, "overlaps"),
        ("an entry beyond the file", with(data.1 + 20, &[0xfe; 8]), 3, "outside"),
        ("a size without its 64-bit field", with(data.1 + 20, &[0xff; 8]), 3, "64-bit"),
        ("two sizes", with(data.1 + 24, b"\x01"), 3, "stored of"),
        ("a wrong CRC", with(at(central, 0) + 16, b"\x01"), 3, "its local header"),
        ("a directory elsewhere", with(end + 16, b"\0\0\0\0"), 3, "not where it says"),
        ("too many entries", with(end + 10, b"\xfe\xff"), 3, "too short"),
        ("too few entries", with(end + 10, b"\x01\0"), 3, "more than its entries"),
        (
            "a name twice",
            vec![("x.pt", zip(&[("x/data.pkl", &w), ("x/data.pkl", &w)]))],
            3,
            "twice",
        ),
        (
            "two pickles",
            vec![("x.pt", zip(&[("x/data.pkl", &w), ("y/data.pkl", &w)]))],
            3,
            "two pickles",
        ),
        ("an entry within another", vec![("x.pt", inside)], 3, "overlaps"),
        ("no end", vec![("x.pt", whole[..end].to_vec())], 3, "truncated"),
    ]
}

/// Safetensors, whose own readers have tests of their own: what these tools look for in the metadata.
pub fn digests() -> Vec<Case> {
    let file = |between: &str, entry: &str| {
        let header = format!(
            r#"{{"__metadata__":{{"swa.xxh3"{between}:"{entry}"}},"w":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#
        );
        vec![(
            "x.safetensors",
            join(&[&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 4]]),
        )]
    };
    let entry = ["0".repeat(32), "0".repeat(32)].join(" ");
    let wide = " ".repeat(60_000);
    vec![
        ("digests far from their key", file(&wide, &entry), 3, "digest"),
        ("too few digests", file("", &entry[..32]), 3, "not have one digest per tensor"),
        ("no digests", file(&wide, ""), 3, "not have one digest per tensor"),
        ("very long digests", file("", &"0".repeat(60_000)), 3, "not have one digest per tensor"),
    ]
}

/// Flax's MessagePack.
pub fn flax() -> Vec<Case> {
    let key = |text: &str| join(&[&[0xa0 + text.len() as u8], text.as_bytes()]);
    let file = |items: &[&[u8]]| {
        vec![("x.msgpack", join(&[&[0x80 + items.len() as u8 / 2], &items.concat()]))]
    };
    let array = |shape: &[u8]| {
        let body = join(&[b"\x93", shape, &key("float32"), b"\xc4\x04\0\0\0\0"]);
        join(&[&[0xc7, body.len() as u8, 1], &body])
    };
    let chunked = join(&[b"\xd9\x19", b"__msgpack_chunked_array__"]);
    // Each is looked for among all.
    let n: u16 = 9000;
    let numbers = (0..n).flat_map(|i| join(&[&key(&i.to_string()), b"\x01"])).collect::<Bytes>();
    let many = join(&[b"\xde", &n.to_be_bytes(), &numbers]);
    let chunks = join(&[b"\x83", &chunked, b"\xc3", &key("shape"), &many, &key("chunks"), &many]);
    let chunks = chunks[..chunks.len() - many.len()].to_vec();
    let chunks = join(&[&chunks, b"\x80"]);
    let deep = join(&[&b"\x81\xa1a".repeat(20_000), b"\x01"]);
    let huge = b"\x93\xcf\x7f\xff\xff\xff\xff\xff\xff\xff\x02\0";
    vec![
        ("Flax", file(&[&key("w"), &array(b"\x91\x01")]), 0, ""),
        ("chunks of many numbers", file(&[&key("w"), &chunks]), 3, "do not make it whole"),
        ("deep maps", file(&[&key("w"), &deep]), 6, "deeper"),
        ("a huge map", file(&[&key("w"), b"\xdf\xff\xff\xff\xff"]), 3, "truncated"),
        ("a huge shape", file(&[&key("w"), &array(huge)]), 3, "too large"),
        ("more values than bytes", file(&[&key("w"), &array(b"\x91\x02")]), 3, "8 bytes, not 4"),
    ]
}

pub fn legacies() -> Vec<Case> {
    let stored = |view: &[u8]| {
        let storage = join(&[
            b"(",
            &text("storage"),
            b"ctorch\nFloatStorage\n",
            &text("0"),
            &text("cpu"),
            b"K\x04",
            view,
            b"tQ",
        ]);
        let rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n(";
        let tensor = join(&[rebuild, &storage, b"K\0", &ints(&[4]), &ints(&[1]), b"\x89}tR"]);
        dict(&[&text("w"), &tensor])
    };
    let keys = join(&[b"](", &text("0"), b"e"]);
    let four = join(&[&4u64.to_le_bytes(), &[0; 16]]);
    let huge = join(&[&(1u64 << 62).to_le_bytes(), &[0; 16]]);
    let view = |key: &str, offset: i64, count: i64| {
        join(&[b"(", &text(key), &int(offset), &int(count), b"t"])
    };
    vec![
        ("legacy", legacy(&stored(b"N"), &keys, &four), 0, ""),
        ("a storage of a huge count", legacy(&stored(b"N"), &keys, &huge), 3, "truncated"),
        ("a storage that ends early", legacy(&stored(b"N"), &keys, &four[..20]), 3, "truncated"),
        (
            "more than the storages",
            legacy(&stored(b"N"), &keys, &four.repeat(2)),
            3,
            "more bytes follow",
        ),
        (
            "a view beyond its storage",
            legacy(&stored(&view("v", i64::MAX, 4)), &keys, &four),
            3,
            "beyond its storage",
        ),
        (
            "a view's huge count",
            legacy(&stored(&view("v", 0, i64::MAX)), &keys, &four),
            3,
            "beyond its storage",
        ),
        (
            "a view under its storage's key",
            legacy(&stored(&view("0", 1, 3)), &keys, &four),
            3,
            "view",
        ),
        (
            "a storage twice",
            legacy(&stored(b"N"), &join(&[b"](", &text("0").repeat(2), b"e"]), &four.repeat(2)),
            3,
            "twice",
        ),
    ]
}
