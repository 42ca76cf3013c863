//! Writing what `torch.save` writes: a zip file with a pickle of an ordered dict of tensors and, stored
//! and aligned to 64 bytes, a storage a tensor. `torch.load(weights_only=True)` reads it.
//!
//! Source: `torch/serialization.py` of PyTorch 2.11; PKWARE's APPNOTE 6.3. The metadata stand in an entry that
//! PyTorch does not look at.

use std::collections::BTreeMap;

use serde_json::json;

use super::layout::{Destination, Layout, Sink};
use crate::checkpoint::{Dtype, TensorInfo};
use crate::formats::pickle::written::{Kept, with_tensors};
use crate::tensors::checksum::Checksum;
use crate::{Error, Kind, METADATA_ENTRY, Result};

/// Name of the folder in the zip file, as PyTorch gives it when it writes to a buffer.
const ROOT: &str = "archive";

/// What PyTorch aligns storages to.
const ALIGNMENT: u64 = 64;

/// From here on sizes and offsets stand in 64-bit fields.
const WIDE: u64 = u32::MAX as u64;

/// 1980-01-01, the first day that zip files know.
const DATE: u16 = (1 << 5) | 1;

struct Entry {
    name: String,
    /// Of the local header.
    header: u64,
    /// Of the first byte.
    data: u64,
    size: u64,
    /// Small ones, whole.
    content: Option<Vec<u8>>,
}

/// Where everything goes in a PyTorch file to be written.
pub(crate) struct TorchLayout {
    /// Small ones, then one a tensor, then small ones.
    entries: Vec<Entry>,
    /// Number of the first tensor's entry.
    first: usize,
    /// Where the directory begins.
    directory: u64,
    size: u64,
}

impl TorchLayout {
    /// Storages follow each other in the order given. `rest`: what is no tensor, by name, as instructions of a pickle.
    pub fn new<'a>(
        tensors: impl Iterator<Item = &'a TensorInfo> + Clone,
        rest: &[(String, &[u8])],
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let (pickle, kept) = pickle(tensors.clone(), rest)?;
        let small = [
            ("data.pkl", pickle),
            (".format_version", b"1".to_vec()),
            (".storage_alignment", ALIGNMENT.to_string().into_bytes()),
            ("byteorder", b"little".to_vec()),
        ];
        let sizes: Vec<u64> = tensors.map(TensorInfo::size).collect();
        let count = sizes.len();
        let metadata = json!(metadata).to_string().into_bytes();
        let last = [("version", b"3\n".to_vec()), (METADATA_ENTRY, metadata)];
        let named =
            |(name, bytes): (&str, Vec<u8>)| (name.to_string(), bytes.len() as u64, Some(bytes));
        let first = small.len();
        let storages =
            sizes.into_iter().enumerate().map(|(i, size)| (format!("data/{i}"), size, None));
        let kept = kept
            .into_iter()
            .enumerate()
            .map(|(i, bytes)| (format!("data/{}", count + i), bytes.len() as u64, Some(bytes)));
        let all = small.into_iter().map(named).chain(storages).chain(kept);
        let all = all.chain(last.into_iter().map(named));
        let mut entries: Vec<Entry> = vec![];
        let mut at = 0;
        for (name, size, content) in all {
            let name = format!("{ROOT}/{name}");
            let header = at;
            let fixed = header + 30 + name.len() as u64 + wide_extra(size);
            // At least the four bytes of a field that fills up.
            let data = (fixed + 4).next_multiple_of(ALIGNMENT);
            at = data + size;
            entries.push(Entry { name, header, data, size, content });
        }
        let mut layout = TorchLayout { entries, first, directory: at, size: 0 };
        layout.size = at + layout.tail(&vec![0; layout.entries.len()]).len() as u64;
        Ok(layout)
    }

    /// The header before an entry's bytes.
    fn header(&self, entry: &Entry, crc: u32) -> Vec<u8> {
        let is_wide = entry.size >= WIDE;
        let size = if is_wide { u32::MAX } else { entry.size as u32 };
        let mut bytes = vec![];
        put32(&mut bytes, 0x0403_4b50);
        put16s(&mut bytes, &[version(is_wide), 0, 0, 0, DATE]);
        [crc, size, size].iter().for_each(|&n| put32(&mut bytes, n));
        let extra = entry.data - entry.header - 30 - entry.name.len() as u64;
        put16s(&mut bytes, &[entry.name.len() as u16, extra as u16]);
        bytes.extend_from_slice(entry.name.as_bytes());
        if is_wide {
            put16s(&mut bytes, &[1, 16]);
            [entry.size, entry.size].iter().for_each(|&n| put64(&mut bytes, n));
        }
        // What fills up, under the id that PyTorch uses.
        let filler = (entry.data - entry.header) as usize - bytes.len() - 4;
        bytes.extend_from_slice(b"FB");
        put16s(&mut bytes, &[filler as u16]);
        bytes.resize(bytes.len() + filler, b'Z');
        bytes
    }

    /// The directory and what follows it.
    fn tail(&self, crcs: &[u32]) -> Vec<u8> {
        let mut bytes = vec![];
        for (entry, &crc) in self.entries.iter().zip(crcs) {
            let mut wide = vec![];
            let mut narrow = |n: u64| match n >= WIDE {
                true => {
                    put64(&mut wide, n);
                    u32::MAX
                }
                false => n as u32,
            };
            let (size, packed, header) =
                (narrow(entry.size), narrow(entry.size), narrow(entry.header));
            put32(&mut bytes, 0x0201_4b50);
            let version = version(!wide.is_empty());
            put16s(&mut bytes, &[version, version, 0, 0, 0, DATE]);
            [crc, packed, size].iter().for_each(|&n| put32(&mut bytes, n));
            let extra = if wide.is_empty() { 0 } else { 4 + wide.len() as u16 };
            put16s(&mut bytes, &[entry.name.len() as u16, extra, 0, 0, 0]);
            put32(&mut bytes, 0);
            put32(&mut bytes, header);
            bytes.extend_from_slice(entry.name.as_bytes());
            if !wide.is_empty() {
                put16s(&mut bytes, &[1, wide.len() as u16]);
                bytes.append(&mut wide);
            }
        }
        let (length, count) = (bytes.len() as u64, self.entries.len() as u64);
        let end = self.directory + length;
        put32(&mut bytes, 0x0606_4b50);
        put64(&mut bytes, 44);
        put16s(&mut bytes, &[45, 45]);
        [0, 0].iter().for_each(|&n| put32(&mut bytes, n));
        [count, count, length, self.directory].iter().for_each(|&n| put64(&mut bytes, n));
        put32(&mut bytes, 0x0706_4b50);
        put32(&mut bytes, 0);
        put64(&mut bytes, end);
        put32(&mut bytes, 1);
        put32(&mut bytes, 0x0605_4b50);
        let count = count.min(0xffff) as u16;
        put16s(&mut bytes, &[0, 0, count, count]);
        [length, self.directory].iter().for_each(|&n| put32(&mut bytes, n.min(WIDE) as u32));
        put16s(&mut bytes, &[0]);
        bytes
    }
}

impl Layout for TorchLayout {
    fn size(&self) -> u64 {
        self.size
    }

    fn destination(&self, tensor: usize) -> Destination<'_> {
        Destination::Row(self.entries[self.first + tensor].data)
    }

    fn checksum(&self) -> Option<Checksum> {
        Some(Checksum::Crc)
    }

    fn finish(&self, sink: &dyn Sink, file: usize, tensors: &[(&TensorInfo, u128)]) -> Result<()> {
        let mut sums = tensors.iter().map(|(_, sum)| *sum as u32);
        let mut crcs = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let crc = match &entry.content {
                Some(content) => crc32fast::hash(content),
                None => sums.next().expect("a sum a tensor"),
            };
            sink.write_at(file, &self.header(entry, crc), entry.header)?;
            if let Some(content) = &entry.content {
                sink.write_at(file, content, entry.data)?;
            }
            crcs.push(crc);
        }
        sink.write_at(file, &self.tail(&crcs), self.directory)
    }
}

/// Bytes of the field with 64-bit sizes, if they are needed.
fn wide_extra(size: u64) -> u64 {
    if size >= WIDE { 20 } else { 0 }
}

/// The version that a reader must know.
fn version(is_wide: bool) -> u16 {
    if is_wide { 45 } else { 20 }
}

fn put16s(bytes: &mut Vec<u8>, numbers: &[u16]) {
    numbers.iter().for_each(|n| bytes.extend_from_slice(&n.to_le_bytes()));
}

fn put32(bytes: &mut Vec<u8>, n: u32) {
    bytes.extend_from_slice(&n.to_le_bytes());
}

fn put64(bytes: &mut Vec<u8>, n: u64) {
    bytes.extend_from_slice(&n.to_le_bytes());
}

const DICT: &[u8] = b"ccollections\nOrderedDict\n)R";

/// An ordered dict of tensors, in protocol 2; and what further storages hold.
fn pickle<'a>(
    tensors: impl Iterator<Item = &'a TensorInfo>,
    rest: &[(String, &[u8])],
) -> Result<(Vec<u8>, Vec<Vec<u8>>)> {
    let mut bytes = b"\x80\x02".to_vec();
    bytes.extend_from_slice(DICT);
    bytes.push(b'(');
    let mut count = 0;
    for info in tensors {
        text(&mut bytes, &info.name);
        tensor(&mut bytes, info, count)?;
        count += 1;
    }
    let mut kept = vec![];
    for (name, instructions) in rest {
        let mut fault = None;
        let placed = with_tensors(instructions, &mut |part| {
            let Kept { dtype, shape, bytes: values } = part;
            let info = TensorInfo { name: name.clone(), dtype, shape };
            let mut bytes = vec![];
            fault = fault.take().or(tensor(&mut bytes, &info, count + kept.len()).err());
            kept.push(values);
            bytes
        });
        if let Some(e) = fault {
            return Err(e);
        }
        let broken = || Error::new(Kind::Damaged, "is no plain value").tensor(name);
        text(&mut bytes, name);
        bytes.extend(placed.ok_or_else(broken)?);
    }
    bytes.extend_from_slice(b"u.");
    Ok((bytes, kept))
}

/// A tensor with a storage of its own, that of this number.
fn tensor(bytes: &mut Vec<u8>, info: &TensorInfo, number_of_storage: usize) -> Result<()> {
    let (class, dtype) = classes(info)?;
    let function: &[u8] = match dtype {
        None => b"ctorch._utils\n_rebuild_tensor_v2\n((",
        Some(_) => b"ctorch._utils\n_rebuild_tensor_v3\n((",
    };
    bytes.extend_from_slice(function);
    text(bytes, "storage");
    bytes.extend_from_slice(format!("ctorch{class}\n").as_bytes());
    text(bytes, &number_of_storage.to_string());
    text(bytes, "cpu");
    // Untyped storages count in bytes.
    number(bytes, if dtype.is_some() { info.size() } else { info.len() as u64 });
    bytes.extend_from_slice(b"tQ");
    number(bytes, 0);
    let shape: Vec<u64> = info.shape.iter().map(|&n| n as u64).collect();
    // PyTorch's strides of empty tensors take empty dimensions for ones.
    let mut strides = vec![1; shape.len()];
    for d in (1..shape.len()).rev() {
        strides[d - 1] = shape[d].max(1) * strides[d];
    }
    tuple(bytes, &shape);
    tuple(bytes, &strides);
    bytes.push(0x89); // requires no gradient
    bytes.extend_from_slice(DICT); // no hooks
    if let Some(dtype) = dtype {
        bytes.extend_from_slice(format!("ctorch\n{dtype}\n").as_bytes());
    }
    bytes.extend_from_slice(b"tR");
    Ok(())
}

/// The class of the storage below `torch`; and the dtype, where no class of storages has it.
fn classes(info: &TensorInfo) -> Result<(&'static str, Option<&'static str>)> {
    const UNTYPED: &str = ".storage\nUntypedStorage";
    Ok(match info.dtype {
        Dtype::F64 => ("\nDoubleStorage", None),
        Dtype::F32 => ("\nFloatStorage", None),
        Dtype::F16 => ("\nHalfStorage", None),
        Dtype::BF16 => ("\nBFloat16Storage", None),
        Dtype::I64 => ("\nLongStorage", None),
        Dtype::I32 => ("\nIntStorage", None),
        Dtype::I16 => ("\nShortStorage", None),
        Dtype::I8 => ("\nCharStorage", None),
        Dtype::U8 => ("\nByteStorage", None),
        Dtype::BOOL => ("\nBoolStorage", None),
        Dtype::C64 => ("\nComplexFloatStorage", None),
        Dtype::U16 => (UNTYPED, Some("uint16")),
        Dtype::U32 => (UNTYPED, Some("uint32")),
        Dtype::U64 => (UNTYPED, Some("uint64")),
        Dtype::F8_E4M3 => (UNTYPED, Some("float8_e4m3fn")),
        Dtype::F8_E5M2 => (UNTYPED, Some("float8_e5m2")),
        Dtype::F8_E4M3FNUZ => (UNTYPED, Some("float8_e4m3fnuz")),
        Dtype::F8_E5M2FNUZ => (UNTYPED, Some("float8_e5m2fnuz")),
        Dtype::F8_E8M0 => (UNTYPED, Some("float8_e8m0fnu")),
        other => {
            let what = format!("type {other:?} has no storage in a PyTorch file");
            return Err(Error::new(Kind::Unsupported, what)
                .tensor(&info.name)
                .remedy("write safetensors"));
        }
    })
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(b'X');
    put32(bytes, text.len() as u32);
    bytes.extend_from_slice(text.as_bytes());
}

fn number(bytes: &mut Vec<u8>, n: u64) {
    match n {
        0..0x8000_0000 => {
            bytes.push(b'J');
            put32(bytes, n as u32);
        }
        _ => {
            bytes.extend_from_slice(b"\x8a\x09");
            put64(bytes, n);
            bytes.push(0);
        }
    }
}

fn tuple(bytes: &mut Vec<u8>, numbers: &[u64]) {
    bytes.push(b'(');
    numbers.iter().for_each(|&n| number(bytes, n));
    bytes.push(b't');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Checkpoint, Container};
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    struct Sparse(File);

    impl Sink for Sparse {
        fn write_at(&self, _: usize, bytes: &[u8], offset: u64) -> Result<()> {
            self.0.write_all_at(bytes, offset).unwrap();
            Ok(())
        }

        fn read_at(&self, _: usize, bytes: &mut [u8], offset: u64) -> Result<()> {
            self.0.read_exact_at(bytes, offset).unwrap();
            Ok(())
        }
    }

    /// A file with holes in the place of values: what stands beyond 4 GiB is found again.
    #[test]
    fn sizes_and_offsets_beyond_4_gib_are_written_and_read() {
        let info = |name: &str, shape: &[usize]| TensorInfo {
            name: name.into(),
            dtype: Dtype::F32,
            shape: shape.into(),
        };
        let tensors = [
            info("small", &[3]),
            info("large", &[1 << 15, 1 << 15]), // 4 GiB to the byte
            info("behind", &[2, 2]),
            info("larger", &[5 << 28]),
            info("empty", &[0, 3]),
            info("last", &[]),
        ];
        let layout = TorchLayout::new(tensors.iter(), &[], &BTreeMap::new()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pth");
        let file = File::create_new(&path).unwrap();
        file.set_len(layout.size()).unwrap();
        let sums: Vec<_> = tensors.iter().map(|t| (t, 7)).collect();
        layout.finish(&Sparse(file), 0, &sums).unwrap();
        let read = Checkpoint::open(&path).unwrap();
        assert_eq!(read.container(), Container::Torch);
        assert_eq!(read.tensors(), tensors);
        for (i, tensor) in tensors.iter().enumerate() {
            let Destination::Row(offset) = layout.destination(i) else { unreachable!() };
            assert_eq!(offset % ALIGNMENT, 0);
            let (_, found) = read.locate(i, 0..tensor.size()).unwrap();
            assert_eq!(found, offset..offset + tensor.size(), "{}", tensor.name);
        }
    }
}
