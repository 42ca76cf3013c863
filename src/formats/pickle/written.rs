//! Plain values as the instructions of a pickle that make them again, so that an output can hold what an input held.
//! Small tensors among them are kept with their bytes, until an output gives them a place: as the id of something
//! outside the pickle.

use super::{Id, Pickle, Value};
use crate::tensors::Dtype;

/// How deep values may be nested.
const DEPTH: u32 = 32;

/// Most bytes that a value may take.
const MOST: usize = 1 << 20;

/// A tensor with its bytes.
#[derive(Debug, PartialEq)]
pub(crate) struct Kept {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// What marks one in the place of the id of a storage.
const TENSOR: &str = "tensor";

impl Kept {
    /// The instructions that keep it; None if it is very large.
    pub fn written(&self) -> Option<Vec<u8>> {
        if self.bytes.len() > MOST {
            return None;
        }
        let mut bytes = b"(".to_vec();
        write_text(TENSOR, &mut bytes)?;
        write_text(&self.dtype.to_string(), &mut bytes)?;
        bytes.push(b'(');
        self.shape.iter().try_for_each(|&n| {
            bytes.extend([&b"J"[..], &i32::try_from(n).ok()?.to_le_bytes()].concat());
            Some(())
        })?;
        bytes.push(b't');
        write_bytes(&self.bytes, &mut bytes)?;
        bytes.extend(b"tQ");
        Some(bytes)
    }
}

/// The instructions with others in place of kept tensors; None unless they are those that [`Pickle::written`] makes.
pub(crate) fn with_tensors(
    instructions: &[u8],
    place: &mut dyn FnMut(Kept) -> Vec<u8>,
) -> Option<Vec<u8>> {
    let whole = [&b"\x80\x02"[..], instructions, b"."].concat();
    let pickle = Pickle::parse(&whole).ok().filter(|pickle| pickle.length == whole.len())?;
    let root = pickle.root();
    let kept = |id: Id| match pickle.value(id) {
        Value::Persistent(_) => Some(pickle.kept(id, &whole)),
        _ => None,
    };
    let same = |id: Id| kept(id).map(|kept| kept?.written());
    if pickle.written(root, &whole, &mut { same })? != instructions {
        return None;
    }
    pickle.written(root, &whole, &mut |id| kept(id).map(|kept| Some(place(kept?))))
}

/// Whether some instructions are those that [`Pickle::written`] makes of a value.
pub(crate) fn is_plain(instructions: &[u8]) -> bool {
    with_tensors(instructions, &mut |_| vec![]).is_some()
}

/// The instructions in the place of a value that is a tensor; None within if it cannot be kept.
pub(in crate::formats) type Tensors<'t> = &'t mut dyn FnMut(Id) -> Option<Option<Vec<u8>>>;

impl Pickle {
    /// The instructions (protocol 2) that make a value of numbers, strings, bytes, lists, tuples, dicts and `tensors`;
    /// None if it holds anything else, or is very large.
    pub(in crate::formats) fn written(
        &self,
        id: Id,
        within: &[u8],
        tensors: Tensors,
    ) -> Option<Vec<u8>> {
        let mut bytes = vec![];
        self.write(id, within, 0, tensors, &mut bytes)?;
        Some(bytes)
    }

    /// The tensor that an id marks.
    fn kept(&self, id: Id, within: &[u8]) -> Option<Kept> {
        let Value::Persistent(marked) = self.value(id) else { return None };
        let &[mark, dtype, shape, bytes] = self.tuple(*marked)? else { return None };
        if self.text(mark) != Some(TENSOR) {
            return None;
        }
        let dtype: Dtype = serde_json::from_value(self.text(dtype)?.into()).ok()?;
        let number = |&id: &Id| match self.value(id) {
            Value::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        };
        let shape: Vec<usize> = self.tuple(shape)?.iter().map(number).collect::<Option<_>>()?;
        let bytes = self.bytes(bytes, within)?.into_owned();
        let bits = shape.iter().try_fold(dtype.bitsize(), |bits, &n| bits.checked_mul(n))?;
        (bits % 8 == 0 && bits / 8 == bytes.len()).then_some(Kept { dtype, shape, bytes })
    }

    fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.value(id) {
            Value::Tuple(ids) => Some(ids),
            _ => None,
        }
    }

    fn write(
        &self,
        id: Id,
        within: &[u8],
        depth: u32,
        tensors: Tensors,
        bytes: &mut Vec<u8>,
    ) -> Option<()> {
        if depth > DEPTH || bytes.len() > MOST {
            return None;
        }
        if let Some(tensor) = tensors(id) {
            bytes.extend(tensor?);
            return Some(());
        }
        let mut all = |ids: &[Id], bytes: &mut Vec<u8>| {
            ids.iter().try_for_each(|&id| self.write(id, within, depth + 1, tensors, bytes))
        };
        match self.value(id) {
            Value::None => bytes.push(b'N'),
            Value::Bool(true) => bytes.push(0x88),
            Value::Bool(false) => bytes.push(0x89),
            Value::Int(n) => match i32::try_from(*n) {
                Ok(n) => bytes.extend([&b"J"[..], &n.to_le_bytes()].concat()),
                Err(_) => bytes.extend([&b"\x8a\x08"[..], &n.to_le_bytes()].concat()),
            },
            Value::Float(x) => bytes.extend([&b"G"[..], &x.to_be_bytes()].concat()),
            Value::Text(text) => write_text(text, bytes)?,
            Value::Bytes(_) | Value::Escaped(_) => {
                write_bytes(&self.bytes(id, within)?, bytes)?;
            }
            Value::Object(_) if self.called(id) == Some("_codecs.encode") => {
                write_bytes(&self.bytes(id, within)?, bytes)?;
            }
            // A subclass would become a plain one.
            Value::List(_) | Value::Set(_) | Value::Dict(_)
                if self.made.contains_key(&id.number()) =>
            {
                let &callable = self.made.get(&id.number())?;
                let (Some("collections.OrderedDict"), Value::Dict(items)) =
                    (self.global(callable), self.value(id))
                else {
                    return None;
                };
                bytes.extend(b"ccollections\nOrderedDict\n)R(");
                items.iter().try_for_each(|&(key, value)| all(&[key, value], bytes))?;
                bytes.push(b'u');
            }
            Value::List(ids) => {
                bytes.extend(b"](");
                all(ids, bytes)?;
                bytes.push(b'e');
            }
            Value::Tuple(ids) => {
                bytes.push(b'(');
                all(ids, bytes)?;
                bytes.push(b't');
            }
            Value::Dict(items) => {
                bytes.extend(b"}(");
                items.iter().try_for_each(|&(key, value)| all(&[key, value], bytes))?;
                bytes.push(b'u');
            }
            Value::Set(_)
            | Value::BigInt
            | Value::Global(_)
            | Value::Persistent(_)
            | Value::Object(_) => return None,
        }
        (bytes.len() <= MOST).then_some(())
    }
}

fn write_text(text: &str, bytes: &mut Vec<u8>) -> Option<()> {
    // What a lone surrogate became is another text.
    if text.contains(char::REPLACEMENT_CHARACTER) {
        return None;
    }
    bytes.push(b'X');
    bytes.extend(u32::try_from(text.len()).ok()?.to_le_bytes());
    bytes.extend(text.as_bytes());
    Some(())
}

/// As Python writes bytes at protocol 2.
fn write_bytes(all: &[u8], bytes: &mut Vec<u8>) -> Option<()> {
    let text: String = all.iter().map(|&b| char::from(b)).collect();
    bytes.extend(b"c_codecs\nencode\n(");
    write_text(&text, bytes)?;
    write_text("latin1", bytes)?;
    bytes.extend(b"tR");
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_are_made_again() {
        // {'a': [1, -5, 2**40, 2.5, None, True, False], 'b': ((), {}, 'x'), 'c': OrderedDict(k=b'\xff'), 3: b''}
        let bytes = b"\x80\x04}(\x8c\x01a](K\x01J\xfb\xff\xff\xff\x8a\x06\0\0\0\0\0\x01G@\x04\0\0\0\0\0\0N\x88\x89e\
            \x8c\x01b)}\x8c\x01x\x87\x8c\x01c\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R\x8c\x01kC\x01\xffsK\x03C\0u.";
        let first = Pickle::parse(bytes).unwrap();
        let written = first.written(first.root(), bytes, &mut |_| None).unwrap();
        let again = [&b"\x80\x02"[..], &written, b"."].concat();
        let second = Pickle::parse(&again).unwrap();
        assert_eq!(second.written(second.root(), &again, &mut |_| None).unwrap(), written);
        assert!(is_plain(&written) && !is_plain(&written[1..]));
        assert!(!is_plain(&[&b"N0"[..], &written].concat()));
        let list = second.elements(second.get(second.root(), "a").unwrap()).unwrap();
        let values: Vec<_> = list.iter().map(|&id| second.value(id).clone()).collect();
        assert_eq!(values[1..4], [Value::Int(-5), Value::Int(1 << 40), Value::Float(2.5)]);
        let ordered = second.get(second.root(), "c").unwrap();
        assert_eq!(second.made.len(), 1);
        let inner = second.get(ordered, "k").unwrap();
        assert_eq!(&*second.bytes(inner, &again).unwrap(), b"\xff");
    }

    #[test]
    fn what_is_not_plain_is_not_made() {
        let values: [&[u8]; 5] = [
            b"cmine\nThing\n)\x81.",
            b"ccollections\ndeque\n)R.",
            b"]q\x00h\x00a.",
            b"](cbuiltins\nlen\ne.",
            b"(S'0'\ntQ.",
        ];
        for value in values {
            let pickle = Pickle::parse(value).unwrap();
            assert_eq!(pickle.written(pickle.root(), value, &mut |_| None), None);
            assert!(!is_plain(&value[..value.len() - 1]));
        }
    }
    #[test]
    fn small_tensors_are_kept_with_their_bytes() {
        let kept =
            Kept { dtype: Dtype::F32, shape: vec![2, 1], bytes: vec![0, 1, 2, 3, 128, 255, 0, 9] };
        let instructions = [&b"}(X\x01\0\0\0a"[..], &kept.written().unwrap(), b"u"].concat();
        assert!(is_plain(&instructions));
        let mut seen = vec![];
        let placed = with_tensors(&instructions, &mut |kept| {
            seen.push(kept);
            b"N".to_vec()
        });
        assert_eq!(placed.unwrap(), b"}(X\x01\0\0\0aNu");
        assert_eq!(seen, [kept]);
        // Of another size than it says, or no tensor.
        for (from, to) in [
            (&b"J\x02"[..], &b"J\x03"[..]),
            (b"F32", b"F64"),
            (b"F32", b"F99"),
            (b"tensor", b"tensir"),
        ] {
            let at = instructions.windows(from.len()).position(|w| w == from).unwrap();
            let mut lying = instructions.clone();
            lying[at..at + to.len()].copy_from_slice(to);
            assert!(!is_plain(&lying), "{to:?}");
        }
        let large = Kept { dtype: Dtype::U8, shape: vec![MOST + 1], bytes: vec![0; MOST + 1] };
        assert_eq!(large.written(), None);
    }
}
