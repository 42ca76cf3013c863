//! A pickle is a program for a stack machine. This one makes values and does nothing else.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use super::calls;
use super::globals::{self, Container, Name};
use super::judge::{How, Judged};
use super::{Id, MAX_NAME, MAX_PARTS, MAX_VALUES, Object, Pickle, Value, python2};
use crate::{Error, Kind, Result};

pub(super) struct Machine<'b> {
    pub(super) bytes: &'b [u8],
    /// Most bytes that are read.
    most: usize,
    at: usize,
    pub(super) values: Vec<Value>,
    stack: Vec<Id>,
    /// The stack's heights at the marks.
    marks: Vec<usize>,
    /// Entries with the numbers that most writers use, from 0 on; others are in `others`.
    memo: Vec<Id>,
    others: HashMap<u32, Id>,
    /// How many elements calls have copied from one container to another: the only values that instructions do not
    /// spell out.
    copied: usize,
    /// Bytes of names that instructions do not spell out.
    named: usize,
    /// Of names with more than one attribute, the length of the module's.
    pub(super) modules: HashMap<u32, usize>,
    /// How many pickles this one is in.
    pub(super) depth: u32,
    /// See [`Pickle`].
    made: HashMap<u32, Id>,
    /// Containers that may call a function which the file brings.
    pub(super) loose: HashSet<u32>,
    /// Values that have got their state, or were judged without one.
    pub(super) settled: RefCell<HashSet<u32>>,
    /// Containers, with their lengths, that hold nothing but numbers and texts: they grow, but do not change otherwise.
    pub(super) plain: RefCell<HashMap<u32, usize>>,
    /// How many values were looked at for what they hold.
    pub(super) looked: Cell<usize>,
}

/// Bytes of names beyond those of a pickle: a small one may name many classes of one module.
const NAMED: usize = 1 << 20;

/// Runs the program at the start of some bytes. An instruction makes at most two values, and copies are limited, so
/// memory is proportional to the bytes.
pub(super) fn run(bytes: &[u8], most: usize, depth: u32) -> Result<Pickle> {
    let bytes = &bytes[..bytes.len().min(most)];
    let mut machine = Machine {
        bytes,
        most,
        at: 0,
        values: vec![],
        stack: vec![],
        marks: vec![],
        memo: vec![],
        others: HashMap::new(),
        copied: 0,
        named: 0,
        modules: HashMap::new(),
        depth,
        made: HashMap::new(),
        loose: HashSet::new(),
        settled: RefCell::default(),
        plain: RefCell::default(),
        looked: Cell::new(0),
    };
    while machine.step()? {
        let held = [machine.values.len(), machine.memoized(), machine.marks.len()];
        if held.into_iter().any(|n| n > MAX_VALUES) {
            return Err(Error::limit(format!("its pickle holds more than {MAX_VALUES} values")));
        }
    }
    let root = machine.pop()?;
    machine.check_states()?;
    Ok(Pickle { values: machine.values, root, made: machine.made, length: machine.at })
}

impl<'b> Machine<'b> {
    fn bad(&self, what: &str) -> Error {
        Error::new(Kind::Damaged, format!("bad pickle: {what} at byte {}", self.at))
            .remedy("save or copy the file again")
    }

    fn take(&mut self, n: usize) -> Result<&'b [u8]> {
        if n > self.bytes.len() - self.at {
            if self.bytes.len() == self.most {
                let what = format!("its pickle has more than {} bytes", self.most);
                return Err(Error::limit(what));
            }
            let what = format!("bad pickle: it ends within an instruction at byte {}", self.at);
            return Err(Error::new(Kind::Truncated, what).remedy("save or copy the file again"));
        }
        let taken = &self.bytes[self.at..self.at + n];
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(*self.take(N)?.first_chunk().expect("as many were taken"))
    }

    /// A line, without its line feed.
    fn line(&mut self) -> Result<&'b str> {
        let line = self.raw_line()?;
        std::str::from_utf8(line).map_err(|_| self.bad("a bad line"))
    }

    fn raw_line(&mut self) -> Result<&'b [u8]> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|&b| b == b'\n') else {
            return Err(self.bad("a line without an end"));
        };
        let line = self.take(end)?;
        self.at += 1;
        Ok(line)
    }

    /// Bytes that follow their length, a little-endian number of N bytes.
    fn counted<const N: usize>(&mut self) -> Result<&'b [u8]> {
        let mut length = [0; 8];
        length[..N].copy_from_slice(&self.array::<N>()?);
        let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
        self.take(length)
    }

    fn add(&mut self, value: Value) -> Id {
        let id = Id(self.values.len() as u32);
        self.values.push(value);
        id
    }

    fn push(&mut self, value: Value) {
        let id = self.add(value);
        self.stack.push(id);
    }

    /// The top of the stack, if it is above the last mark.
    fn pop(&mut self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.bad("a value that is not there"));
        }
        self.stack.pop().ok_or_else(|| self.bad("a value that is not there"))
    }

    fn top(&self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(&id) if self.stack.len() > floor => Ok(id),
            _ => Err(self.bad("a value that is not there")),
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>> {
        let Some(height) = self.marks.pop() else { return Err(self.bad("no mark")) };
        Ok(self.stack.split_off(height))
    }

    fn text(&mut self, bytes: &[u8]) {
        // Lone surrogates are lost; no tensor's name has any.
        self.push(Value::Text(String::from_utf8_lossy(bytes).into()));
    }

    /// A string of Python 2: text, or bytes if it is not UTF-8.
    fn string(&mut self, bytes: &[u8]) {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.push(Value::Text(text.into())),
            Err(_) => self.bytes_value(bytes),
        }
    }

    fn bytes_value(&mut self, bytes: &[u8]) {
        self.push(Value::Bytes(self.at - bytes.len()..self.at));
    }

    /// A two's complement integer of any length, little-endian.
    fn long(&mut self, bytes: &[u8]) {
        let sign = bytes.last().is_some_and(|&b| b & 0x80 != 0);
        let filler = if sign { 0xff } else { 0 };
        let (low, high) = bytes.split_at(bytes.len().min(8));
        let mut all = [filler; 8];
        all[..low.len()].copy_from_slice(low);
        let n = i64::from_le_bytes(all);
        let fits = high.iter().all(|&b| b == filler) && (n < 0) == sign;
        self.push(if fits { Value::Int(n) } else { Value::BigInt });
    }

    fn decimal(&mut self, digits: &str) -> Result<()> {
        let digits = digits.trim_end_matches('L');
        let value = match digits.parse() {
            Ok(n) => Value::Int(n),
            Err(_) if digits.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit()) => {
                Value::BigInt
            }
            Err(_) => return Err(self.bad("a bad number")),
        };
        self.push(value);
        Ok(())
    }

    fn memoized(&self) -> usize {
        self.memo.len() + self.others.len()
    }

    fn put(&mut self, key: u32) -> Result<()> {
        let top = self.top()?;
        match key as usize {
            n if n < self.memo.len() => self.memo[n] = top,
            n if n == self.memo.len() => {
                self.others.remove(&key);
                self.memo.push(top);
            }
            _ => drop(self.others.insert(key, top)),
        }
        Ok(())
    }

    fn get(&mut self, key: u32) -> Result<()> {
        match self.memo.get(key as usize).or_else(|| self.others.get(&key)) {
            Some(&id) => self.stack.push(id),
            None => return Err(self.bad("a memo that was not put")),
        }
        Ok(())
    }

    fn key(&mut self) -> Result<u32> {
        self.line()?.parse().map_err(|_| self.bad("a bad memo"))
    }

    fn global(&mut self, module: &str, name: &str) -> Result<Id> {
        self.named_value(format!("{module}.{name}"), module.len())
    }

    /// A name, of which the module's is so long.
    fn named_value(&mut self, path: String, module: usize) -> Result<Id> {
        let parts = path.bytes().skip(module + 1).filter(|&b| b == b'.').count();
        if path.len() > MAX_NAME + 1 || parts > MAX_PARTS {
            let what = format!(
                "its pickle has a name of more than {MAX_NAME} bytes, or more than {MAX_PARTS} parts"
            );
            return Err(Error::limit(what));
        }
        globals::check(Name { path: &path, module })?;
        self.named += path.len();
        if self.named > self.bytes.len() + NAMED {
            return Err(Error::limit("its pickle repeats its own names over and over"));
        }
        let id = self.add(Value::Global(path.into()));
        if parts > 0 {
            self.modules.insert(id.0, module);
        }
        Ok(id)
    }

    /// The result of a call: a plain container, or an [`Object`]. The arguments are a tuple.
    fn call(&mut self, callable: Id, arguments: Id, how: How) -> Result<()> {
        let Value::Tuple(given) = &self.values[arguments.0 as usize] else {
            return Err(self.bad("arguments that are no tuple"));
        };
        let judged = self.judge(callable, given, how)?;
        if let Judged::Name(found, module) = judged {
            let id = self.named_value(found, module)?;
            self.stack.push(id);
            return Ok(());
        }
        // `defaultdict(list, items)`.
        let path = self.name(callable).map(|name| name.path);
        let from = given.get(usize::from(path.is_some_and(calls::makes_defaults)));
        let from = from.map(|&id| self.value(id));
        let container = path.and_then(globals::container);
        // What an object holds is not known.
        let container = container.filter(|_| !matches!(from, Some(Value::Object(_))));
        let Some(container) = container else {
            let (state, items) = (None, vec![]);
            self.push(Value::Object(Box::new(Object { callable, arguments, state, items })));
            self.copied += judged.bytes();
            return self.check_copied();
        };
        let elements = match from {
            Some(Value::List(elements) | Value::Set(elements)) => elements.clone(),
            Some(Value::Tuple(elements)) => elements.to_vec(),
            _ => vec![],
        };
        let value = match container {
            Container::Dict => Value::Dict(match from {
                Some(Value::Dict(items)) => items.clone(),
                // Protocols 0 and 1 pass pairs.
                _ => elements.iter().filter_map(|id| self.pair(*id)).collect(),
            }),
            Container::List => Value::List(elements),
            Container::Tuple => Value::Tuple(elements.into()),
            Container::Set => Value::Set(elements),
        };
        self.copied += match &value {
            Value::Dict(items) => 2 * items.len(),
            Value::List(elements) | Value::Set(elements) => elements.len(),
            Value::Tuple(elements) => elements.len(),
            _ => 0,
        };
        self.check_copied()?;
        let is_plain = self.name(callable).is_some_and(|name| name.path.contains("builtin"));
        self.push(value);
        let id = self.values.len() as u32 - 1;
        if !is_plain {
            self.made.insert(id, callable);
        }
        if matches!(judged, Judged::Loose) {
            self.loose.insert(id);
        }
        Ok(())
    }

    fn check_copied(&self) -> Result<()> {
        match self.copied > self.bytes.len() {
            true => Err(Error::limit("its pickle copies its own values over and over")),
            false => Ok(()),
        }
    }

    fn pair(&self, id: Id) -> Option<(Id, Id)> {
        let elements = match &self.values[id.0 as usize] {
            Value::List(elements) => &elements[..],
            Value::Tuple(elements) => elements,
            _ => return None,
        };
        let [key, value] = elements else { return None };
        Some((*key, *value))
    }

    fn append(&mut self, to: Id, mut values: Vec<Id>) -> Result<()> {
        self.check_own(to)?;
        match &mut self.values[to.0 as usize] {
            Value::List(elements) | Value::Set(elements) => elements.append(&mut values),
            // A subclass of list, where no trainer keeps weights.
            Value::Object(_) => {}
            _ => return Err(self.bad("an element added to what is not a list")),
        }
        Ok(())
    }

    fn set_items(&mut self, of: Id, pairs: &[Id]) -> Result<()> {
        let (pairs, []) = pairs.as_chunks::<2>() else {
            return Err(self.bad("a key without a value"));
        };
        self.check_own(of)?;
        let items = match &mut self.values[of.0 as usize] {
            Value::Dict(items) => items,
            Value::Object(object) => &mut object.items,
            _ => return Err(self.bad("an item set in what is not a dict")),
        };
        items.extend(pairs.iter().map(|&[key, value]| (key, value)));
        Ok(())
    }

    /// Runs one instruction; false if it was the last.
    fn step(&mut self) -> Result<bool> {
        let [code] = self.array()?;
        match code {
            b'.' => return Ok(false),
            0x80 => match self.array()? {
                [0..=5] => {}
                [n] => return Err(self.bad(&format!("protocol {n}, not 0 to 5,"))),
            },
            0x95 => drop(self.array::<8>()?), // a frame's length, for readers that buffer
            // Constants.
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'I' => match self.line()? {
                "00" => self.push(Value::Bool(false)),
                "01" => self.push(Value::Bool(true)),
                digits => self.decimal(digits)?,
            },
            b'L' => {
                let digits = self.line()?;
                self.decimal(digits)?;
            }
            b'J' => {
                let n = i32::from_le_bytes(self.array()?);
                self.push(Value::Int(n.into()));
            }
            b'K' => {
                let [n] = self.array()?;
                self.push(Value::Int(n.into()));
            }
            b'M' => {
                let n = u16::from_le_bytes(self.array()?);
                self.push(Value::Int(n.into()));
            }
            0x8a => {
                let bytes = self.counted::<1>()?;
                self.long(bytes);
            }
            0x8b => {
                let bytes = self.counted::<4>()?;
                self.long(bytes);
            }
            b'F' => {
                let x = self.line()?.parse().map_err(|_| self.bad("a bad number"))?;
                self.push(Value::Float(x));
            }
            b'G' => {
                let x = f64::from_be_bytes(self.array()?);
                self.push(Value::Float(x));
            }
            b'S' => {
                let line = self.raw_line()?;
                let bytes = python2::string(line).ok_or_else(|| self.bad("a bad string"))?;
                self.push(match String::from_utf8(bytes) {
                    Ok(text) => Value::Text(text.into()),
                    Err(error) => Value::Escaped(error.into_bytes().into()),
                });
            }
            b'V' => {
                let line = self.raw_line()?;
                let text = python2::unicode(line).ok_or_else(|| self.bad("a bad string"))?;
                self.push(Value::Text(text.into()));
            }
            b'U' => {
                let bytes = self.counted::<1>()?;
                self.string(bytes);
            }
            b'T' => {
                let bytes = self.counted::<4>()?;
                self.string(bytes);
            }
            0x8c => {
                let bytes = self.counted::<1>()?;
                self.text(bytes);
            }
            b'X' => {
                let bytes = self.counted::<4>()?;
                self.text(bytes);
            }
            0x8d => {
                let bytes = self.counted::<8>()?;
                self.text(bytes);
            }
            b'C' => {
                let bytes = self.counted::<1>()?;
                self.bytes_value(bytes);
            }
            b'B' => {
                let bytes = self.counted::<4>()?;
                self.bytes_value(bytes);
            }
            0x8e | 0x96 => {
                let bytes = self.counted::<8>()?;
                self.bytes_value(bytes);
            }
            // Containers.
            b'(' => self.marks.push(self.stack.len()),
            b']' => self.push(Value::List(vec![])),
            b'}' => self.push(Value::Dict(vec![])),
            b')' => self.push(Value::Tuple([].into())),
            0x8f => self.push(Value::Set(vec![])),
            b'l' => {
                let elements = self.pop_to_mark()?;
                self.push(Value::List(elements));
            }
            b't' => {
                let elements = self.pop_to_mark()?;
                self.push(Value::Tuple(elements.into()));
            }
            0x91 => {
                let elements = self.pop_to_mark()?;
                self.push(Value::Set(elements));
            }
            0x85..=0x87 => {
                let mut elements = vec![];
                for _ in 0x85..=code {
                    elements.push(self.pop()?);
                }
                elements.reverse();
                self.push(Value::Tuple(elements.into()));
            }
            b'd' => {
                let items = self.pop_to_mark()?;
                let dict = self.add(Value::Dict(vec![]));
                self.set_items(dict, &items)?;
                self.stack.push(dict);
            }
            b'a' => {
                let value = self.pop()?;
                let list = self.top()?;
                self.append(list, vec![value])?;
            }
            b'e' | 0x90 => {
                let values = self.pop_to_mark()?;
                let list = self.top()?;
                self.append(list, values)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                let dict = self.top()?;
                self.set_items(dict, &[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                let dict = self.top()?;
                self.set_items(dict, &items)?;
            }
            // The stack and the memo.
            b'0' if self.marks.last() == Some(&self.stack.len()) => drop(self.marks.pop()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'p' => {
                let key = self.key()?;
                self.put(key)?;
            }
            b'q' => {
                let [key] = self.array()?;
                self.put(key.into())?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                self.put(key)?;
            }
            0x94 => self.put(self.memoized() as u32)?,
            b'g' => {
                let key = self.key()?;
                self.get(key)?;
            }
            b'h' => {
                let [key] = self.array()?;
                self.get(key.into())?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.get(key)?;
            }
            // Names and calls.
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let id = self.global(module, name)?;
                self.stack.push(id);
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id: Id| match &self.values[id.0 as usize] {
                    // Cut just above the limit, so that little is copied.
                    Value::Text(text) => Ok(text.chars().take(MAX_NAME + 1).collect::<String>()),
                    Value::Object(_) => Err(globals::asked("computes a name to import")),
                    _ => Err(self.bad("a global that is not a name")),
                };
                let (module, name) = (text(module)?, text(name)?);
                let id = self.global(&module, &name)?;
                self.stack.push(id);
            }
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments, How::Called)?;
            }
            0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments, How::New(None))?;
            }
            0x92 => {
                let keywords = self.pop()?;
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments, How::New(Some(keywords)))?;
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let callable = self.global(module, name)?;
                let arguments = self.pop_to_mark()?;
                let arguments = self.add(Value::Tuple(arguments.into()));
                self.call(callable, arguments, How::Called)?;
            }
            b'o' => {
                let arguments = self.pop_to_mark()?;
                let Some((&callable, arguments)) = arguments.split_first() else {
                    return Err(self.bad("an object of no class"));
                };
                let arguments = self.add(Value::Tuple(arguments.into()));
                self.call(callable, arguments, How::Called)?;
            }
            b'b' => {
                let state = self.pop()?;
                let of = self.top()?;
                self.check_state(of, state)?;
                // Attributes of a dict, such as the `_metadata` of a state dict, are ignored.
                if let Value::Object(object) = &mut self.values[of.0 as usize] {
                    object.state = Some(state);
                }
            }
            b'P' => {
                let line = self.line()?;
                let id = self.add(Value::Text(line.into()));
                self.push(Value::Persistent(id));
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id));
            }
            0x82..=0x84 => {
                let what =
                    "its pickle has an extension code, which only the program that wrote it knows";
                return Err(Error::new(Kind::Unsupported, what)
                    .remedy("save it without copyreg's extensions"));
            }
            code => return Err(self.bad(&format!("unknown instruction {code:#04x}"))),
        }
        Ok(true)
    }
}
