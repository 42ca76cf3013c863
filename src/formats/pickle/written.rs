//! Plain values as the instructions of a pickle that make them again, so that an output can hold what an input held.

use super::{Id, Pickle, Value};

/// How deep values may be nested.
const DEPTH: u32 = 32;

/// Most bytes that a value may take.
const MOST: usize = 1 << 20;

/// Whether some instructions are those that [`Pickle::written`] makes of a value.
pub(crate) fn is_plain(instructions: &[u8]) -> bool {
    let whole = [&b"\x80\x02"[..], instructions, b"."].concat();
    Pickle::parse(&whole).is_ok_and(|pickle| {
        pickle.length == whole.len()
            && pickle.written(pickle.root(), &whole).is_some_and(|again| again == instructions)
    })
}

impl Pickle {
    /// The instructions (protocol 2) that make a value of numbers, strings, bytes, lists, tuples and dicts; None if it
    /// holds anything else, or is very large.
    pub(in crate::formats) fn written(&self, id: Id, within: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = vec![];
        self.write(id, within, 0, &mut bytes)?;
        Some(bytes)
    }

    fn write(&self, id: Id, within: &[u8], depth: u32, bytes: &mut Vec<u8>) -> Option<()> {
        if depth > DEPTH || bytes.len() > MOST {
            return None;
        }
        let all = |ids: &[Id], bytes: &mut Vec<u8>| {
            ids.iter().try_for_each(|&id| self.write(id, within, depth + 1, bytes))
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
        let written = first.written(first.root(), bytes).unwrap();
        let again = [&b"\x80\x02"[..], &written, b"."].concat();
        let second = Pickle::parse(&again).unwrap();
        assert_eq!(second.written(second.root(), &again).unwrap(), written);
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
            assert_eq!(pickle.written(pickle.root(), value), None);
            assert!(!is_plain(&value[..value.len() - 1]));
        }
    }
}
