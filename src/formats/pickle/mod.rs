//! Pickles as values: what a pickle would build, without building it. Nothing in a file is ever run.
//!
//! Format: Python's `pickletools.py`, protocols 0 to 5. A global is a name; calling one makes a [`Value::Object`] that
//! holds the name and the arguments, except for the plain containers. A file that asks for an act (`os.system`) is
//! refused; see `globals`.

mod acting;
mod calls;
mod globals;
mod judge;
mod known;
mod machine;
mod nested;
mod python2;
mod standard;
pub(crate) mod written;

pub(crate) use nested::is_legacy;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use crate::tensors::MAX_RANK;
use crate::{Error, Result};

/// Largest pickle that is read, in bytes: a hundred times what the largest models need.
pub const MAX_PICKLE: usize = 100_000_000;

/// How deep values may be nested.
pub const MAX_DEPTH: u32 = 256;

/// Most values of a pickle, and most entries of its memo: several times as many as large files have.
const MAX_VALUES: usize = 10_000_000;

/// Longest name of a class or function, with its module, in bytes.
const MAX_NAME: usize = 300;

/// Most dots in it after the module: nested classes.
const MAX_PARTS: usize = 16;

/// Most fields that an object may have for one of them to be looked up.
const MAX_FIELDS: usize = 32;

/// Identifies a value of a pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(u32);

impl Id {
    /// Distinct for distinct values of one pickle.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// A value of a pickle.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Python's `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer that needs more than 64 bits; no checkpoint's structure does.
    BigInt,
    /// A float.
    Float(f64),
    /// A `str`, or a string of Python 2 that is UTF-8.
    Text(Box<str>),
    /// `bytes`: where in the pickle they are.
    Bytes(Range<usize>),
    /// A string of Python 2 in protocol 0, written with escapes, that is not UTF-8.
    Escaped(Box<[u8]>),
    /// A list, or `deque`.
    List(Vec<Id>),
    /// A tuple.
    Tuple(Box<[Id]>),
    /// A set or frozen set, in the order of writing.
    Set(Vec<Id>),
    /// A dict, `OrderedDict`, `defaultdict` or `Counter`, in the order of writing.
    Dict(Vec<(Id, Id)>),
    /// A class or function, as `module.name`.
    Global(Box<str>),
    /// The id of something outside the pickle: a storage, in PyTorch's files.
    Persistent(Id),
    /// What a call would make.
    Object(Box<Object>),
}

/// A call that is not made.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// What would be called, mostly a [`Value::Global`].
    pub callable: Id,
    /// A tuple of the arguments.
    pub arguments: Id,
    /// The argument of `__setstate__`, if it would be called.
    pub state: Option<Id>,
    /// The items, if it is a subclass of dict.
    pub items: Vec<(Id, Id)>,
}

/// The values of one pickle.
#[derive(Debug)]
pub struct Pickle {
    values: Vec<Value>,
    root: Id,
    /// Containers that calls made, with what was called; plain ones are not among them.
    made: HashMap<u32, Id>,
    /// Its length in bytes; more may follow it.
    pub length: usize,
}

impl Pickle {
    /// Reads the pickle at the start of some bytes.
    ///
    /// # Errors
    /// `Truncated`, `Damaged`, `Hostile` where it names code with side effects, `Limit` where it is too large.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Self::parse_within(bytes, MAX_PICKLE)
    }

    /// The same for a pickle of up to `most` bytes.
    ///
    /// # Errors
    /// Those of [`Pickle::parse`].
    pub fn parse_within(bytes: &[u8], most: usize) -> Result<Self> {
        let pickle = machine::run(bytes, most, 0)?;
        pickle.check_depth()?;
        Ok(pickle)
    }

    /// The value that unpickling would return.
    pub fn root(&self) -> Id {
        self.root
    }

    /// Its own bytes, where one of its values is bytes; else none are needed to read its values.
    pub(in crate::formats) fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        match self.values.iter().any(|value| matches!(value, Value::Bytes(_))) {
            true => bytes[..self.length].to_vec(),
            false => vec![],
        }
    }

    /// A value.
    pub fn value(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }

    /// A string.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.value(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Bytes, or a string of Python 2; `within` holds the pickle. Protocols 0 to 2 have no bytes: Python 3 writes a call
    /// that encodes a string.
    pub fn bytes<'a>(&'a self, id: Id, within: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        match self.value(id) {
            Value::Bytes(range) => within.get(range.clone()).map(Cow::Borrowed),
            Value::Escaped(bytes) => Some(Cow::Borrowed(bytes)),
            Value::Text(text) => Some(Cow::Borrowed(text.as_bytes())),
            Value::Object(_) if self.called(id) == Some("_codecs.encode") => {
                let &[text, encoding] = self.arguments(id)? else { return None };
                if !matches!(self.text(encoding)?, "latin1" | "latin-1") {
                    return None;
                }
                let bytes = self.text(text)?.chars().map(|c| u8::try_from(c).ok());
                bytes.collect::<Option<Vec<u8>>>().map(Cow::Owned)
            }
            _ => None,
        }
    }

    /// An integer.
    pub fn int(&self, id: Id) -> Option<i64> {
        match self.value(id) {
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// A count or size.
    pub fn size(&self, id: Id) -> Option<u64> {
        self.int(id).and_then(|n| n.try_into().ok())
    }

    /// The elements of a list, tuple or `torch.Size`.
    pub fn elements(&self, id: Id) -> Option<&[Id]> {
        match self.value(id) {
            Value::List(elements) => Some(elements),
            Value::Tuple(elements) => Some(elements),
            Value::Object(_) if self.called(id) == Some("torch.Size") => {
                let [inner] = self.arguments(id)? else { return None };
                match self.value(*inner) {
                    Value::List(elements) => Some(elements),
                    Value::Tuple(elements) => Some(elements),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The sizes in a list, tuple or `torch.Size`, one per dimension.
    pub fn sizes(&self, id: Id) -> Option<Vec<u64>> {
        let sizes = self.elements(id)?;
        // Checked before copying: a hostile pickle may refer to one list thousands of times.
        (sizes.len() <= MAX_RANK).then(|| sizes.iter().map(|&n| self.size(n)).collect())?
    }

    /// The items of a dict, or of an object of a subclass.
    pub fn items(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.value(id) {
            Value::Dict(items) => Some(items),
            Value::Object(object) if !object.items.is_empty() => Some(&object.items),
            _ => None,
        }
    }

    /// The value of a dict's key. Of two items with one key the later counts, as in Python.
    pub fn get(&self, dict: Id, key: &str) -> Option<Id> {
        let items = self.items(dict)?.iter().rev();
        items.filter(|(k, _)| self.text(*k) == Some(key)).map(|(_, value)| *value).next()
    }

    /// The argument of an object's `__setstate__`.
    pub fn state(&self, object: Id) -> Option<Id> {
        match self.value(object) {
            Value::Object(object) => object.state,
            _ => None,
        }
    }

    /// A field of an object, by the argument of `__setstate__`.
    pub fn field(&self, object: Id, name: &str) -> Option<Id> {
        // A hostile pickle may use one state for thousands of objects.
        let get = |dict: Id| match self.items(dict)?.len() <= MAX_FIELDS {
            true => self.get(dict, name),
            false => None,
        };
        let state = self.state(object)?;
        // A class with __slots__ has a pair: its dict, then its slots.
        match self.value(state) {
            Value::Tuple(pair) => pair.iter().take(2).find_map(|&part| get(part)),
            _ => get(state),
        }
    }

    /// The persistent ids, in the order of writing.
    pub fn persistent(&self) -> impl Iterator<Item = Id> {
        self.values.iter().filter_map(|value| match value {
            Value::Persistent(id) => Some(*id),
            _ => None,
        })
    }

    /// `module.name` of a global.
    pub fn global(&self, id: Id) -> Option<&str> {
        match self.value(id) {
            Value::Global(name) => Some(name),
            _ => None,
        }
    }

    /// `module.name` of what an object's call would call.
    pub fn called(&self, id: Id) -> Option<&str> {
        match self.value(id) {
            Value::Object(object) => self.global(object.callable),
            _ => None,
        }
    }

    /// The arguments of an object's call.
    pub fn arguments(&self, id: Id) -> Option<&[Id]> {
        match self.value(id) {
            Value::Object(object) => self.elements(object.arguments),
            _ => None,
        }
    }

    /// A value in words, for messages.
    pub fn describe(&self, id: Id) -> String {
        match self.value(id) {
            Value::None => "None".into(),
            Value::Bool(true) => "True".into(),
            Value::Bool(false) => "False".into(),
            Value::Int(n) => n.to_string(),
            Value::BigInt => "an integer".into(),
            Value::Float(x) => x.to_string(),
            Value::Text(text) if text.chars().count() <= 40 => format!("\"{text}\""),
            Value::Text(_) => "a text".into(),
            Value::Bytes(range) => format!("{} bytes", range.len()),
            Value::Escaped(bytes) => format!("{} bytes", bytes.len()),
            Value::List(elements) => format!("a list of {}", elements.len()),
            Value::Tuple(elements) => format!("a tuple of {}", elements.len()),
            Value::Set(elements) => format!("a set of {}", elements.len()),
            Value::Dict(items) => format!("a dict of {}", items.len()),
            Value::Global(name) => format!("`{name}`"),
            Value::Persistent(_) => "a storage".into(),
            Value::Object(_) => match self.class_name(id) {
                Some(name) => format!("a `{name}`"),
                None => "an object".into(),
            },
        }
    }

    /// `module.name` of an object's class: what is called, or the first argument of `copyreg.__newobj__` and the like.
    pub fn class_name(&self, id: Id) -> Option<&str> {
        const MAKERS: [&str; 4] = [
            "copyreg.__newobj__",
            "copyreg.__newobj_ex__",
            "copyreg._reconstructor",
            "copy_reg._reconstructor",
        ];
        let Value::Object(object) = self.value(id) else { return None };
        // Before PyTorch 1.6 a module's class was a persistent id: ('module', class, file, source).
        if let Value::Persistent(outside) = self.value(object.callable) {
            let parts = self.elements(*outside)?.iter().take(4);
            return parts.copied().find_map(|part| self.global(part));
        }
        let name = self.called(id)?;
        match MAKERS.contains(&name) {
            true => self.global(*self.arguments(id)?.first()?),
            false => Some(name),
        }
    }

    /// Most values that a tree made of this may have, counting each occurrence: a list that holds another twice holds
    /// its values twice. A value that occurs once takes at least a byte, and real files share little.
    pub fn most_values(&self) -> u64 {
        10_000 + 2 * self.length as u64
    }

    /// Fails if values nest too deep. Visits each once, without recursion.
    fn check_depth(&self) -> Result<()> {
        #[derive(Clone, Copy)]
        enum State {
            New,
            Open,
            Done(u32),
        }
        let mut states = vec![State::New; self.values.len()];
        let mut stack = vec![self.root];
        while let Some(&id) = stack.last() {
            let i = id.0 as usize;
            match states[i] {
                State::Done(_) => drop(stack.pop()),
                State::New => {
                    states[i] = State::Open;
                    self.each_child(id, |child| {
                        if matches!(states[child.0 as usize], State::New) {
                            stack.push(child);
                        }
                    });
                }
                State::Open => {
                    stack.pop();
                    let mut depth = 0;
                    self.each_child(id, |child| {
                        if let State::Done(below) = states[child.0 as usize] {
                            depth = depth.max(below + 1);
                        }
                    });
                    if depth > MAX_DEPTH {
                        let what = format!("its pickle nests values deeper than {MAX_DEPTH}");
                        return Err(Error::limit(what));
                    }
                    states[i] = State::Done(depth);
                }
            }
        }
        Ok(())
    }

    fn each_child(&self, id: Id, mut visit: impl FnMut(Id)) {
        match self.value(id) {
            Value::List(ids) | Value::Set(ids) => ids.iter().for_each(|&id| visit(id)),
            Value::Tuple(ids) => ids.iter().for_each(|&id| visit(id)),
            Value::Dict(items) => items.iter().for_each(|&(k, v)| (visit(k), visit(v)).1),
            Value::Persistent(id) => visit(*id),
            Value::Object(object) => {
                visit(object.callable);
                visit(object.arguments);
                object.state.into_iter().for_each(&mut visit);
                object.items.iter().for_each(|&(k, v)| (visit(k), visit(v)).1);
            }
            Value::None
            | Value::Bool(_)
            | Value::Int(_)
            | Value::BigInt
            | Value::Float(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::Escaped(_)
            | Value::Global(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
