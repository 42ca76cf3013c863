//! A pickle is a program for a stack machine. This one makes values and does nothing else.

use std::borrow::Cow;
use std::collections::HashMap;

use super::globals::{self, Container, Name};
use super::nested;
use super::{Id, MAX_NAME, MAX_PARTS, MAX_VALUES, Object, Pickle, Value, python2};
use crate::{Error, Kind, Result};

struct Machine<'b> {
    bytes: &'b [u8],
    /// Most bytes that are read.
    most: usize,
    at: usize,
    values: Vec<Value>,
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
    modules: HashMap<u32, usize>,
    /// How many pickles this one is in.
    depth: u32,
    /// See [`Pickle`].
    made: HashMap<u32, Id>,
}

/// Bytes of names beyond those of a pickle: a small one may name many classes of one module.
const NAMED: usize = 1 << 20;

/// How many partial functions may be within each other.
const PARTIAL: u32 = 8;

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

    /// The name that a value is.
    fn name(&self, id: Id) -> Option<Name<'_>> {
        let Value::Global(path) = &self.values[id.0 as usize] else { return None };
        // The only attribute is the last part.
        let module = || path.rfind('.').unwrap_or(0);
        Some(Name { path, module: self.modules.get(&id.0).copied().unwrap_or_else(module) })
    }

    /// The name that a value's call would call.
    fn called(&self, id: Id) -> Option<&str> {
        match &self.values[id.0 as usize] {
            Value::Object(object) => Some(self.name(object.callable)?.path),
            _ => None,
        }
    }

    /// Fails if a call of a value acts. What is called is a name, or, `within` partial functions, one that these hold.
    fn check_called(&self, callable: Id, within: u32) -> Result<()> {
        if let Some(name) = self.name(callable) {
            if within > 0 && globals::looks_further(name.path) {
                return Err(globals::called(&format!("`{}` in a partial function", name.path)));
            }
            return globals::check_called(name);
        }
        let Value::Object(object) = &self.values[callable.0 as usize] else { return Ok(()) };
        let given = self.tuple(object.arguments);
        match self.called(callable) {
            Some(path) if globals::makes_functions(path) => Ok(()),
            Some("functools.partial" | "_functools.partial") if within < PARTIAL => {
                // Its state holds the function again.
                let state = object.state.map_or(&[][..], |state| self.tuple(state));
                let functions = [given.first(), state.first()];
                functions.into_iter().flatten().try_for_each(|&f| self.check_called(f, within + 1))
            }
            Some(path) if globals::finds_attributes(path) => {
                let value = |i: usize| given.get(i).map(|id| &self.values[id.0 as usize]);
                let attribute = match value(1) {
                    Some(Value::Text(text)) => text,
                    _ => "?",
                };
                let of = given.first().map_or("a value".into(), |&id| self.describe(id));
                Err(globals::called(&format!("the method `{attribute}` of {of}")))
            }
            Some(path) => Err(globals::called(&format!("what `{path}` makes"))),
            // Before PyTorch 1.6 a module's class was a persistent id.
            None if matches!(self.values[object.callable.0 as usize], Value::Persistent(_)) => {
                Err(globals::called("an object of a class outside"))
            }
            None => Err(globals::called("what another call makes")),
        }
    }

    /// A value in a few words.
    fn describe(&self, id: Id) -> String {
        match self.name(id).map(|name| name.path).or_else(|| self.called(id)) {
            Some(path) => format!("`{path}`"),
            None => "a value".into(),
        }
    }

    fn tuple(&self, id: Id) -> &[Id] {
        match &self.values[id.0 as usize] {
            Value::Tuple(elements) => elements,
            _ => &[],
        }
    }

    /// What is asked of a call of a name beside [`globals::check_called`]; an attribute that it finds, if it finds one.
    fn check_arguments(&self, path: &str, given: &[Id]) -> Result<Option<(String, usize)>> {
        let text = |id: &Id| match &self.values[id.0 as usize] {
            Value::Text(text) => Some(&**text),
            _ => None,
        };
        if globals::finds_attributes(path) {
            let attribute = given.get(1).and_then(text);
            let of = given.first().copied();
            if let (Some(of), Some(attribute)) = (of.and_then(|of| self.name(of)), attribute) {
                let attribute: String = attribute.chars().take(MAX_NAME + 1).collect();
                return Ok(Some((format!("{}.{attribute}", of.path), of.module)));
            }
            let of = of.map_or("nothing".into(), |of| self.describe(of));
            globals::check_attribute(&of, attribute)?;
        } else if globals::makes_types(path) && given.len() != 1 {
            return Err(globals::called(&format!("`{path}` to make a class")));
        } else if globals::takes_names(path) {
            given.iter().filter_map(text).try_for_each(|text| globals::check_text(text, path))?;
        } else if let Some(which) = globals::calls_argument(path, given.len())
            && let Some(&function) = given.get(which)
        {
            self.check_called(function, 1)?;
        }
        Ok(None)
    }

    /// The result of a call: a plain container, or an [`Object`]. The arguments are a tuple.
    fn call(&mut self, callable: Id, arguments: Id) -> Result<()> {
        let Value::Tuple(given) = &self.values[arguments.0 as usize] else {
            return Err(self.bad("arguments that are no tuple"));
        };
        self.check_called(callable, 0)?;
        let container = match &self.values[callable.0 as usize] {
            Value::Global(path) => {
                if let Some((found, module)) = self.check_arguments(path, given)? {
                    let id = self.named_value(found, module)?;
                    self.stack.push(id);
                    return Ok(());
                }
                if &**path == nested::LOADER {
                    self.copied += self.check_nested(given)?;
                    self.check_copied()?;
                }
                globals::container(path)
            }
            _ => None,
        };
        let Some(container) = container else {
            let (state, items) = (None, vec![]);
            self.push(Value::Object(Box::new(Object { callable, arguments, state, items })));
            return Ok(());
        };
        // The last argument: `defaultdict(list, items)`.
        let from = given.last().map(|id| &self.values[id.0 as usize]);
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
        if !is_plain {
            self.made.insert(self.values.len() as u32 - 1, callable);
        }
        Ok(())
    }

    fn check_copied(&self) -> Result<()> {
        match self.copied > self.bytes.len() {
            true => Err(Error::limit("its pickle copies its own values over and over")),
            false => Ok(()),
        }
    }

    /// Looks into the storages that one is made of which plain pickle saved; how many bytes that took.
    fn check_nested(&self, given: &[Id]) -> Result<usize> {
        let value = |id: &Id| &self.values[id.0 as usize];
        let bytes = match given.first().map(value) {
            Some(Value::Bytes(range)) => Some(Cow::Borrowed(&self.bytes[range.clone()])),
            Some(Value::Object(object)) => match self.tuple(object.arguments).first().map(value) {
                Some(Value::Text(text)) => {
                    let bytes = text.chars().map(|c| u8::try_from(c).ok());
                    bytes.collect::<Option<Vec<u8>>>().map(Cow::Owned)
                }
                _ => None,
            },
            _ => None,
        };
        match bytes {
            Some(bytes) => nested::check(&bytes, self.depth + 1).map(|()| bytes.len()),
            None => Err(globals::called(&format!("`{}` of no bytes", nested::LOADER))),
        }
    }

    /// Fails if a state sets the method that takes states: the next one would be its argument.
    fn check_states(&self) -> Result<()> {
        let is_method = |id: &Id| matches!(&self.values[id.0 as usize], Value::Text(text) if &**text == "__setstate__");
        let dicts = self.values.iter().filter_map(|value| match value {
            Value::Dict(items) => Some(items),
            _ => None,
        });
        match dicts.flatten().any(|(key, _)| is_method(key)) {
            true => Err(globals::asked("sets `__setstate__` of an object")),
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
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments)?;
            }
            0x92 => {
                let _keywords = self.pop()?;
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments)?;
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let callable = self.global(module, name)?;
                let arguments = self.pop_to_mark()?;
                let arguments = self.add(Value::Tuple(arguments.into()));
                self.call(callable, arguments)?;
            }
            b'o' => {
                let arguments = self.pop_to_mark()?;
                let Some((&callable, arguments)) = arguments.split_first() else {
                    return Err(self.bad("an object of no class"));
                };
                let arguments = self.add(Value::Tuple(arguments.into()));
                self.call(callable, arguments)?;
            }
            b'b' => {
                let state = self.pop()?;
                let of = self.top()?;
                // Attributes of a dict, such as the `_metadata` of a state dict, are ignored.
                if let Some(name) = self.name(of) {
                    return Err(globals::asked(&format!("sets attributes of `{}`", name.path)));
                }
                if self.called(of).is_some_and(globals::finds_attributes) {
                    return Err(globals::asked("sets attributes of what `builtins.getattr` finds"));
                }
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
