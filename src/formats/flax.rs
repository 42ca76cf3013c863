//! What `flax.serialization.to_bytes` writes: MessagePack, nested maps whose leaves are arrays. An array is an
//! extension that again holds MessagePack: shape, type and bytes. Arrays above a gigabyte are written in chunks.
//!
//! Source: `flax/serialization.py` of Flax 0.12. Only the few bytes before each value are read.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use rmp::Marker;
use rmp::decode;

use super::format::{Candidate, Format, Reader, Request};
use crate::store::Source;
use crate::tensors::contents::{Contents, Location, NO_CHECKSUM, StoredChecksums};
use crate::tensors::dtype::dtype_called;
use crate::tensors::gather::{Gather, Slab};
use crate::tensors::view::{bytes, dimensions};
use crate::tensors::{Dtype, MAX_RANK, TensorInfo};
use crate::weights::tree::{Node, short};
use crate::weights::{self, Take};
use crate::{Error, Kind, Result};

pub(super) const FORMAT: Format = Format {
    name: "Flax msgpack",
    endings: &["msgpack"],
    reader: Reader::File {
        is_one: |candidate| Ok(starts_map(&candidate.head)),
        read: |candidate: Candidate, request: &Request| {
            Ok(read(candidate.file, request.take)?.into())
        },
    },
};

/// Types of extension.
const ARRAY: i8 = 1;
const COMPLEX: i8 = 2;
const SCALAR: i8 = 3;

const CHUNKED: &str = "__msgpack_chunked_array__";

/// How deep maps may be nested.
const MAX_DEPTH: u32 = 128;

/// Most values in a file: a million tensors and the optimizer's two moments of each.
const MAX_VALUES: u32 = 4_000_000;

/// Longest key in bytes, and most bytes of all keys.
const MAX_KEY: u64 = 10_000;
const MAX_KEYS: u64 = 200_000_000;

/// How many values that are no arrays are kept once.
const MAX_PLAIN: usize = 1 << 16;

/// An array and where its values are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Array {
    dtype: Dtype,
    shape: Vec<u64>,
    /// The bytes in the order of the values: one run, or one per chunk.
    runs: Vec<Range<u64>>,
}

type Tree = Rc<Node<Array>>;

fn bad(what: impl std::fmt::Display) -> Error {
    Error::new(Kind::Damaged, format!("bad MessagePack file: {what}"))
        .remedy("save or copy the file again")
}

fn truncated() -> Error {
    Error::new(Kind::Truncated, "bad MessagePack file: it ends within a value: truncated?")
        .remedy("save or copy the file again")
}

/// Whether a file begins with a map whose first key is a string.
fn starts_map(head: &[u8]) -> bool {
    let mut rest = head;
    if !matches!(decode::read_map_len(&mut rest), Ok(1..)) {
        return false;
    }
    let Ok(length) = decode::read_str_len(&mut rest) else { return false };
    let key = &rest[..rest.len().min(length as usize)];
    // The head may end within a character.
    let is_text = std::str::from_utf8(key).map_or_else(|e| e.error_len().is_none(), |_| true);
    length > 0 && is_text && !key.iter().any(u8::is_ascii_control)
}

/// The variables of a Flax file.
fn read(source: &Source, take: &Take) -> Result<Contents> {
    let mut reader = Walk {
        source,
        at: 0,
        end: source.size(),
        values: 0,
        keys: 0,
        path: vec![],
        plain: HashMap::new(),
    };
    let root = match reader.value(0) {
        Ok(root) => root,
        Err(e) if reader.path.is_empty() => return Err(e),
        Err(e) => return Err(e.tensor(&short(&reader.path.join(".")))),
    };
    if reader.at != reader.end {
        return Err(bad("more bytes follow its value"));
    }
    let (arrays, taken) = weights::find_variables(&root, take)?;
    let mut contents =
        Contents { checksums: vec![StoredChecksums::None], taken, ..Contents::default() };
    for (name, Array { dtype, shape, runs }) in arrays {
        let dims = dimensions(&shape).ok_or_else(|| bad("a shape is too large").tensor(&name))?;
        let info = TensorInfo { name, dtype, shape: dims };
        match &runs[..] {
            [run] => {
                contents.locations.push(Location::Contiguous {
                    file: 0,
                    checksum: NO_CHECKSUM,
                    start: run.start,
                });
                contents.tensors.push(info);
            }
            _ => contents.push_gathered(info, gathered(dtype, &runs)),
        }
    }
    Ok(contents)
}

fn gathered(dtype: Dtype, runs: &[Range<u64>]) -> Gather {
    let width = (dtype.bitsize() / 8) as u64;
    let mut total = 0;
    let mut slab = |run: &Range<u64>| {
        let (at, size) = (total, (run.end - run.start) / width);
        total += size;
        Slab { file: 0, start: run.start, at: vec![at], size: vec![size], strides: vec![width] }
    };
    let slabs = runs.iter().filter(|run| !run.is_empty()).map(&mut slab).collect();
    Gather { shape: vec![total], width: width as usize, swap: 1, slabs }
}

/// The beginning of a value. Lengths are in bytes or values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    Map(u32),
    List(u32),
    Text(u64),
    Bytes(u64),
    Extension(i8, u64),
    Integer(i128),
    /// Anything else, of a fixed length, which was skipped.
    Single(&'static str),
}

impl Head {
    /// Takes it off the front of some bytes.
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let whole = *bytes;
        let mut single = |name, size| {
            *bytes = whole.get(size..)?;
            Some(Head::Single(name))
        };
        Some(match Marker::from_u8(*whole.first()?) {
            Marker::Null => single("nothing", 1)?,
            Marker::False | Marker::True => single("a truth value", 1)?,
            Marker::F32 => single("a number", 5)?,
            Marker::F64 => single("a number", 9)?,
            // MessagePack never uses it.
            Marker::Reserved => return None,
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
                Head::Map(decode::read_map_len(bytes).ok()?)
            }
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
                Head::List(decode::read_array_len(bytes).ok()?)
            }
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                Head::Text(decode::read_str_len(bytes).ok()?.into())
            }
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
                Head::Bytes(decode::read_bin_len(bytes).ok()?.into())
            }
            Marker::FixExt1
            | Marker::FixExt2
            | Marker::FixExt4
            | Marker::FixExt8
            | Marker::FixExt16
            | Marker::Ext8
            | Marker::Ext16
            | Marker::Ext32 => {
                let meta = decode::read_ext_meta(bytes).ok()?;
                Head::Extension(meta.typeid, meta.size.into())
            }
            Marker::FixPos(_)
            | Marker::FixNeg(_)
            | Marker::U8
            | Marker::U16
            | Marker::U32
            | Marker::U64
            | Marker::I8
            | Marker::I16
            | Marker::I32
            | Marker::I64 => Head::Integer(decode::read_int(bytes).ok()?),
        })
    }
}

/// Longest head in bytes: a marker and 8 more.
const HEAD: u64 = 9;

struct Walk<'a> {
    source: &'a Source,
    at: u64,
    end: u64,
    /// How many values were read.
    values: u32,
    /// Bytes of the keys that were read.
    keys: u64,
    /// The keys of the value that is being read, for errors.
    path: Vec<String>,
    /// Values that are no arrays, each kept once: in a file they take a byte, in memory a hundred.
    plain: HashMap<String, Tree>,
}

impl Walk<'_> {
    fn head(&mut self) -> Result<Head> {
        let mut scratch = vec![];
        let mut bytes = self.source.read(self.at..self.end.min(self.at + HEAD), &mut scratch)?;
        let before = bytes.len();
        let head = Head::read(&mut bytes).ok_or_else(truncated)?;
        self.at += (before - bytes.len()) as u64;
        Ok(head)
    }

    /// Skips the next bytes.
    fn skip(&mut self, size: u64) -> Result<Range<u64>> {
        let start = self.at;
        // Both are below 2^63.
        let end = Some(start + size).filter(|&end| end <= self.end).ok_or_else(truncated)?;
        self.at = end;
        Ok(start..end)
    }

    fn value(&mut self, depth: u32) -> Result<Tree> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(Error::limit(format!("it holds more than {MAX_VALUES} values")));
        }
        if depth > MAX_DEPTH {
            return Err(Error::limit(format!("its values nest deeper than {MAX_DEPTH}")));
        }
        let node = match self.head()? {
            Head::Map(n) => {
                let mut items = vec![];
                for _ in 0..n {
                    let key = self.key()?;
                    self.path.push(key.clone());
                    let value = self.value(depth + 1)?;
                    self.path.pop();
                    items.push((key.into(), value));
                }
                let dict = Node::Dict(items);
                if dict.get(CHUNKED).is_some() { joined(&dict) } else { dict }
            }
            // Flax names the elements of lists by their numbers. Those that are no arrays are not looked at again.
            Head::List(n) => {
                let mut items = vec![];
                for i in 0..n {
                    let value = self.value(depth + 1)?;
                    if !matches!(*value, Node::Plain(_)) {
                        items.push((i.to_string().into(), value));
                    }
                }
                match items.is_empty() {
                    true => return Ok(self.plain(format!("a list of {n}"))),
                    false => Node::Dict(items),
                }
            }
            Head::Text(size) => {
                self.skip(size)?;
                return Ok(self.plain("a text".into()));
            }
            Head::Bytes(size) => {
                self.skip(size)?;
                return Ok(self.plain(format!("{size} bytes")));
            }
            Head::Extension(ARRAY | SCALAR, size) => {
                let within = self.skip(size)?;
                let (at, end) = (within.start, within.end);
                Walk { at, end, path: vec![], plain: HashMap::new(), ..*self }.array()?
            }
            Head::Extension(kind, size) => {
                self.skip(size)?;
                let what = if kind == COMPLEX { "a complex number" } else { "an extension" };
                return Ok(self.plain(what.into()));
            }
            Head::Integer(n) => return Ok(self.plain(n.to_string())),
            Head::Single(what) => return Ok(self.plain(what.into())),
        };
        Ok(node.into())
    }

    /// A value that is no array.
    fn plain(&mut self, text: String) -> Tree {
        if let Some(known) = self.plain.get(&text) {
            return known.clone();
        }
        let node: Tree = Node::Plain(text.clone()).into();
        // There are more numbers than are worth a table.
        if self.plain.len() < MAX_PLAIN {
            self.plain.insert(text, node.clone());
        }
        node
    }

    fn key(&mut self) -> Result<String> {
        match self.head()? {
            Head::Text(size) => self.text(size),
            Head::Integer(n) => Ok(n.to_string()),
            _ => Err(bad("a key is not a string")),
        }
    }

    fn text(&mut self, size: u64) -> Result<String> {
        let range = self.skip(size)?;
        self.keys += size;
        if size > MAX_KEY || self.keys > MAX_KEYS {
            return Err(Error::limit(format!("a string of {size} bytes is too long for a name")));
        }
        let mut scratch = vec![];
        let bytes = self.source.read(range, &mut scratch)?;
        Ok(std::str::from_utf8(bytes).map_err(|_| bad("a name is not UTF-8"))?.into())
    }

    /// `(shape, name of the type, bytes)`, and nothing after it.
    fn array(&mut self) -> Result<Node<Array>> {
        let Head::List(3) = self.head()? else {
            return Err(bad("an array that is not a list of three"));
        };
        let Head::List(rank) = self.head()? else { return Err(bad("an array without a shape")) };
        if rank as usize > MAX_RANK {
            return Err(bad(format!("an array of {rank} dimensions")));
        }
        let mut shape = vec![];
        for _ in 0..rank {
            let Head::Integer(n) = self.head()? else {
                return Err(bad("an array without a shape"));
            };
            shape.push(u64::try_from(n).map_err(|_| bad(format!("an array with a size of {n}")))?);
        }
        // Old versions of MessagePack, and so of Flax, did not tell bytes from strings.
        let (Head::Text(size) | Head::Bytes(size)) = self.head()? else {
            return Err(bad("an array without a type"));
        };
        let name = self.text(size)?;
        let (Head::Text(size) | Head::Bytes(size)) = self.head()? else {
            return Err(bad("an array without values"));
        };
        let run = self.skip(size)?;
        if self.at != self.end {
            return Err(bad("more bytes follow an array's values"));
        }
        let Some(dtype) = dtype_called(&name) else {
            return Ok(Node::Unreadable(format!("of type `{name}`")));
        };
        let array = Array { dtype, shape, runs: vec![run] };
        array.check_size()?;
        Ok(Node::Tensor(array))
    }
}

impl Array {
    fn check_size(&self) -> Result<()> {
        let Array { dtype, shape, runs } = self;
        let found: u64 = runs.iter().map(|run| run.end - run.start).sum();
        let size = bytes(*dtype, shape)?;
        match size == found {
            true => Ok(()),
            false => {
                let what = format!("{dtype:?} of shape {shape:?} has {size} bytes, not {found}");
                Err(bad(what))
            }
        }
    }
}

/// An array that was written in chunks. Shape and chunks are dicts with the keys "0", "1" and so on.
fn joined(dict: &Node<Array>) -> Node<Array> {
    let broken = || Node::Unreadable("an array whose chunks do not make it whole".into());
    let listed = |key: &str| -> Option<Vec<&Tree>> {
        let items: HashMap<&str, &Tree> =
            dict.get(key)?.items().iter().map(|(key, node)| (&**key, node)).collect();
        (0..items.len()).map(|i| items.get(&*i.to_string()).copied()).collect()
    };
    let whole = || -> Option<Array> {
        let number = |node: &&Tree| match &***node {
            Node::Plain(text) => text.parse().ok(),
            _ => None,
        };
        let shape: Vec<u64> = listed("shape")?.iter().map(number).collect::<Option<_>>()?;
        let mut array: Option<Array> = None;
        for chunk in listed("chunks")? {
            let Node::Tensor(chunk) = &**chunk else { return None };
            let array = array.get_or_insert_with(|| Array { runs: vec![], ..chunk.clone() });
            if array.dtype != chunk.dtype || chunk.shape.len() != 1 {
                return None;
            }
            array.runs.extend(chunk.runs.iter().cloned());
        }
        let array = Array { shape, ..array? };
        (array.shape.len() <= MAX_RANK && array.check_size().is_ok()).then_some(array)
    };
    whole().map_or_else(broken, Node::Tensor)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checkpoint::Checkpoint;

    /// A text, an array's extension, a map: below the sizes that need more than a byte for a length.
    fn text(text: &str) -> Vec<u8> {
        [&[0xa0 | text.len() as u8], text.as_bytes()].concat()
    }

    fn array(shape: &[u8], dtype: &str, values: &[u8]) -> Vec<u8> {
        let shape = [&[0x90 | shape.len() as u8], shape].concat();
        let values = [&[0xc4, values.len() as u8], values].concat();
        extension(1, &[&[0x93][..], &shape, &text(dtype), &values].concat())
    }

    fn extension(kind: u8, bytes: &[u8]) -> Vec<u8> {
        [&[0xc7, bytes.len() as u8, kind], bytes].concat()
    }

    fn dict(items: &[(&str, &[u8])]) -> Vec<u8> {
        let inner = items.iter().flat_map(|(key, value)| [&text(key), *value].concat());
        [0x80 | items.len() as u8].into_iter().chain(inner).collect()
    }

    fn open(bytes: &[u8], take: &Take) -> Result<Checkpoint> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Checkpoint::open_with(file.path(), take)
    }

    fn names(checkpoint: &Checkpoint) -> Vec<&str> {
        checkpoint.tensors().iter().map(|t| t.name.as_str()).collect()
    }

    fn ones() -> Vec<u8> {
        array(&[2], "uint8", &[1, 2])
    }

    #[test]
    fn arrays_and_scalars_lie_where_they_were_written() {
        let scalar = extension(3, &[&[0x93, 0x90][..], &text("int8"), &[0xc4, 1, 7]].concat());
        let half = array(&[1, 2], "bfloat16", &[1, 2, 3, 4]);
        let layers = [0x92].into_iter().chain(ones()).chain(half).collect::<Vec<u8>>();
        let bytes = dict(&[("scale", &scalar), ("layers", &layers), ("step", &[5])]);
        let opened = open(&bytes, &Take::default()).unwrap();
        assert_eq!(names(&opened), ["scale", "layers.0", "layers.1"]);
        assert_eq!(*opened.bytes(0).unwrap(), [7]);
        assert_eq!(*opened.bytes(1).unwrap(), [1, 2]);
        assert_eq!(*opened.bytes(2).unwrap(), [1, 2, 3, 4]);
        assert_eq!(opened.tensors()[2].dtype, Dtype::BF16);
        assert_eq!(opened.tensors()[2].shape, [1, 2]);
    }

    #[test]
    fn of_a_train_state_the_collections_are_taken() {
        let params = dict(&[("w", &ones())]);
        let ema = dict(&[("w", &array(&[2], "uint8", &[3, 4]))]);
        let bytes = dict(&[
            ("step", &array(&[], "int8", &[9])),
            ("params", &params),
            ("opt_state", &dict(&[("mu", &params)])),
            ("batch_stats", &dict(&[("mean", &ones())])),
            ("ema_params", &ema),
        ]);
        let raw = open(&bytes, &Take::default()).unwrap();
        assert_eq!(names(&raw), ["params.w", "batch_stats.mean"]);
        assert_eq!(*raw.bytes(0).unwrap(), [1, 2]);
        assert!(raw.taken().has_average);
        let others: Vec<&str> = raw.taken().others.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(others, ["step", "opt_state", "ema_params"]);
        let average = open(&bytes, &Take { ema: true, key: None, moments: false }).unwrap();
        assert_eq!(names(&average), ["params.w", "batch_stats.mean"]);
        assert_eq!(*average.bytes(0).unwrap(), [3, 4]);
        let key =
            open(&bytes, &Take { ema: false, key: Some("params".into()), moments: false }).unwrap();
        assert_eq!(names(&key), ["w"]);
        // One level deeper, beside collections.
        let state = dict(&[("params", &params), ("opt_state", &dict(&[("mu", &params)]))]);
        let bytes = dict(&[("state", &state), ("batch_stats", &dict(&[("mean", &ones())]))]);
        let deeper = open(&bytes, &Take::default()).unwrap();
        assert_eq!(names(&deeper), ["state.params.w", "batch_stats.mean"]);
        let plain = dict(&[("params", &params)]);
        assert!(open(&plain, &Take { ema: true, key: None, moments: false }).is_err());
    }

    #[test]
    fn chunks_are_put_together_in_the_order_of_their_numbers() {
        let chunked = |shape: &[(&str, &[u8])], chunks: &[(&str, &[u8])]| {
            let (shape, chunks) = (dict(shape), dict(chunks));
            let array = dict(&[(CHUNKED, &[0xc3]), ("shape", &shape), ("chunks", &chunks)]);
            open(&dict(&[("w", &array)]), &Take::default())
        };
        let last = array(&[2], "uint8", &[5, 6]);
        let first = array(&[4], "uint8", &[1, 2, 3, 4]);
        let shape: [(&str, &[u8]); 2] = [("0", &[3]), ("1", &[2])];
        let opened = chunked(&shape, &[("1", &last), ("0", &first)]).unwrap();
        assert_eq!(opened.tensors()[0].shape, [3, 2]);
        assert_eq!(*opened.bytes(0).unwrap(), [1, 2, 3, 4, 5, 6]);
        let mut part = vec![];
        assert_eq!(opened.read(0, 3..5, &mut part).unwrap(), [4, 5]);
        let other = array(&[2], "int8", &[5, 6]);
        for chunks in [&[("0", &first[..])][..], &[("0", &first), ("2", &last)], &[]] {
            let error = chunked(&shape, chunks).unwrap_err().to_string();
            assert!(error.contains("`w`") && error.contains("chunks"), "{error}");
        }
        assert!(chunked(&shape, &[("0", &first), ("1", &other)]).is_err());
    }

    #[test]
    fn hostile_files_are_refused() {
        let one = |value: &[u8]| dict(&[("w", value)]);
        let deep = [one(&[]).repeat(5000), ones()].concat();
        let raw = |bytes: &[u8]| one(&extension(1, bytes));
        let wide = [&[0x92, 0xcf, 0x7f][..], &[0xff; 7], &[0x7f]].concat();
        let cases: Vec<(Vec<u8>, Kind, &str)> = vec![
            (deep, Kind::Limit, "nest deeper"),
            (one(&[0xdf, 0xff, 0xff, 0xff, 0xff]), Kind::Truncated, "truncated"),
            (one(&[0xdd, 0xff, 0xff, 0xff, 0xff]), Kind::Truncated, "truncated"),
            (one(&[0xc6, 0xff, 0xff, 0xff, 0xff]), Kind::Truncated, "truncated"),
            (one(&[0xc9, 0xff, 0xff, 0xff, 0xff, 1]), Kind::Truncated, "truncated"),
            (one(&[0xcb, 0]), Kind::Truncated, "truncated"),
            (one(&[0xc1]), Kind::Truncated, "truncated"),
            ([one(&ones()), vec![0]].concat(), Kind::Damaged, "more bytes follow"),
            (dict(&[("w", &ones()), ("w", &ones())]), Kind::Damaged, "occurs twice"),
            (one(&array(&[3], "uint8", &[1, 2])), Kind::Damaged, "has 3 bytes, not 2"),
            (one(&array(&[2], "complex128", &[1, 2])), Kind::Unsupported, "`complex128`"),
            (raw(&[0x93, 0x91, 0xff]), Kind::Damaged, "a size of -1"),
            (raw(&[0x93, 0xdc, 0xff, 0xff]), Kind::Damaged, "65535 dimensions"),
            (raw(&[0x92]), Kind::Damaged, "not a list of three"),
            (
                raw(&[&[0x93][..], &wide, &text("uint8"), &[0xc4, 0]].concat()),
                Kind::Damaged,
                "too large",
            ),
            (dict(&[("w", &[0xc0])]), Kind::NotACheckpoint, "no arrays"),
            (dict(&[("w", &[0x81, 0xc0, 0xc0])]), Kind::Damaged, "not a string"),
        ];
        for (bytes, kind, expected) in cases {
            let error = open(&bytes, &Take::default()).unwrap_err();
            let text = error.to_string();
            assert!(error.kind() == kind && text.contains(expected), "{expected}: {text}");
            assert!(text.matches("bad MessagePack").count() < 2, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(
            cut in 0usize..200,
            changes in prop::collection::vec((0usize..200, any::<u8>()), 0..4),
        ) {
            let params = dict(&[("w", &ones()), ("b", &array(&[1, 2], "float16", &[0; 4]))]);
            let mut bytes = dict(&[("params", &params), ("step", &[0xcd, 1, 0])]);
            bytes.truncate(cut.max(2));
            for (at, byte) in changes {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            if let Ok(opened) = open(&bytes, &Take::default()) {
                for i in 0..opened.tensors().len() {
                    prop_assert_eq!(opened.bytes(i).unwrap().len() as u64, opened.tensors()[i].size());
                }
            }
        }
    }
}
