//! Hostile files, byte by byte: pickles, zip files and folders that no trainer writes.

pub type Bytes = Vec<u8>;

/// A file's name and content.
pub type File = (&'static str, Bytes);

pub fn join(parts: &[&[u8]]) -> Bytes {
    parts.concat()
}

pub fn text(text: &str) -> Bytes {
    join(&[b"X", &(text.len() as u32).to_le_bytes(), text.as_bytes()])
}

pub fn int(n: i64) -> Bytes {
    match u8::try_from(n) {
        Ok(n) => vec![b'K', n],
        Err(_) => join(&[b"\x8a\x08", &n.to_le_bytes()]),
    }
}

pub fn ints(numbers: &[i64]) -> Bytes {
    let all: Bytes = numbers.iter().flat_map(|&n| int(n)).collect();
    join(&[b"(", &all, b"t"])
}

/// A dict of pieces: key, value, key, value.
pub fn dict(items: &[&[u8]]) -> Bytes {
    join(&[b"}(", &items.concat(), b"u"])
}

/// An object of a class with a state, as classes without `__reduce__` are stored.
pub fn object(class: &str, fields: &[(&str, &[u8])]) -> Bytes {
    let items: Bytes = fields.iter().flat_map(|(key, value)| join(&[&text(key), value])).collect();
    join(&[b"c", class.as_bytes(), b"\n)\x81}(", &items, b"ub"])
}

pub fn storage(key: &[u8]) -> Bytes {
    join(&[b"(", &text("storage"), b"ctorch\nFloatStorage\n", key, &text("cpu"), b"K\x10tQ"])
}

/// A view of the storage `0`, which has 16 values.
pub fn tensor(shape: &[i64], strides: &[i64]) -> Bytes {
    view(&text("0"), &ints(shape), &ints(strides), b"}")
}

pub fn view(key: &[u8], shape: &[u8], strides: &[u8], hooks: &[u8]) -> Bytes {
    let rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n(";
    join(&[rebuild, &storage(key), b"K\0", shape, strides, b"\x89", hooks, b"tR"])
}

/// A whole pickle.
pub fn pickle(value: &[u8]) -> Bytes {
    join(&[b"\x80\x02", value, b"."])
}

/// Puts the value on top into the memo, or takes it from there.
pub fn put(n: u8) -> [u8; 2] {
    [b'q', n]
}

pub fn get(n: u8) -> [u8; 2] {
    [b'h', n]
}

/// A zip file without CRCs and dates.
pub fn zip(entries: &[(&str, &[u8])]) -> Bytes {
    let (mut file, mut directory) = (vec![], vec![]);
    for (name, bytes) in entries {
        let at = file.len() as u32;
        let size = (bytes.len() as u32).to_le_bytes();
        let name_length = (name.len() as u16).to_le_bytes();
        let sizes = join(&[&[0; 4], &size, &size, &name_length, &[0; 2]]);
        file.extend(join(&[b"PK\x03\x04", &[0; 10], &sizes, name.as_bytes(), bytes]));
        let rest = join(&[&[0; 10], &at.to_le_bytes(), name.as_bytes()]);
        directory.extend(join(&[b"PK\x01\x02", &[0; 12], &sizes, &rest]));
    }
    let count = (entries.len() as u16).to_le_bytes();
    let place =
        join(&[&(directory.len() as u32).to_le_bytes(), &(file.len() as u32).to_le_bytes()]);
    join(&[&file, &directory, b"PK\x05\x06\0\0\0\0", &count, &count, &place, &[0; 2]])
}

/// What torch.save would make of a pickle: with a storage of 16 values.
pub fn torch(value: &[u8]) -> Bytes {
    zip(&[("x/data.pkl", &pickle(value)), ("x/data/0", &[0; 64])])
}

pub fn torch_file(value: &[u8]) -> Vec<File> {
    vec![("x.pt", torch(value))]
}

const METADATA: &str = "torch.distributed.checkpoint.metadata";

/// One tensor of a distributed checkpoint: name, shape, and where its chunks begin and how large they are.
pub struct Chunked<'a> {
    pub name: &'a str,
    pub shape: &'a [i64],
    pub chunks: &'a [(&'a [i64], &'a [i64])],
}

/// A distributed checkpoint whose chunks have all the same content in `__0_0.distcp`: each its own copy, or
/// all in one place.
pub fn distributed(tensors: &[Chunked], file: &str, content: Bytes, copies: bool) -> Vec<File> {
    let mut number = 0;
    let class = |name: &str| format!("{METADATA}\n{name}");
    let (mut described, mut stored) = (vec![], vec![]);
    for Chunked { name, shape, chunks } in tensors {
        let properties = object(&class("TensorProperties"), &[("dtype", b"ctorch\nfloat32\n")]);
        let all: Bytes = (chunks.iter())
            .flat_map(|(at, size)| {
                let fields: [(&str, &[u8]); 2] = [("offsets", &ints(at)), ("sizes", &ints(size))];
                object(&class("ChunkStorageMetadata"), &fields)
            })
            .collect();
        let fields: [(&str, &[u8]); 3] = [
            ("size", &ints(shape)),
            ("properties", &properties),
            ("chunks", &join(&[b"](", &all, b"e"])),
        ];
        described.extend(join(&[&text(name), &object(&class("TensorStorageMetadata"), &fields)]));
        for (at, _) in *chunks {
            let fields: [(&str, &[u8]); 2] = [("fqn", &text(name)), ("offset", &ints(at))];
            stored.extend(object(&class("MetadataIndex"), &fields));
            let fields: [(&str, &[u8]); 3] = [
                ("relative_path", &text(file)),
                ("offset", &int(number * content.len() as i64)),
                ("length", &int(content.len() as i64)),
            ];
            stored.extend(object("torch.distributed.checkpoint.filesystem\n_StorageInfo", &fields));
            number += copies as i64;
        }
    }
    let described = dict(&[&described]);
    let metadata = metadata(&described, &dict(&[&stored]));
    vec![(".metadata", metadata), ("__0_0.distcp", content.repeat(number.max(1) as usize))]
}

pub fn metadata(described: &[u8], stored: &[u8]) -> Bytes {
    let fields: [(&str, &[u8]); 2] = [("state_dict_metadata", described), ("storage_data", stored)];
    pickle(&object(&format!("{METADATA}\nMetadata"), &fields))
}

/// DeepSpeed's stage 3 with one process: what its optimizer and its model hold, items of dicts.
pub fn zero_3(groups: &[u8], model: &[u8]) -> Vec<File> {
    let optimizer = dict(&[
        &text("zero_stage"),
        b"K\x03",
        &text("partition_count"),
        b"K\x01",
        &text("fp32_flat_groups"),
        groups,
    ]);
    let optimizer = dict(&[&text("optimizer_state_dict"), &optimizer]);
    vec![
        ("zero_pp_rank_0_mp_rank_00_optim_states.pt", torch(&optimizer)),
        ("zero_pp_rank_0_mp_rank_00_model_states.pt", torch(&dict(&[model]))),
    ]
}

/// A file of before PyTorch 1.6: the value, the storages' keys, and their counts and bytes.
pub fn legacy(value: &[u8], keys: &[u8], storages: &[u8]) -> Vec<File> {
    let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    let head = [&magic[..], b"\x80\x02M\xe9\x03.", b"\x80\x02}."].concat();
    vec![("x.pth", join(&[&head, &pickle(value), &pickle(keys), storages]))]
}
